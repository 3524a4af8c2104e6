// Tests of stitch: every sample of the film once, whatever the film, the settings
// and the blocks.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/timeline/pcm.h"
#include "common/timeline/stitch.h"

// A loader that makes its segments up, and counts.
struct studio {
    const struct plan *plan;
    float (*sample)(const struct studio *studio, uint32_t segment,
                    int64_t at); // at: of the film
    unsigned held, most_held, loads;
    int64_t fail_after; // loads; < 0: never
    int64_t extra;      // samples too many
    float spoil;        // put at the segment's end, unless 0
    double gain_db;     // between even and odd cues
};

static enum err load(void *user, uint32_t segment, const float **pcm, uint64_t *samples)
{
    struct studio *t = user;
    if (t->fail_after >= 0 && t->fail_after-- == 0)
        return ERR_MISSING;
    const int64_t n = plan_segment_samples(t->plan, segment) + t->extra;
    const int64_t start = plan_segment_start(t->plan, segment);
    float *x = malloc((size_t) n * sizeof(*x));
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = t->sample(t, segment, start + i);
    if (t->spoil != 0)
        x[n - 1] = t->spoil;
    *pcm = x;
    *samples = (uint64_t) n;
    t->loads++;
    if (++t->held > t->most_held)
        t->most_held = t->held;
    return ERR_OK;
}

static void release(void *user, uint32_t segment, const float *pcm)
{
    struct studio *t = user;
    (void) segment;
    assert_true(t->held > 0);
    t->held--;
    free((void *) (uintptr_t) pcm);
}

static float uniform(uint64_t seed, int64_t at)
{
    return (float) ((double) (mix64(seed, (uint64_t) at) >> 40) / (1 << 24) - 0.5);
}

// The same music in every segment: what comes out must be it again, once.
static float one_piece(const struct studio *t, uint32_t segment, int64_t at)
{
    (void) t;
    (void) segment;
    return uniform(1, at);
}

// Another piece in every cue; the segments of a cue agree where they overlap.
static float piece_of_cue(const struct studio *t, uint32_t segment, int64_t at)
{
    const uint32_t cue = t->plan->segments[segment].cue;
    const double gain = pcm_amplitude(cue % 2 ? t->gain_db : 0);
    return (float) (gain * (double) uniform(cue + 10, at));
}

// A wave, so slow that a step is small wherever nothing is wrong.
static float wave(const struct studio *t, uint32_t segment, int64_t at)
{
    const uint32_t cue = t->plan->segments[segment].cue;
    const double rate = (double) t->plan->settings.model.sample_rate;
    return (float) (0.5 * sin(6.283185307179586 * (80 + 7 * cue) * (double) at / rate));
}

static struct studio studio_of(const struct plan *p,
                               float (*sample)(const struct studio *, uint32_t, int64_t))
{
    return (struct studio){ .plan = p, .sample = sample, .fail_after = -1 };
}

static struct stitch *open_stitch(struct studio *t, bool no_level_match)
{
    struct stitch *s;
    const struct stitch_params params = { .plan = t->plan,
                                          .source = { t, load, release },
                                          .no_level_match = no_level_match };
    assert_int_equal(stitch_open(&s, &params), ERR_OK);
    assert_int_equal(stitch_total(s), plan_total_samples(t->plan));
    return s;
}

static struct plan *build(int64_t duration_ms, const struct plan_scene *scenes, size_t count,
                          const struct plan_settings *settings)
{
    const struct plan_film film = { .path = "film", .duration_ms = duration_ms };
    struct plan *p;
    assert_int_equal(plan_build(&p, &film, scenes, count, settings), ERR_OK);
    return p;
}

// Small numbers, so that much can be tried: 1000 Hz, 50 columns a second.
static struct plan_settings small_settings(void)
{
    const struct plan_model m = { .sample_rate = 1000, .hop = 20, .max_duration_ms = 30000 };
    return plan_settings_default(&m);
}

// Everything, in blocks of `block`. The caller frees it.
static float *read_all(struct stitch *s, size_t block)
{
    const size_t total = (size_t) stitch_total(s);
    float *all = malloc((total + 1) * sizeof(*all));
    assert_non_null(all);
    size_t at = 0, got;
    do {
        const size_t room = block < total + 1 - at ? block : total + 1 - at;
        assert_int_equal(stitch_read(s, all + at, room, &got), ERR_OK);
        at += got;
        assert_true(got == room || at == total);
    } while (got);
    assert_int_equal(at, total);
    return all;
}

static int64_t draw(uint64_t *state, int64_t n)
{
    *state = mix64(*state, 1);
    return (int64_t) (*state % (uint64_t) n);
}

static struct plan_settings random_settings(uint64_t *random)
{
    static const struct plan_model models[] = {
        { 1000, 20, 30000 },
        { 1000, 7, 12000 },
        { 4410, 63, 10000 },
        { 1333, 64, 30000 },
    };
    struct plan_settings s = { .model = models[draw(random, 4)] };
    s.segment_ms = 500 + draw(random, s.model.max_duration_ms - 499);
    s.overlap_ms = 150 + draw(random, s.segment_ms - 300);
    s.min_cue_ms = 200 + draw(random, 9000);
    s.max_cue_ms = 2 * s.min_cue_ms + draw(random, 60000);
    s.crossfade_ms = draw(random, 4) ? draw(random, s.min_cue_ms + 1) : 0;
    s.cut = draw(random, 8) ? PLAN_CUT_SCENE : PLAN_CUT_NONE;
    return s;
}

static struct plan *random_plan(uint64_t *random, int64_t longest_ms)
{
    for (;;) {
        const struct plan_settings s = random_settings(random);
        const int64_t duration = 100 + draw(random, longest_ms);
        struct plan_scene scenes[200];
        const size_t count = (size_t) draw(random, 200);
        for (size_t i = 0; i < count; i++)
            scenes[i] =
                (struct plan_scene){ draw(random, duration), (int32_t) draw(random, 99) };
        const struct plan_film film = { .path = "film", .duration_ms = duration };
        struct plan *p;
        if (plan_build(&p, &film, scenes, count, &s) == ERR_OK)
            return p;
    }
}

// ---- every sample once

static void every_sample_of_any_film_is_covered_once(void **state)
{
    (void) state;
    uint64_t random = 77;
    unsigned cues = 0, segments = 0;
    for (int round = 0; round < 150; round++) {
        struct plan *p = random_plan(&random, round % 2 ? 10000 : 400000);
        struct studio t = studio_of(p, one_piece);
        struct stitch *s = open_stitch(&t, true);
        float *all = read_all(s, 1 + (size_t) draw(&random, 10000));
        for (int64_t i = 0; i < stitch_total(s); i++)
            assert_true(fabsf(all[i] - uniform(1, i)) < 1e-6f);
        assert_true(t.most_held <= STITCH_MAX_HELD);
        cues += p->cue_count;
        segments += p->segment_count;
        free(all);
        stitch_close(&s);
        assert_null(s);
        assert_int_equal(t.held, 0);
        plan_destroy(&p);
    }
    assert_true(cues > 500 && segments > 2 * cues);
}

static void a_day_is_covered_once(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    struct plan *p = build(PLAN_MAX_DURATION_MS, NULL, 0, &s);
    struct studio t = studio_of(p, one_piece);
    struct stitch *stitch = open_stitch(&t, false);
    static float block[48000];
    int64_t at = 0;
    for (size_t got = 1; got; at += (int64_t) got) {
        assert_int_equal(stitch_read(stitch, block, 48000, &got), ERR_OK);
        for (size_t i = 0; i < got; i += 97)
            assert_true(fabsf(block[i] - uniform(1, at + (int64_t) i)) < 1e-6f);
    }
    assert_int_equal(at, 86400 * 1000);
    assert_in_range(t.most_held, 2, 3);
    assert_true(t.loads < 2 * p->segment_count); // few are needed twice
    stitch_close(&stitch);
    plan_destroy(&p);
}

static void the_length_is_exact_at_every_rate(void **state)
{
    (void) state;
    const uint32_t rates[] = { 1000, 8000, 22050, 44100, 48000 };
    for (int i = 0; i < 5; i++)
        for (int64_t ms = 100; ms < 40000; ms = ms * 2 + 13) {
            const struct plan_model m = { rates[i], rates[i] / 50, 10000 };
            const struct plan_settings s = plan_settings_default(&m);
            struct plan *p = build(ms, NULL, 0, &s);
            struct studio t = studio_of(p, one_piece);
            struct stitch *stitch = open_stitch(&t, false);
            free(read_all(stitch, 4096));
            assert_int_equal(stitch_total(stitch), (ms * rates[i] + 500) / 1000);
            stitch_close(&stitch);
            plan_destroy(&p);
        }
}

// ---- blocks, rewinding, failures

static void blocks_make_no_difference(void **state)
{
    (void) state;
    uint64_t random = 5;
    for (int round = 0; round < 12; round++) {
        struct plan *p = random_plan(&random, 100000);
        const size_t bytes = (size_t) plan_total_samples(p) * sizeof(float);
        const size_t blocks[] = { 1, 7, 4096, 1 << 24 };
        float *first = NULL;
        json_t *seams = NULL;
        for (int i = 0; i < 4; i++) {
            struct studio t = studio_of(p, piece_of_cue);
            t.gain_db = 4;
            struct stitch *s = open_stitch(&t, false);
            float *all = read_all(s, blocks[i]);
            json_t *report = stitch_seams_to_json(s);
            if (first) {
                assert_memory_equal(all, first, bytes);
                assert_true(json_equal(report, seams));
                free(all);
                json_decref(report);
            } else {
                first = all;
                seams = report;
            }
            stitch_close(&s);
        }
        free(first);
        json_decref(seams);
        plan_destroy(&p);
    }
}

static void a_second_reading_is_the_first(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    const struct plan_scene scenes[] = { { 50000, 1 }, { 90000, 1 } };
    struct plan *p = build(120000, scenes, 2, &s);
    assert_int_equal(p->cue_count, 3);
    struct studio t = studio_of(p, piece_of_cue);
    t.gain_db = 4;
    struct stitch *stitch = open_stitch(&t, false);
    float part[60000];
    size_t got;
    assert_int_equal(stitch_read(stitch, part, 60000, &got), ERR_OK);
    stitch_rewind(stitch);
    float *first = read_all(stitch, 4096);
    json_t *seams = stitch_seams_to_json(stitch);
    assert_memory_equal(first, part, sizeof(part));
    stitch_rewind(stitch);
    float *second = read_all(stitch, 1000);
    json_t *again = stitch_seams_to_json(stitch);
    assert_memory_equal(first, second, 120000 * sizeof(float));
    assert_true(json_equal(seams, again)); // nothing was counted twice
    json_decref(seams);
    json_decref(again);
    free(first);
    free(second);
    stitch_close(&stitch);
    assert_int_equal(t.held, 0);
    plan_destroy(&p);
}

static void a_failed_reading_can_be_taken_up_again(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    const struct plan_scene scenes[] = { { 50000, 1 }, { 90000, 1 } };
    struct plan *p = build(120000, scenes, 2, &s);
    struct studio good = studio_of(p, piece_of_cue), bad = good;
    struct stitch *a = open_stitch(&good, false), *b = open_stitch(&bad, false);
    float *whole = read_all(a, 4096), block[20000];
    int failures = 0;
    for (size_t at = 0, got = 1; got;) {
        bad.fail_after = 0; // every load fails once
        enum err e;
        while ((e = stitch_read(b, block, 20000, &got)) != ERR_OK) {
            assert_int_equal(e, ERR_MISSING);
            assert_int_equal(got, 0);
            bad.fail_after = ++failures % 3;
        }
        assert_memory_equal(block, whole + at, got * sizeof(float));
        at += got;
    }
    assert_true(failures > 5);
    json_t *x = stitch_seams_to_json(a), *y = stitch_seams_to_json(b);
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
    free(whole);
    stitch_close(&a);
    stitch_close(&b);
    assert_int_equal(bad.held, 0);
    plan_destroy(&p);
}

static void parts_that_do_not_fit_are_refused(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    struct plan *p = build(20000, NULL, 0, &s);
    const struct studio good = studio_of(p, one_piece);
    struct studio bad[] = { good, good, good, good };
    bad[0].extra = 1;
    bad[1].extra = -1;
    bad[2].spoil = NAN;
    bad[3].spoil = INFINITY;
    for (int i = 0; i < 4; i++) {
        struct stitch *stitch = open_stitch(&bad[i], false);
        float x;
        size_t got;
        assert_int_equal(stitch_read(stitch, &x, 1, &got), ERR_INPUT);
        assert_int_equal(got, 0);
        stitch_close(&stitch);
        assert_int_equal(bad[i].held, 0);
    }
    plan_destroy(&p);
}

// ---- what the seams sound like

static const struct stitch_seam *find_seam(const struct stitch *s, enum stitch_seam_kind kind)
{
    uint32_t n;
    const struct stitch_seam *seams = stitch_seams(s, &n);
    for (uint32_t i = 0; i < n; i++)
        if (seams[i].kind == kind)
            return &seams[i];
    fail();
    return NULL;
}

static void independent_cues_keep_their_level_through_the_fade(void **state)
{
    (void) state;
    struct plan_settings s = small_settings();
    s.min_cue_ms = 8000;
    s.max_cue_ms = 8500;
    struct plan *p = build(4000000, NULL, 0, &s); // some hundreds of seams
    struct studio t = studio_of(p, piece_of_cue);
    struct stitch *stitch = open_stitch(&t, false);
    float *all = read_all(stitch, 4096);
    uint32_t n;
    const struct stitch_seam *seams = stitch_seams(stitch, &n);
    double power[8] = { 0 };
    assert_true(n > 450);
    for (uint32_t i = 0; i < n; i++)
        for (int k = 0; k < 8; k++) {
            const double rms = pcm_rms(all + seams[i].start + k * seams[i].samples / 8,
                                       (size_t) seams[i].samples / 8);
            power[k] += rms * rms / n;
        }
    for (int k = 0; k < 8; k++) { // against the noise's own, 1/12
        const double db = 10 * log10(power[k] * 12);
        print_message("part %d of the crossfade: %+.3f dB\n", k, db);
        assert_true(fabs(db) < 0.5);
    }
    free(all);
    stitch_close(&stitch);
    plan_destroy(&p);
}

static void levels_meet_at_the_seam_and_return(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    const struct plan_scene scene = { 60000, 1 };
    struct plan *p = build(120000, &scene, 1, &s);
    assert_int_equal(p->cue_count, 2);
    struct studio t = studio_of(p, piece_of_cue);
    t.gain_db = 5;
    struct stitch *stitch = open_stitch(&t, false);
    float *all = read_all(stitch, 4096);
    const struct stitch_seam *seam = find_seam(stitch, STITCH_CUE);
    assert_true(seam->measured);
    assert_true(seam->at_ms == 60000 && seam->start == 59000 && seam->samples == 2000);
    assert_true(fabs(seam->correlation) < 0.1);
    assert_true(fabs(seam->difference_before_db - 5) < 0.3);
    assert_true(fabs(seam->difference_after_db) < 1e-9);
    assert_true(fabs(seam->match_out_db - 2.5) < 0.15 && fabs(seam->match_in_db + 2.5) < 0.15);
    assert_true(fabs(seam->gain_db - 3) < 0.5);
    // Outside the ramps, untouched; within, never further than the match.
    assert_true(all[48999 - 1] == uniform(10, 48999 - 1));
    assert_true(all[71001] == (float) (pcm_amplitude(5) * (double) uniform(11, 71001)));
    for (int64_t i = 49000; i < 59000; i++) {
        const double gain = (double) all[i] / (double) uniform(10, i);
        assert_true(gain > 0.999 && gain < pcm_amplitude(seam->match_out_db) + 1e-4);
    }
    // After the fade the gain returns in a straight line, with no step where it begins.
    const double match = pcm_amplitude(seam->match_in_db);
    for (int64_t i = 61000; i < 71000; i++) {
        const double gain = (double) all[i] / (pcm_amplitude(5) * (double) uniform(11, i));
        const double expected = match + (1 - match) * ((double) (i - 61000) + 0.5) / 10000;
        assert_true(fabs(gain - expected) < 1e-4);
    }
    free(all);
    stitch_close(&stitch);

    t = studio_of(p, piece_of_cue);
    t.gain_db = 5;
    stitch = open_stitch(&t, true);
    all = read_all(stitch, 4096);
    seam = find_seam(stitch, STITCH_CUE);
    assert_true(seam->match_out_db == 0 && seam->match_in_db == 0);
    assert_true(seam->difference_after_db == seam->difference_before_db);
    assert_true(all[58999] == uniform(10, 58999));
    free(all);
    stitch_close(&stitch);
    plan_destroy(&p);
}

static void a_click_is_seen_in_the_report(void **state)
{
    (void) state;
    struct plan_settings s = small_settings();
    s.model = (struct plan_model){ 8000, 160, 30000 };
    const struct plan_scene scene = { 60050, 1 };
    struct plan *p = build(120000, &scene, 1, &s);
    struct studio t = studio_of(p, wave);
    struct stitch *stitch = open_stitch(&t, false);
    free(read_all(stitch, 4096));
    double usual, largest;
    stitch_steps(stitch, &usual, &largest);
    const struct stitch_seam *seam = find_seam(stitch, STITCH_CUE);
    assert_true(seam->largest_step < 2 * largest); // two waves may add up
    const struct stitch_seam *continuation = find_seam(stitch, STITCH_CONTINUATION);
    assert_true(continuation->correlation > 0.999999);
    assert_true(continuation->gain_db == 0);
    assert_true(continuation->largest_step <= largest);
    assert_true(continuation->step_rank > 0);
    stitch_close(&stitch);
    plan_destroy(&p);

    s.crossfade_ms = 0; // a hard cut between two waves that do not meet
    p = build(120000, &scene, 1, &s);
    t = studio_of(p, wave);
    stitch = open_stitch(&t, false);
    free(read_all(stitch, 4096));
    seam = find_seam(stitch, STITCH_CUE);
    stitch_steps(stitch, &usual, &largest);
    assert_true(seam->samples == 0 && seam->start == 60050 * 8);
    assert_true(seam->largest_step > 2 * largest);
    assert_true(seam->step_rank == 0);
    stitch_close(&stitch);
    plan_destroy(&p);
}

static void the_report_names_every_seam(void **state)
{
    (void) state;
    const struct plan_settings s = small_settings();
    const struct plan_scene scene = { 60000, 1 };
    struct plan *p = build(120000, &scene, 1, &s);
    struct studio t = studio_of(p, piece_of_cue);
    struct stitch *stitch = open_stitch(&t, false);
    json_t *report = stitch_seams_to_json(stitch);
    json_t *seams = json_object_get(report, "seams");
    assert_int_equal(json_array_size(seams), p->segment_count - 1);
    assert_null(json_object_get(json_array_get(seams, 0), "correlation")); // nothing read yet
    json_decref(report);
    free(read_all(stitch, 4096));
    report = stitch_seams_to_json(stitch);
    seams = json_object_get(report, "seams");
    size_t i, cues = 0;
    json_t *seam;
    json_array_foreach(seams, i, seam)
    {
        assert_true(json_is_real(json_object_get(seam, "correlation")));
        cues += !strcmp(json_string_value(json_object_get(seam, "kind")), "cue");
    }
    assert_int_equal(cues, p->cue_count - 1);
    json_decref(report);
    stitch_close(&stitch);
    plan_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_of_any_film_is_covered_once),
        cmocka_unit_test(a_day_is_covered_once),
        cmocka_unit_test(the_length_is_exact_at_every_rate),
        cmocka_unit_test(blocks_make_no_difference),
        cmocka_unit_test(a_second_reading_is_the_first),
        cmocka_unit_test(a_failed_reading_can_be_taken_up_again),
        cmocka_unit_test(parts_that_do_not_fit_are_refused),
        cmocka_unit_test(independent_cues_keep_their_level_through_the_fade),
        cmocka_unit_test(levels_meet_at_the_seam_and_return),
        cmocka_unit_test(a_click_is_seen_in_the_report),
        cmocka_unit_test(the_report_names_every_seam),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
