// Tests of crossfade and pcm: levels through a fade, measured over many noises.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/timeline/crossfade.h"
#include "common/timeline/pcm.h"

#define LENGTH 16000
#define BINS 16 // of the fade, each measured by itself
#define SEEDS 200

// Gaussian noise, by the sum of twelve uniform numbers; RMS 0.1.
static float noise(uint64_t seed, uint64_t i)
{
    const uint64_t x = mix64(seed, 2 * i), y = mix64(seed, 2 * i + 1);
    double sum = -6;
    for (int k = 0; k < 6; k++)
        sum += (double) (x >> (10 * k) & 1023) / 1024 + (double) (y >> (10 * k) & 1023) / 1024;
    return (float) (0.1 * sum);
}

// Two noises with correlation r.
static void make_pair(float *a, float *b, uint64_t seed, double r)
{
    for (uint64_t i = 0; i < LENGTH; i++) {
        const double x = (double) noise(3 * seed, i), y = (double) noise(3 * seed + 1, i);
        a[i] = (float) x;
        b[i] = (float) (r * x + sqrt(1 - r * r) * y);
    }
}

static double measured_correlation(const float *a, const float *b)
{
    struct pcm_moments m = { 0 };
    pcm_moments_add(&m, a, b, LENGTH);
    return pcm_correlation(&m);
}

static float a[LENGTH], b[LENGTH], faded[LENGTH];

// The level in each part of the fade, in dB relative to the noise, averaged over
// many of them.
static void fade_levels(double db[BINS], double r, bool linear)
{
    double power[BINS] = { 0 }, reference = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        make_pair(a, b, seed, r);
        if (linear)
            fade_linear(faded, a, b, LENGTH, 0, LENGTH);
        else
            fade_correlated(faded, a, b, LENGTH, 0, LENGTH, measured_correlation(a, b));
        for (int k = 0; k < BINS; k++) {
            const double rms = pcm_rms(faded + k * (LENGTH / BINS), LENGTH / BINS);
            power[k] += rms * rms;
        }
        reference += (pow(pcm_rms(a, LENGTH), 2) + pow(pcm_rms(b, LENGTH), 2)) / 2;
    }
    for (int k = 0; k < BINS; k++)
        db[k] = 10 * log10(power[k] / reference);
}

static double largest(const double db[BINS])
{
    double most = 0;
    for (int k = 0; k < BINS; k++)
        most = fmax(most, fabs(db[k]));
    return most;
}

static void a_fade_neither_dips_nor_bumps(void **state)
{
    (void) state;
    const double correlations[] = { 0, 0.5, -0.3, 0.9, 1, -0.5 };
    double db[BINS];
    for (size_t i = 0; i < sizeof(correlations) / sizeof(correlations[0]); i++) {
        fade_levels(db, correlations[i], false);
        print_message("fade at r = %4.1f: at most %.3f dB from level\n", correlations[i],
                      largest(db));
        assert_true(largest(db) < 0.5);
    }
}

// What the law is for: without it, independent sounds dip by 3 dB. Also shows that
// the measure above can fail.
static void a_linear_fade_of_independent_noise_dips(void **state)
{
    (void) state;
    double db[BINS];
    fade_levels(db, 0, true);
    assert_true(db[BINS / 2] < -2.7 && db[BINS / 2] > -3.3);
    fade_levels(db, 1, true);
    assert_true(largest(db) < 0.1);
}

static void equal_sounds_stay_exactly_as_they_are(void **state)
{
    (void) state;
    make_pair(a, b, 7, 1);
    memcpy(b, a, sizeof(a));
    fade_linear(faded, a, b, LENGTH, 0, LENGTH);
    assert_memory_equal(faded, a, sizeof(a));
    fade_correlated(faded, a, b, LENGTH, 0, LENGTH, measured_correlation(a, b));
    for (int i = 0; i < LENGTH; i++)
        assert_true(fabsf(faded[i] - a[i]) <= 1e-7f);
}

static void a_fade_in_blocks_is_the_whole_fade(void **state)
{
    (void) state;
    static float blocks[LENGTH];
    make_pair(a, b, 9, 0.2);
    for (int law = 0; law < 2; law++) {
        if (law)
            fade_correlated(faded, a, b, LENGTH, 0, LENGTH, 0.2);
        else
            fade_linear(faded, a, b, LENGTH, 0, LENGTH);
        memcpy(blocks, a, sizeof(a)); // in place
        for (size_t at = 0, n = 1; at < LENGTH; at += n, n = n * 2 % 1021) {
            n = n < LENGTH - at ? n : LENGTH - at;
            if (law)
                fade_correlated(blocks + at, blocks + at, b + at, n, at, LENGTH, 0.2);
            else
                fade_linear(blocks + at, blocks + at, b + at, n, at, LENGTH);
        }
        assert_memory_equal(blocks, faded, sizeof(faded));
    }
}

static void a_fade_ends_on_the_incoming_sound(void **state)
{
    (void) state;
    for (int i = 0; i < LENGTH; i++) {
        a[i] = 1;
        b[i] = 0;
    }
    fade_linear(faded, a, b, LENGTH, 0, LENGTH);
    assert_true(faded[0] > 0.9999f && faded[LENGTH - 1] < 0.0001f);
    for (int i = 0; i < LENGTH; i++) // the weights of both sum to one
        assert_true(fabsf(faded[i] + faded[LENGTH - 1 - i] - 1) < 1e-6f);
}

static void the_law_has_its_known_values(void **state)
{
    (void) state;
    assert_true(fabs(fade_gain(0.5, 0) - sqrt(2)) < 1e-12);
    assert_true(fabs(fade_gain(0.5, 1) - 1) < 1e-12);
    assert_true(fabs(fade_gain(0.3, 1) - 1) < 1e-12);
    assert_true(fabs(fade_gain(0, 0.3) - 1) < 1e-12);
    assert_true(fabs(fade_gain(1, -0.3) - 1) < 1e-12);
    assert_true(fabs(fade_gain(0.5, -0.5) - 2) < 1e-12);
    assert_true(fabs(fade_gain(0.5, -1) - 2) < 1e-12); // held: it would be infinite
}

static void correlation_is_measured(void **state)
{
    (void) state;
    make_pair(a, b, 4, 0.5);
    assert_true(fabs(measured_correlation(a, b) - 0.5) < 0.03);
    assert_true(measured_correlation(a, a) > 1 - 1e-12);
    for (int i = 0; i < LENGTH; i++)
        b[i] = -a[i];
    assert_true(measured_correlation(a, b) < -1 + 1e-12);
    memset(b, 0, sizeof(b));
    assert_true(measured_correlation(a, b) == 0);
    assert_true(fabs(pcm_rms(a, LENGTH) - 0.1) < 0.003);
    assert_true(pcm_db(0) == PCM_SILENCE_DB && fabs(pcm_db(0.1) + 20) < 1e-12);
    assert_true(pcm_amplitude(0) == 1);
}

static void levels_are_matched_within_reason(void **state)
{
    (void) state;
    struct level_match m = level_match(0.1, 0.2, 10, 10); // 6 dB louder: each goes half the way
    assert_true(fabs(m.out_db - 3) < 0.02 && fabs(m.in_db + 3) < 0.02);
    m = level_match(0.2, 0.1, 10, 10);
    assert_true(fabs(m.out_db + 3) < 0.02 && fabs(m.in_db - 3) < 0.02);
    m = level_match(0.01, 1, 10, 10); // 40 dB: no more than the limit
    assert_true(m.out_db == LEVEL_MATCH_LIMIT_DB && m.in_db == -LEVEL_MATCH_LIMIT_DB);
    m = level_match(0.01, 1, 2, 0); // no room to come back
    assert_true(m.out_db == 2 && m.in_db == 0);
    m = level_match(0.0001, 0.1, 10, 10); // silence is not raised
    assert_true(m.out_db == 0 && m.in_db == 0);
    m = level_match(0.1, 0.1, 10, 10);
    assert_true(m.out_db == 0 && m.in_db == 0);
}

static void steps_are_counted_by_size(void **state)
{
    (void) state;
    struct pcm_steps s = { 0 };
    assert_true(pcm_steps_quantile(&s, 0.5) == 0 && pcm_steps_above(&s, 0) == 0);
    for (int i = 0; i < 1000; i++)
        pcm_steps_add(&s, (float) i / 1000);
    const double median = pcm_steps_quantile(&s, 0.5);
    assert_true(median >= 0.499 && median < 0.57);
    assert_true(fabs(pcm_steps_quantile(&s, 1) - 0.999) < 1e-6);
    assert_true(fabs(pcm_steps_above(&s, 0.75f) - 0.25) < 0.001); // a bin's edge
    assert_true(pcm_steps_above(&s, 1.5f) == 0);
    pcm_steps_add(&s, 100); // beyond the last bin
    assert_true(pcm_steps_above(&s, 50) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fade_neither_dips_nor_bumps),
        cmocka_unit_test(a_linear_fade_of_independent_noise_dips),
        cmocka_unit_test(equal_sounds_stay_exactly_as_they_are),
        cmocka_unit_test(a_fade_in_blocks_is_the_whole_fade),
        cmocka_unit_test(a_fade_ends_on_the_incoming_sound),
        cmocka_unit_test(the_law_has_its_known_values),
        cmocka_unit_test(correlation_is_measured),
        cmocka_unit_test(levels_are_matched_within_reason),
        cmocka_unit_test(steps_are_counted_by_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
