// crossfade: from one piece of sound to another. Pure; any thread.
//
// A fade has `length` samples; a call does samples `from` .. from + n of it, so
// that a fade can be done in blocks of any size with the same result. a is the
// outgoing, b the incoming sound, both at sample `from`. The position in the fade is
// t = (i + 1/2) / length, so that it reads the same forwards and backwards. `out` may be
// a or b.
#pragma once

#include <stddef.h>
#include <stdint.h>

// out = a + (b - a) t: for two renderings of the same music, a continuation's
// overlap. Where a and b are equal the result is exactly them.
void fade_linear(float *out, const float *a, const float *b, size_t n, uint64_t from,
                 uint64_t length);

// For different music. With weights p = 1 - t and q = t,
//
//   out = (p a + q b) / √(p² + q² + 2 p q r)
//
// Derivation: when a and b have power s² each and correlation r = E[ab] / s², the
// power of p a + q b is s² (p² + q² + 2 p q r); dividing by the root leaves s² at
// every t. At r = 0 it is a constant-power fade, at r = 1 the linear one: a family
// that needs no case. (M. Fink, M. Holters, U. Zölzer, "Signal-matched
// power-complementary cross-fading and dry-wet mixing", DAFx-16, derive the same
// from the power of the sum.) r is held to FADE_MIN_CORRELATION and above: there
// each sound still has weight 1 in the middle, and beyond it the law would raise
// whatever is not opposed without bound.
#define FADE_MIN_CORRELATION (-0.5)
void fade_correlated(float *out, const float *a, const float *b, size_t n, uint64_t from,
                     uint64_t length, double r);

// The law's own gain at t: 1 / √(p² + q² + 2 p q r), r held as above. Largest at t = 1/2.
double fade_gain(double t, double r);

// Bring two neighbours nearer in level: half of the difference to each, by a ramp
// that is at full strength in the fade and gone a ramp's length away from it.
struct level_match {
    double out_db, in_db; // gains of the outgoing and the incoming sound at the fade
};

// rms_out and rms_in are the levels around the seam; the ramps have out_ramp_s and
// in_ramp_s seconds. Each gain stays within ±LEVEL_MATCH_LIMIT_DB and within
// LEVEL_MATCH_SLOPE_DB for every second of its ramp: a quiet cue after a loud one stays a
// quiet cue. Nothing is done when either side is below LEVEL_MATCH_FLOOR_DB.
#define LEVEL_MATCH_LIMIT_DB 3.0
#define LEVEL_MATCH_SLOPE_DB 1.0
#define LEVEL_MATCH_FLOOR_DB (-60.0)
#define LEVEL_MATCH_RAMP_S 10.0
struct level_match level_match(double rms_out, double rms_in, double out_ramp_s,
                               double in_ramp_s);

// x *= a gain that goes in a straight line from g0 to g1 over `length` samples.
void gain_line(float *x, size_t n, uint64_t from, uint64_t length, double g0, double g1);
