// probe: lets a caller look at the tensors between the stages of a model, by
// the names of the golden data ("vis.block0", "lm.layer2"). Costs a download
// each; NULL everywhere in ordinary work.
#pragma once

#include <stdint.h>

#include "common/base/err.h"

struct probe {
    // `data` is row-major f32 and valid during the call only. An error stops the
    // model's call and comes back from it.
    enum err (*see)(struct probe *self, const char *name, const float *data, uint32_t rank,
                    const uint64_t *shape);
};
