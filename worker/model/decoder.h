// decoder: the language model that writes the music, token column by token
// column, for several sequences side by side.
//
// A decoder holds `slots`. A sequence (one segment of a film) takes a slot from
// decoder_join() until decoder_leave(); sequences come and go between any two
// steps and never change each other's tokens, not by a bit. A step is recorded
// once for a given set of sequences and replayed; positions, tokens, guidance,
// sampling and their feedback live on the GPU.
//
// One thread, that of the device. Every call but the small getters blocks until
// its GPU work is done.
//
// Words: T columns of K codebooks; the delay pattern shifts codebook k by
// delays[k], so that a sequence of T columns, P of them given, takes
// T + max delay - P steps.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/engine/device.h"
#include "worker/model/probe.h"
#include "worker/model/sampler.h"
#include "worker/model/tensors.h"

struct decoder;

struct decoder_params {
    uint32_t slots;       // sequences side by side; > 0
    uint32_t max_columns; // the longest sequence, its prompt included; > 0
    uint32_t max_frames;  // film frames that condition one; > 0
};

// Load the weights and make room. Nothing is allocated on the device afterwards,
// decoder_trace() excepted. `source` is not used after the call. Weights and the
// cache are f16 when the source's matrices are, else f32. The caller owns *out.
// ERR_INPUT, ERR_DEVICE_MEM, ERR_DEVICE, ERR_NOMEM; logs.
ERR_CHECKED enum err decoder_open(struct decoder **out, struct device *d,
                                  struct tensor_source *source, const struct decoder_params *p);
void decoder_close(struct decoder **d); // NULL inside is fine

// The most device memory decoder_open() takes, in bytes. `f16`: the precision of
// the model's matrices.
uint64_t decoder_bytes(const struct model_config *c, bool f16, const struct decoder_params *p);

// Of that, what one slot more costs.
uint64_t decoder_slot_bytes(const struct model_config *c, bool f16,
                            const struct decoder_params *p);

struct sequence {
    const float *condition;  // [frames][dim], the visual encoder's output
    uint32_t frames;         // 1 .. max_frames
    const int32_t *prompt;   // [K][prompt_columns], each 0 .. card - 1; NULL without prompt
    uint32_t prompt_columns; // P; 0 .. columns
    uint32_t columns;        // T, prompt included; 1 .. max_columns
    uint64_t seed;
    float guidance; // null + (cond - null) * guidance; 1: conditional only, at half the cost
    struct sampling sampling;
};

// Take a free slot. Everything is copied. The cross-attention's keys and values
// are computed now; the prompt is read by the decoder_advance() calls that
// follow, a chunk each. ERR_USAGE (no slot is free, a length is out of range) and
// ERR_INPUT (a prompt token is out of range) log.
ERR_CHECKED enum err decoder_join(struct decoder *d, const struct sequence *s, uint32_t *slot);

// Take the slot's prompt as read, with nothing in the cache: the next steps cost
// what they would cost and mean nothing. For measuring.
void decoder_assume_prompt(struct decoder *d, uint32_t slot);

// Free the slot, finished or not.
void decoder_leave(struct decoder *d, uint32_t slot);

uint32_t decoder_free_slots(const struct decoder *d);

// Up to `steps` steps for every sequence that is not finished, after one chunk
// of the prompt of each that is still reading it. Sequences that finish on the
// way stop there; with nothing left to do it returns at once.
ERR_CHECKED enum err decoder_advance(struct decoder *d, uint32_t steps);

struct decoder_progress {
    uint32_t columns;    // complete columns, the prompt's included
    uint32_t steps_left; // prompt reading not counted
    bool reading_prompt;
    bool finished;
};

struct decoder_progress decoder_progress(const struct decoder *d, uint32_t slot);

// The tokens so far, [K][columns]: `columns` <= the progress's. Slot stays taken.
// ERR_DEVICE, logged, when they were drawn from what is no number.
ERR_CHECKED enum err decoder_tokens(struct decoder *d, uint32_t slot, uint32_t columns,
                                    int32_t *out);

// The guided logits that the slot's last step drew from, [K][card] (for traces
// and tests). ERR_USAGE when it has made no step, or others made steps since.
ERR_CHECKED enum err decoder_logits(struct decoder *d, uint32_t slot, float *out);

// Teacher forcing: the tensors between the layers for codes [K][columns] that
// are all known, shown to `probe` by their golden names: lm.embed_pos and
// lm.layerN [2,S,dim] (conditional, null), lm.out_norm, lm.seq_logits_cond and
// lm.seq_logits_null [K,S,card], S = columns + 1.
// All slots must be free, columns <= max_columns, 0 leaving the first step, frames <= max_frames.
// Allocates and frees its own memory.
ERR_CHECKED enum err decoder_trace(struct decoder *d, const int32_t *codes, uint32_t columns,
                                   const float *condition, uint32_t frames,
                                   struct probe *probe);
