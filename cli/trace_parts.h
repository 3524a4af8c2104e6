// trace_parts: what `underscore trace` computes, stage by stage, each when its
// inputs are there.
#pragma once

#include "cli/tensor_dump.h"
#include "common/safetensors/safetensors.h"
#include "worker/engine/device.h"
#include "worker/weights/model_file.h"

struct trace {
    struct device *device;
    struct tensor_source *model;
    const struct safetensors *in;
    struct tensor_dump out;
    float *condition; // [frames][dim], from vis.frames or vis.condition; NULL: none
    uint32_t frames;
    uint32_t steps; // columns of what is generated
};

// vis.frames -> vis.*; or vis.condition as it is.
ERR_CHECKED enum err trace_visual(struct trace *t);

// lm.codes -> lm.*; gen.greedy_tokens; gen.prompt -> gen.continuation_tokens. All
// need a condition.
ERR_CHECKED enum err trace_decoder(struct trace *t);

// sample.logits -> each sample.topkK_tempT and sample.toppP_tempT that the input
// names.
ERR_CHECKED enum err trace_samples(struct trace *t);

// codec.dec_codes, codec.wav, codec.short_codes, codec.short_wav -> the other side.
ERR_CHECKED enum err trace_codec(struct trace *t);

// Extents that an input may have as it likes.
#define TRACE_SOME (UINT64_MAX - 1) // 1 or more
#define TRACE_ANY UINT64_MAX        // 0 too

// An input of `rank` extents. *found is false, and all well, when there is none.
// ERR_INPUT logs what is wrong.
ERR_CHECKED enum err trace_input(const struct trace *t, struct tensor_view *out, bool *found,
                                 const char *name, uint32_t rank, const uint64_t *shape);

// The numbers of an input; the caller frees them. Tokens are checked to be
// 0 .. card - 1.
ERR_CHECKED enum err trace_floats(const struct tensor_view *v, const char *name, float **out);
ERR_CHECKED enum err trace_tokens(const struct tensor_view *v, const char *name, uint32_t card,
                                  int32_t **out);
