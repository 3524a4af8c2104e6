// limiter: a look-ahead true-peak limiter for one channel.
//
// Between the samples the signal is estimated four times as densely, as BS.1770
// measures true peaks. Where it would pass the ceiling the gain goes down smoothly
// over the look-ahead before, and recovers after. Delay is compensated: what
// comes out is as long as, and aligned with, what goes in.
//
//   peak p[n]    the largest |x| between n-1 and n+1, at quarter samples
//   need g[n]    min(1, ceiling / p[n])
//   least m[n]   min of g[n .. n+W-1]
//   release r[n] m[n] at once when lower, towards m[n] slowly when higher
//   gain s[n]    mean of r[n-W+1 .. n], never above g[n]
//
// One thread per limiter.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct limiter;

// `ceiling` is linear, > 0. On failure *out is NULL; logs.
ERR_CHECKED enum err limiter_create(struct limiter **out, uint32_t sample_rate, double ceiling);
void limiter_destroy(struct limiter **l);

// Take n samples, give up to n of those taken so far; returns how many. `in`
// and `out` may be the same.
size_t limiter_run(struct limiter *l, const float *in, size_t n, float *out);

// After the last sample: give up to `capacity` of those still inside; 0 when none are.
size_t limiter_drain(struct limiter *l, float *out, size_t capacity);

// The lowest gain applied so far, 0..1.
double limiter_least_gain(const struct limiter *l);
