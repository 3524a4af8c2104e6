// pcm: measuring sound: levels, likeness, steps. Samples are mono float, full
// scale 1; sums are double. Pure; any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Second moments of two signals heard together. Zero-initialise; add in order:
// the same samples in the same order give the same bits however they are grouped.
struct pcm_moments {
    double aa, bb, ab; // sums of a², b², ab
    uint64_t samples;
};
void pcm_moments_add(struct pcm_moments *m, const float *a, const float *b, size_t samples);

// r = Σab / √(Σa² Σb²), in -1..1; 0 when either is silent. Means are not removed:
// the fade's gain law is about power, and a constant is power too.
double pcm_correlation(const struct pcm_moments *m);

// √(Σx² / n); 0 for nothing.
double pcm_rms(const float *x, size_t samples);

// 20 log10(amplitude), no lower than PCM_SILENCE_DB; and back.
#define PCM_SILENCE_DB (-120.0)
double pcm_db(double amplitude);
double pcm_amplitude(double db);

// How large the steps between neighbouring samples are: a histogram of |x[i] -
// x[i-1]| with eight bins to an octave, from 2^-24 to 8. Zero-initialise.
#define PCM_STEP_BINS 216
struct pcm_steps {
    uint64_t count[PCM_STEP_BINS];
    uint64_t total;
    float largest;
};
void pcm_steps_add(struct pcm_steps *s, float step); // step >= 0

// The step that a fraction q (0..1) of all steps do not exceed, to the upper edge of its
// bin (at most 1/8 above it). 0 when there are none.
double pcm_steps_quantile(const struct pcm_steps *s, double q);

// The fraction of steps that are as large as `step` or larger, by bins. 0 when
// there are none.
double pcm_steps_above(const struct pcm_steps *s, float step);
