// sampler: how the next token is drawn from the logits.
//
// p = softmax(logits / temperature); top_p > 0 keeps the tokens before which,
// from the likeliest on, at most top_p of the mass lies; otherwise top_k > 0
// keeps those not below the k-th largest, ties too; the rest is renormalised.
// The draw inverts the cumulative sum in vocabulary order at a uniform number
// that Philox4x32-10 makes from (seed, column, codebook) and nothing else.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "worker/engine/device.h"

struct sampling {
    float temperature; // <= 0: the largest logit, the first of equals
    uint32_t top_k;    // 0: all
    float top_p;       // > 0: wins over top_k
};

// What the drawing would be made from: `logits` and `out` are [rows][card] on
// the host, out's rows sum to 1. Runs the kernel that the decoder runs. Blocks.
// With temperature <= 0 all the mass is on the chosen token.
ERR_CHECKED enum err sampler_distribution(struct device *d, const float *logits, uint32_t rows,
                                          uint32_t card, const struct sampling *s, float *out);
