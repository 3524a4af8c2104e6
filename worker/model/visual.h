// visual: film frames to the condition that the music is written under: one
// vector for every frame.
//
// frames -> ViT (vit.h) -> Q-Former (qformer.h) -> mean over the queries -> LayerNorm
// -> projection = features -> linear layer = condition. Frames are independent: a
// frame's vector has the same bits whichever frames ride along, so that calls
// may be cut as the caller likes.
//
// A visual encoder owns its weights and scratch on the device; open it when its
// turn comes and close it to make room. One thread, that of the device. Opening
// and running block. Each function logs before it fails.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "worker/engine/device.h"
#include "worker/model/probe.h"
#include "worker/model/tensors.h"

struct visual;

struct visual_params {
    uint32_t max_frames; // the most that one call will bring; more are fine. 0: unknown
    uint32_t batch;      // frames worked on at once; 0: min(max_frames, VISUAL_BATCH), or
                         // fewer when frames are huge
    // Sees "vis.*", every tensor of the golden data's list but the frames, and the
    // condition; in pieces of a batch of frames each, in order. NULL in ordinary work.
    struct probe *probe;
};

// More frames at once keep a GPU busier, up to a point: four of the published
// size are matrices of 2,308 rows. Each costs some 25 MB of scratch there. A CPU
// gains nothing from more than one.
#define VISUAL_BATCH 4

// `source` is not used after the call. Matrices keep the precision it has them
// in. On failure *out is NULL. ERR_INPUT when a tensor is missing or misshapen,
// ERR_DEVICE_MEM, ERR_NOMEM, ERR_DEVICE.
ERR_CHECKED enum err visual_open(struct visual **out, struct device *d,
                                 struct tensor_source *source, const struct visual_params *p);
void visual_close(struct visual **v); // NULL inside is fine

// Device memory visual_open() takes, an upper bound; `f16`: the precision of the
// model's matrices.
uint64_t visual_bytes(const struct model_config *c, bool f16, uint32_t max_frames);

// Frames worked on at once. Who wants to look up in between calls visual_run()
// with no more than that; nothing is lost by it.
uint32_t visual_batch(const struct visual *v);

// frames: [count][image][image][3], red green blue, as preprocess_rgb() leaves
// them. condition: [count][dim]. ERR_DEVICE, logged, when it is no numbers.
ERR_CHECKED enum err visual_run(struct visual *v, const uint8_t *frames, uint32_t count,
                                float *condition);

// The same for frames that are normalised already: [count][3][image][image].
ERR_CHECKED enum err visual_run_normalised(struct visual *v, const float *frames,
                                           uint32_t count, float *condition);
