#include "common/timeline/pcm.h"

#include <math.h>
#include <string.h>

void pcm_moments_add(struct pcm_moments *m, const float *a, const float *b, size_t samples)
{
    for (size_t i = 0; i < samples; i++) {
        const double x = (double) a[i], y = (double) b[i];
        m->aa += x * x;
        m->bb += y * y;
        m->ab += x * y;
    }
    m->samples += samples;
}

double pcm_correlation(const struct pcm_moments *m)
{
    const double power = sqrt(m->aa) * sqrt(m->bb);
    if (!(power > 0))
        return 0;
    return fmax(-1, fmin(1, m->ab / power));
}

double pcm_rms(const float *x, size_t samples)
{
    double sum = 0;
    for (size_t i = 0; i < samples; i++)
        sum += (double) x[i] * (double) x[i];
    return samples ? sqrt(sum / (double) samples) : 0;
}

double pcm_db(double amplitude)
{
    return amplitude > 0 ? fmax(PCM_SILENCE_DB, 20 * log10(amplitude)) : PCM_SILENCE_DB;
}

double pcm_amplitude(double db)
{
    return pow(10, db / 20);
}

// A float's bits above the last 20 are its exponent and three bits of its mantissa:
// eight bins to an octave, in order of size. The first bin begins at 2^-24.
#define STEP_SHIFT 20
#define FIRST_BIN ((127u - 24) << 3)

static unsigned bin_of(float step)
{
    uint32_t bits;
    memcpy(&bits, &step, sizeof(bits));
    bits >>= STEP_SHIFT;
    if (bits < FIRST_BIN)
        return 0;
    return bits - FIRST_BIN < PCM_STEP_BINS ? bits - FIRST_BIN : PCM_STEP_BINS - 1;
}

static double upper_edge(unsigned bin)
{
    const uint32_t bits = (bin + 1 + FIRST_BIN) << STEP_SHIFT;
    float edge;
    memcpy(&edge, &bits, sizeof(edge));
    return (double) edge;
}

void pcm_steps_add(struct pcm_steps *s, float step)
{
    s->count[bin_of(step)]++;
    s->total++;
    if (step > s->largest)
        s->largest = step;
}

double pcm_steps_quantile(const struct pcm_steps *s, double q)
{
    uint64_t below = 0;
    for (unsigned bin = 0; bin < PCM_STEP_BINS; bin++) {
        below += s->count[bin];
        if (below && (double) below >= q * (double) s->total)
            return fmin(upper_edge(bin), (double) s->largest);
    }
    return 0;
}

double pcm_steps_above(const struct pcm_steps *s, float step)
{
    uint64_t above = 0;
    for (unsigned bin = bin_of(step); bin < PCM_STEP_BINS; bin++)
        above += s->count[bin];
    return s->total ? (double) above / (double) s->total : 0;
}
