// patchify: frames into rows of patches for the patch embedding, normalised as
// CLIP wants them. Records; never blocks.
#pragma once

#include <stdbool.h>

#include "worker/engine/stream.h"

struct patchify {
    // [frames][image][image][3] bytes, red green blue, the span rounded up to
    // whole words; or, with `normalised`, [frames][3][image][image] f32 as they are.
    struct span frames_in;
    bool normalised;
    struct span y; // f32 [frames][1 + (image / patch)^2][y_stride], the first row zeros
    uint32_t frames;
    uint32_t image, patch; // pixels; patch divides image
    uint32_t y_stride;     // elements, at least 3 * patch * patch; zeros beyond that
};

void op_patchify(struct stream *s, const struct patchify *p);
