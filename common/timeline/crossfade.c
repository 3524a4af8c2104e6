#include "common/timeline/crossfade.h"

#include <math.h>

#include "common/timeline/pcm.h"

static double position(uint64_t sample, uint64_t length)
{
    return ((double) sample + 0.5) / (double) length;
}

static double clamp(double x, double low, double high)
{
    return fmax(low, fmin(high, x));
}

void fade_linear(float *out, const float *a, const float *b, size_t n, uint64_t from,
                 uint64_t length)
{
    for (size_t i = 0; i < n; i++) {
        const double x = (double) a[i], y = (double) b[i];
        out[i] = (float) (x + (y - x) * position(from + i, length));
    }
}

double fade_gain(double t, double r)
{
    const double p = 1 - t, q = t;
    r = clamp(r, FADE_MIN_CORRELATION, 1);
    return 1 / sqrt(p * p + q * q + 2 * p * q * r);
}

void fade_correlated(float *out, const float *a, const float *b, size_t n, uint64_t from,
                     uint64_t length, double r)
{
    for (size_t i = 0; i < n; i++) {
        const double t = position(from + i, length);
        const double x = (double) a[i], y = (double) b[i];
        out[i] = (float) ((x + (y - x) * t) * fade_gain(t, r));
    }
}

static double within_slope(double db, double ramp_s)
{
    const double most = fmin(LEVEL_MATCH_LIMIT_DB, LEVEL_MATCH_SLOPE_DB * ramp_s);
    return clamp(db, -most, most);
}

struct level_match level_match(double rms_out, double rms_in, double out_ramp_s,
                               double in_ramp_s)
{
    const double out_db = pcm_db(rms_out), in_db = pcm_db(rms_in);
    if (out_db < LEVEL_MATCH_FLOOR_DB || in_db < LEVEL_MATCH_FLOOR_DB)
        return (struct level_match){ 0, 0 };
    const double half = (in_db - out_db) / 2;
    return (struct level_match){ within_slope(half, out_ramp_s),
                                 within_slope(-half, in_ramp_s) };
}

void gain_line(float *x, size_t n, uint64_t from, uint64_t length, double g0, double g1)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float) ((double) x[i] * (g0 + (g1 - g0) * position(from + i, length)));
}
