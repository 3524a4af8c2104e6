#include "common/media/limiter.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/log.h"

#define FACTOR 4 // points estimated to a sample
#define HALF 6   // samples either side that an estimate hears
#define TAPS 12  // 2 * HALF
#define LOOK_AHEAD_S 0.005
#define RELEASE_S 0.05

struct limiter {
    double ceiling;
    double release;   // share of the way back that one sample goes
    float quiet;      // no estimate can pass the ceiling where no sample passes this
    size_t window;    // W
    size_t delay;     // samples between one coming in and going out
    uint64_t time;    // samples that went through step(), silence at the end included
    uint64_t in, out; // samples taken, given

    float phases[FACTOR - 1][TAPS]; // estimates at 1/4, 2/4, 3/4 after a sample
    float recent[2 * TAPS];         // the last TAPS samples, twice, so that they lie in a row
    double peak_before;             // of the gap before the newest estimated one
    float *line;                    // the last `delay + 1` samples
    // The minimum over the window: a queue of rising values with their times.
    double *least;
    uint64_t *least_at;
    size_t least_head, least_count;
    double *eased; // the last W values of r[]
    double eased_sum, last_eased;
    double least_gain;
};

// A sinc under a Hann window, one phase: the weights of samples -5..6 for the
// point `at` (0..1) after sample 0. Their sum is made 1.
static void fill_phase(float *w, double at)
{
    double raw[TAPS], sum = 0;
    for (int k = 0; k < TAPS; k++) {
        const double x = k - (HALF - 1) - at;
        raw[k] = sin(M_PI * x) / (M_PI * x) * 0.5 * (1 + cos(M_PI * x / (HALF + 1)));
        sum += raw[k];
    }
    for (int k = 0; k < TAPS; k++)
        w[k] = (float) (raw[k] / sum);
}

static float largest_response(const struct limiter *l)
{
    float most = 1;
    for (int p = 0; p < FACTOR - 1; p++) {
        float sum = 0;
        for (int k = 0; k < TAPS; k++)
            sum += fabsf(l->phases[p][k]);
        most = sum > most ? sum : most;
    }
    return most;
}

enum err limiter_create(struct limiter **out, uint32_t sample_rate, double ceiling)
{
    *out = NULL;
    struct limiter *l = calloc(1, sizeof(*l));
    if (!l)
        goto fail;
    l->ceiling = ceiling;
    l->window = (size_t) (LOOK_AHEAD_S * sample_rate) + 1;
    l->delay = l->window - 1 + HALF;
    l->release = 1 - exp(-1 / (RELEASE_S * sample_rate));
    for (int p = 0; p < FACTOR - 1; p++)
        fill_phase(l->phases[p], (p + 1.0) / FACTOR);
    l->quiet = (float) ceiling / largest_response(l);
    l->line = calloc(l->delay + 1, sizeof(*l->line));
    l->least = calloc(l->window, sizeof(*l->least));
    l->least_at = calloc(l->window, sizeof(*l->least_at));
    l->eased = calloc(l->window, sizeof(*l->eased));
    if (!l->line || !l->least || !l->least_at || !l->eased)
        goto fail;
    for (size_t i = 0; i < l->window; i++)
        l->eased[i] = 1;
    l->eased_sum = (double) l->window;
    l->last_eased = l->least_gain = 1;
    *out = l;
    return ERR_OK;

fail:
    log_error("no memory for the limiter");
    limiter_destroy(&l);
    return ERR_NOMEM;
}

void limiter_destroy(struct limiter **l)
{
    if (!*l)
        return;
    free((*l)->line);
    free((*l)->least);
    free((*l)->least_at);
    free((*l)->eased);
    free(*l);
    *l = NULL;
}

double limiter_least_gain(const struct limiter *l)
{
    return l->least_gain;
}

// The largest estimate in the gap after the sample HALF - 1 after the oldest,
// that sample and the next included.
static double gap_peak(const struct limiter *l, const float *x)
{
    float loudest = 0;
    for (int k = 0; k < TAPS; k++)
        loudest = fmaxf(loudest, fabsf(x[k]));
    if (loudest <= l->quiet)
        return 0;
    float peak = fmaxf(fabsf(x[HALF - 1]), fabsf(x[HALF]));
    for (int p = 0; p < FACTOR - 1; p++) {
        float sum = 0;
        for (int k = 0; k < TAPS; k++)
            sum += l->phases[p][k] * x[k];
        peak = fmaxf(peak, fabsf(sum));
    }
    return (double) peak;
}

// Enter g at time t; the minimum over the window that ends there.
static double least_in_window(struct limiter *l, uint64_t t, double g)
{
    const size_t w = l->window;
    while (l->least_count > 0 && l->least[(l->least_head + l->least_count - 1) % w] >= g)
        l->least_count--;
    if (l->least_count > 0 && l->least_at[l->least_head] + w <= t) {
        l->least_head = (l->least_head + 1) % w;
        l->least_count--;
    }
    const size_t slot = (l->least_head + l->least_count++) % w;
    l->least[slot] = g;
    l->least_at[slot] = t;
    return l->least[l->least_head];
}

static double smooth(struct limiter *l, uint64_t t, double least)
{
    const double risen = l->last_eased + (least - l->last_eased) * l->release;
    l->last_eased = least < risen ? least : risen;
    double *slot = &l->eased[t % l->window];
    l->eased_sum += l->last_eased - *slot;
    *slot = l->last_eased;
    return l->eased_sum / (double) l->window;
}

// One sample in; true if one came out.
static size_t step(struct limiter *l, float x, float *out)
{
    const uint64_t t = l->time++;
    const size_t slot = t % TAPS;
    l->recent[slot] = l->recent[slot + TAPS] = x;
    l->line[t % (l->delay + 1)] = x;
    const double peak = gap_peak(l, l->recent + (t + 1) % TAPS);
    const double worst = fmax(peak, l->peak_before);
    l->peak_before = peak;
    const double need = worst > l->ceiling ? l->ceiling / worst : 1;
    double gain = smooth(l, t, least_in_window(l, t, need));
    if (t < l->delay)
        return 0;
    gain = gain > 1 ? 1 : gain; // rounding of the running sum
    if (gain < l->least_gain)
        l->least_gain = gain;
    *out = l->line[(t - l->delay) % (l->delay + 1)] * (float) gain;
    l->out++;
    return 1;
}

size_t limiter_run(struct limiter *l, const float *in, size_t n, float *out)
{
    size_t given = 0;
    l->in += n;
    for (size_t i = 0; i < n; i++)
        given += step(l, in[i], out + given);
    return given;
}

size_t limiter_drain(struct limiter *l, float *out, size_t capacity)
{
    size_t given = 0;
    while (given < capacity && l->out < l->in)
        given += step(l, 0, out + given);
    return given;
}
