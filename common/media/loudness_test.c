// Tests of loudness, limiter, mastering and the WAV header: levels against what
// the formulas say.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/media/limiter.h"
#include "common/media/loudness.h"
#include "common/media/mastering.h"
#include "common/media/music_stream.h"
#include "common/media/wav_writer.h"

#define RATE 48000

static struct loudness measure(const float *x, size_t n, bool dual_mono)
{
    struct loudness_meter *m;
    struct loudness l;
    assert_int_equal(loudness_meter_create(&m, RATE, 1, dual_mono), ERR_OK);
    for (size_t at = 0; at < n; at += 1000)
        assert_int_equal(loudness_meter_add(m, x + at, n - at < 1000 ? n - at : 1000), ERR_OK);
    assert_int_equal(loudness_meter_read(m, &l), ERR_OK);
    loudness_meter_destroy(&m);
    assert_null(m);
    return l;
}

static float *sine(double hz, double amplitude, double phase, size_t n)
{
    float *x = malloc(n * sizeof(*x));
    for (size_t i = 0; i < n; i++)
        x[i] = (float) (amplitude * sin(2 * M_PI * hz * (double) i / RATE + phase));
    return x;
}

// BS.1770: a full-scale sine of 997 Hz in one channel is -3.01 LKFS, in both 0.
static void the_standard_s_sine(void **state)
{
    (void) state;
    float *x = sine(997, 1, 0, 5 * RATE);
    struct loudness l = measure(x, 5 * RATE, false);
    assert_true(fabs(l.integrated_lufs - -3.01) < 0.02);
    l = measure(x, 5 * RATE, true);
    assert_true(fabs(l.integrated_lufs - 0) < 0.02);
    assert_true(fabs(l.true_peak_dbtp) < 0.05);
    assert_int_equal(l.samples, 5 * RATE);
    assert_false(l.short_signal);
    free(x);
}

static void short_signals_are_repeated(void **state)
{
    (void) state;
    float *x = sine(1000, 0.1, 0, RATE);
    const double whole = measure(x, RATE, true).integrated_lufs;
    for (size_t n = 48; n < RATE; n += 4800) { // whole periods
        const struct loudness l = measure(x, n, true);
        assert_int_equal(l.short_signal, n < RATE * 2 / 5);
        assert_true(fabs(l.integrated_lufs - whole) < 0.2);
    }
    assert_true(isinf(measure(x, 0, true).integrated_lufs));
    free(x);
}

static void silence_has_no_loudness(void **state)
{
    (void) state;
    static float x[RATE];
    const struct loudness l = measure(x, RATE, true);
    assert_true(isinf(l.integrated_lufs) && l.integrated_lufs < 0);
    assert_true(isinf(l.true_peak_dbtp));
}

static float *limit(const float *x, size_t n, double ceiling, size_t step, double *least)
{
    struct limiter *l;
    float *y = malloc((n + step) * sizeof(*y));
    size_t got = 0, k = 0;
    assert_int_equal(limiter_create(&l, RATE, ceiling), ERR_OK);
    for (size_t at = 0; at < n; at += step)
        got += limiter_run(l, x + at, n - at < step ? n - at : step, y + got);
    while ((k = limiter_drain(l, y + got, step)) > 0)
        got += k;
    assert_int_equal(got, n);
    *least = limiter_least_gain(l);
    limiter_destroy(&l);
    return y;
}

static void below_the_ceiling_nothing_happens(void **state)
{
    (void) state;
    double least;
    float *x = sine(3000, 0.5, 0.3, 20001);
    float *y = limit(x, 20001, 0.6, 777, &least);
    for (size_t i = 0; i < 20001; i++)
        assert_true(fabsf(x[i] - y[i]) < 1e-6f);
    assert_true(least > 0.999999);
    free(x);
    free(y);
}

// A sine at a quarter of the rate, sampled 45 degrees off its peaks: samples
// of 0.707, true peaks of 1 (EBU Tech 3341, test 15 and on).
static void peaks_between_samples_are_seen(void **state)
{
    (void) state;
    double least;
    float *x = sine(RATE / 4.0, 1, M_PI / 4, RATE);
    for (size_t i = 0; i < 4800; i++) // faded in: the edge itself would overshoot
        x[i] *= (float) i / 4800;
    float *y = limit(x, RATE, 0.8, 4096, &least);
    assert_true(measure(y, RATE, false).true_peak_dbtp < 20 * log10(0.8) + 0.05);
    assert_true(least < 0.81 && least > 0.77);
    free(x);
    free(y);
}

static void bursts_stay_under_the_ceiling(void **state)
{
    (void) state;
    const size_t n = 4 * RATE;
    float *x = malloc(n * sizeof(*x));
    uint64_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = mix64(seed, i);
        const double t = fmod((double) i / RATE, 0.37);
        x[i] = (float) ((double) (int32_t) seed * 0x1p-31 * (0.1 + 3 * exp(-t * 50)));
    }
    double least;
    float *y = limit(x, n, pow(10, -1 / 20.0), 4801, &least);
    assert_true(measure(y, n, false).true_peak_dbtp < -0.9);
    assert_true(least < 0.6);
    // The same, whatever the blocks it came in.
    double again;
    float *z = limit(x, n, pow(10, -1 / 20.0), 64, &again);
    assert_memory_equal(y, z, n * sizeof(*y));
    // No step in the gain: neighbours differ little where the signal is loud.
    double last = -1;
    for (size_t i = 0; i < n; i++) {
        if (fabsf(x[i]) < 0.2f) {
            last = -1;
            continue;
        }
        const double gain = (double) (y[i] / x[i]);
        assert_true(last < 0 || fabs(gain - last) < 0.02);
        last = gain;
    }
    free(x);
    free(y);
    free(z);
}

// A source of a sine at another rate.
struct tone {
    struct pcm_source source;
    uint64_t at;
    double hz, amplitude;
};

static enum err tone_read(struct pcm_source *self, float *out, size_t capacity, size_t *got)
{
    struct tone *t = (struct tone *) self;
    for (*got = 0; *got < capacity && t->at < self->samples; t->at++)
        out[(*got)++] =
            (float) (t->amplitude * sin(2 * M_PI * t->hz * (double) t->at / self->sample_rate));
    return ERR_OK;
}

static enum err tone_rewind(struct pcm_source *self)
{
    ((struct tone *) self)->at = 0;
    return ERR_OK;
}

static struct tone make_tone(uint32_t rate, double seconds, double hz, double amplitude)
{
    return (struct tone){ { tone_read, tone_rewind, (uint64_t) (seconds * rate), rate },
                          0,
                          hz,
                          amplitude };
}

// Resampling keeps time: sample n at 48 kHz is the tone at n / 48000.
static void check_resampling(uint32_t rate, uint64_t samples)
{
    struct tone t = make_tone(rate, 2, 440, 0.5);
    struct music_stream *m;
    assert_int_equal(music_stream_create(&m, &t.source, samples, NULL), ERR_OK);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(
            music_stream_start(m, &(struct music_level){ .gain_db = 6.0206 }, "test"), ERR_OK);
        uint64_t at = 0;
        size_t n = 1;
        static float x[5000];
        double worst = 0;
        while (n > 0) {
            assert_int_equal(music_stream_read(m, x, 5000, &n), ERR_OK);
            for (size_t i = 0; i < n; i++, at++) {
                if (at < 500 || at + 500 > 2 * RATE)
                    continue; // the filter's edges
                worst =
                    fmax(worst, fabs((double) x[i] - sin(2 * M_PI * 440 * (double) at / RATE)));
            }
        }
        assert_int_equal(at, samples);
        assert_true(worst < 2e-3);
    }
    music_stream_destroy(&m);
}

static void resampled_in_time_and_to_length(void **state)
{
    (void) state;
    check_resampling(32000, 2 * RATE);
    check_resampling(24000, 2 * RATE);
    check_resampling(44100, 2 * RATE);
    check_resampling(48000, 2 * RATE);
    check_resampling(32000, 2 * RATE - 3000); // cut
    check_resampling(32000, 2 * RATE + 3000); // padded
    struct tone t = make_tone(32000, 2, 440, 0.5);
    struct music_stream *m;
    assert_int_equal(music_stream_create(&m, &t.source, 3 * RATE, NULL), ERR_BUG);
    assert_null(m);
}

static void mastered_by_gain_alone(void **state)
{
    (void) state;
    struct tone t = make_tone(32000, 3, 1000, 0.01);
    struct music_stream *m;
    struct master master;
    const struct master_target target = { .lufs = -23, .ceiling_dbtp = -1 };
    assert_int_equal(music_stream_create(&m, &t.source, 3 * RATE, NULL), ERR_OK);
    assert_int_equal(master_find(&master, m, &target), ERR_OK);
    assert_false(master.level.limited);
    assert_true(fabs(master.level.gain_db - (-23 - master.before.integrated_lufs)) < 1e-9);
    assert_true(fabs(master.after.integrated_lufs - -23) < 1e-9);
    music_stream_destroy(&m);
}

static uint64_t le(const uint8_t *p, int bytes)
{
    return bytes == 8 ? read_le64(p) : bytes == 4 ? read_le32(p) : read_le16(p);
}

static void wav_headers(void **state)
{
    (void) state;
    uint8_t h[WAV_MAX_HEADER];
    assert_int_equal(wav_header(h, 1000, RATE), 44);
    assert_memory_equal(h, "RIFF", 4);
    assert_int_equal(le(h + 4, 4), 36 + 6000);
    assert_memory_equal(h + 8, "WAVEfmt ", 8);
    assert_int_equal(le(h + 22, 2), 2);
    assert_int_equal(le(h + 24, 4), RATE);
    assert_int_equal(le(h + 28, 4), RATE * 6);
    assert_int_equal(le(h + 34, 2), 24);
    assert_memory_equal(h + 36, "data", 4);
    assert_int_equal(le(h + 40, 4), 6000);
    const uint64_t most = (UINT32_MAX - 1 - 36) / 6; // the last that 32 bits can say
    assert_int_equal(wav_header(h, most, RATE), 44);
    assert_memory_equal(h, "RIFF", 4);
    const uint64_t more = most + 1;
    assert_int_equal(wav_header(h, more, RATE), 80);
    assert_memory_equal(h, "RF64", 4);
    assert_int_equal(le(h + 4, 4), UINT32_MAX);
    assert_memory_equal(h + 12, "ds64", 4);
    assert_int_equal(le(h + 16, 4), 28);
    assert_int_equal(le(h + 20, 8), 80 - 8 + more * 6);
    assert_int_equal(le(h + 28, 8), more * 6);
    assert_int_equal(le(h + 36, 8), more);
    assert_memory_equal(h + 48, "fmt ", 4);
    assert_memory_equal(h + 72, "data", 4);
    assert_int_equal(le(h + 76, 4), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standard_s_sine),
        cmocka_unit_test(short_signals_are_repeated),
        cmocka_unit_test(silence_has_no_loudness),
        cmocka_unit_test(below_the_ceiling_nothing_happens),
        cmocka_unit_test(peaks_between_samples_are_seen),
        cmocka_unit_test(bursts_stay_under_the_ceiling),
        cmocka_unit_test(resampled_in_time_and_to_length),
        cmocka_unit_test(mastered_by_gain_alone),
        cmocka_unit_test(wav_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
