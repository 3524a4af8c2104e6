// delay_pattern: where each token of a [K, T] grid stands in the sequence that
// the decoder reads. Pure; any thread.
//
// Step s of codebook k holds codes[k][s - 1 - delays[k]] where that column is
// within 0 .. T-1, and the special token (`card`) elsewhere; step 0 is special
// throughout. Delays 0, 1, 2 and T = 4:
//
//     step   0  1  2  3  4  5  6
//     k = 0  .  0  1  2  3  .  .
//     k = 1  .  .  0  1  2  3  .
//     k = 2  .  .  .  0  1  2  3
#pragma once

#include <stdint.h>

#include "worker/model/config.h"

// A token that is not known yet.
#define TOKEN_UNKNOWN UINT32_MAX

// The largest delay.
uint32_t delay_most(const struct lm_config *c);

// Steps of the whole sequence for T columns, the special step 0 included:
// T + 1 + the largest delay. The decoder is called once less often.
uint32_t delay_steps(const struct lm_config *c, uint32_t columns);

// Columns that are complete when the entries of steps 0 .. step are known.
uint32_t delay_columns(const struct lm_config *c, uint32_t columns, uint32_t step);

// Lay codes [K][known] out as the first `steps` steps for T columns: row k
// starts at sequence + k * stride. Columns known .. T-1 become TOKEN_UNKNOWN.
void delay_apply(const struct lm_config *c, const int32_t *codes, uint32_t known,
                 uint32_t columns, uint32_t steps, uint32_t *sequence, uint32_t stride);

// The way back: the first `columns` columns, [K][columns], of a sequence in
// which they are known.
void delay_revert(const struct lm_config *c, const uint32_t *sequence, uint32_t stride,
                  uint32_t columns, int32_t *codes);
