// Tests of plan: what is promised for any film, and what an editor would expect of a few.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/timeline/plan.h"

// A random number below n, from a counter.
static int64_t draw(uint64_t *state, int64_t n)
{
    *state = mix64(*state, 1);
    return (int64_t) (*state % (uint64_t) n);
}

static struct plan *build(int64_t duration_ms, const struct plan_scene *scenes, size_t count,
                          const struct plan_settings *settings)
{
    const struct plan_film film = { .path = "film.mkv", .duration_ms = duration_ms };
    struct plan *p;
    assert_int_equal(plan_build(&p, &film, scenes, count, settings), ERR_OK);
    return p;
}

static struct plan_settings defaults(void)
{
    const struct plan_model m = plan_model_published();
    return plan_settings_default(&m);
}

// ---- what a few films become

static void a_short_film_is_one_segment(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const struct plan_scene cut = { 12000, 500 };
    for (int64_t ms = 100; ms < 16000; ms += 777) {
        struct plan *p = build(ms, &cut, 1, &s);
        assert_int_equal(p->cue_count, 1);
        assert_int_equal(p->segment_count, 1);
        assert_int_equal(p->segments[0].start_ms, 0);
        assert_int_equal(p->segments[0].end_ms, ms);
        assert_int_equal(p->segments[0].columns, (ms + 19) / 20);
        assert_int_equal(p->segments[0].prompt_from, PLAN_NONE);
        plan_destroy(&p);
        assert_null(p);
    }
}

static void a_minute_is_three_segments(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    struct plan *p = build(60010, NULL, 0, &s);
    assert_int_equal(p->cue_count, 1);
    assert_int_equal(p->segment_count, 3);
    const struct plan_segment expected[] = {
        { 0, 0, 0, 1500, 0, 0, 30000, 0, plan_segment_seed(0, 0, 0), PLAN_NONE },
        { 0, 1, 1000, 1500, 500, 20000, 50000, 10000, plan_segment_seed(0, 0, 1), 0 },
        { 0, 2, 2000, 1001, 500, 40000, 60010, 10000, plan_segment_seed(0, 0, 2), 1 },
    };
    for (uint32_t i = 0; i < 3; i++) {
        const struct plan_segment *a = &p->segments[i], *b = &expected[i];
        assert_int_equal(a->cue, b->cue);
        assert_int_equal(a->index, b->index);
        assert_int_equal(a->first_column, b->first_column);
        assert_int_equal(a->columns, b->columns);
        assert_int_equal(a->prompt_columns, b->prompt_columns);
        assert_int_equal(a->start_ms, b->start_ms);
        assert_int_equal(a->end_ms, b->end_ms);
        assert_int_equal(a->overlap_ms, b->overlap_ms);
        assert_int_equal(a->seed, b->seed);
        assert_int_equal(a->prompt_from, b->prompt_from);
    }
    assert_int_equal(plan_segment_samples(p, 2), 1001 * 640);
    assert_int_equal(plan_segment_start(p, 2), 2000 * 640);
    assert_int_equal(plan_total_samples(p), 60010 * 32);
    plan_destroy(&p);
}

static void three_scenes_are_three_cues(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const struct plan_scene scenes[] = { { 40000, 3 },
                                         { 20000, 70 },
                                         { 40000, 2 } }; // unordered
    struct plan *p = build(60000, scenes, 3, &s);
    assert_int_equal(p->scene_count, 2);
    assert_int_equal(p->cue_count, 3);
    const int64_t start[] = { 0, 19000, 39000 }, end[] = { 21000, 41000, 60000 };
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(p->cues[i].cut_ms, 20000 * i);
        assert_int_equal(p->cues[i].next_cut_ms, 20000 * (i + 1));
        assert_int_equal(p->cues[i].start_ms, start[i]);
        assert_int_equal(p->cues[i].end_ms, end[i]);
        assert_int_equal(p->cues[i].opening, i ? PLAN_SCENE_CHANGE : PLAN_FILM_START);
        const struct plan_span watched = plan_watch(p, p->cues[i].first_segment);
        assert_int_equal(watched.from_ms, 20000 * i); // none of the other scene's pictures
        assert_int_equal(watched.to_ms, 20000 * (i + 1));
    }
    plan_destroy(&p);
}

static void without_scene_changes_cues_are_equal(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    struct plan *p = build(600000, NULL, 0, &s);
    assert_int_equal(p->cue_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(p->cues[i].cut_ms, 150000 * i);
        assert_int_equal(p->cues[i].opening, i ? PLAN_FORCED : PLAN_FILM_START);
    }
    plan_destroy(&p);
}

// Shots of a few seconds with a strong change every minute and a half: those are
// the cuts.
static void strong_changes_are_chosen_among_shots(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    struct plan_scene scenes[400];
    size_t n = 0;
    uint64_t random = 1;
    for (int64_t t = 0; t < 900000; t += 3000 + draw(&random, 3000)) {
        const int64_t mark = (t + 90000) / 90000 * 90000;
        scenes[n++] = (struct plan_scene){ t, (int32_t) (100 + draw(&random, 50)) };
        if (t < mark && t + 6000 > mark)
            scenes[n++] = (struct plan_scene){ mark, 900 };
    }
    struct plan *p = build(900000, scenes, n, &s);
    uint32_t strong = 0;
    for (uint32_t i = 1; i < p->cue_count; i++) {
        strong += p->cues[i].cut_ms % 90000 == 0;
        assert_int_equal(p->cues[i].opening, PLAN_SCENE_CHANGE);
        assert_true(p->cues[i].next_cut_ms - p->cues[i].cut_ms >= 16000);
    }
    assert_int_equal(strong, 9); // of the nine there are
    plan_destroy(&p);
}

static void a_weak_change_is_better_than_none(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    s.max_cue_ms = 60000;
    const struct plan_scene scenes[] = { { 30000, 1 },
                                         { 33000, 1 },
                                         { 36000, 9 },
                                         { 39000, 9 } };
    struct plan *p = build(70000, scenes, 4, &s);
    assert_int_equal(p->cue_count, 2);
    assert_int_equal(p->cues[1].opening, PLAN_SCENE_CHANGE);
    assert_true(p->cues[1].cut_ms >= 36000); // one of the stronger
    plan_destroy(&p);
}

static void only_the_order_of_strengths_counts(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    struct plan_scene a[300], b[300];
    uint64_t random = 5;
    for (int i = 0; i < 300; i++) {
        a[i] =
            (struct plan_scene){ i * 3000 + draw(&random, 2500), (int32_t) draw(&random, 100) };
        b[i] = (struct plan_scene){ a[i].at_ms, a[i].strength * a[i].strength * 7 - 1000 };
    }
    struct plan *p = build(900000, a, 300, &s), *q = build(900000, b, 300, &s);
    assert_true(p->cue_count > 5);
    assert_int_equal(p->cue_count, q->cue_count);
    for (uint32_t i = 0; i < p->cue_count; i++)
        assert_int_equal(p->cues[i].cut_ms, q->cues[i].cut_ms);
    plan_destroy(&p);
    plan_destroy(&q);
}

static void fast_cutting_does_not_chop_the_music(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const int64_t shots[] = { 1200, 3000, 5000 };
    struct plan_scene *scenes = calloc(9000, sizeof(*scenes));
    assert_non_null(scenes);
    for (int i = 0; i < 3; i++) {
        uint64_t random = 2;
        size_t n = 0;
        for (int64_t t = 0; t < 7200000; t += shots[i] / 2 + draw(&random, shots[i]))
            scenes[n++] = (struct plan_scene){ t, (int32_t) draw(&random, 100000) };
        struct plan *p = build(7200000, scenes, n, &s);
        assert_in_range(p->cue_count, 90, 150); // of 48 to 80 seconds, in the mean
        plan_destroy(&p);
    }
    free(scenes);
}

static void short_scenes_get_a_cue_each(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const struct plan_scene scenes[] = { { 8680, 2008 },
                                         { 18160, 1341 },
                                         { 27560, 2964 },
                                         { 35560, 2352 },
                                         { 44920, 3113 } };
    struct plan *p = build(52960, scenes, 5, &s);
    assert_int_equal(p->cue_count, 6);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(p->cues[i + 1].cut_ms, scenes[i].at_ms);
    plan_destroy(&p);
}

static void cut_none_is_one_cue(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    s.cut = PLAN_CUT_NONE;
    const struct plan_scene scene = { 1000000, 900 };
    struct plan *p = build(PLAN_MAX_DURATION_MS, &scene, 1, &s);
    assert_int_equal(p->cue_count, 1);
    assert_int_equal(p->segment_count, 1 + (86400 - 30) / 20 + 1);
    plan_destroy(&p);
}

static void when_both_limits_cannot_hold_the_upper_does(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    s.min_cue_ms = 30000;
    s.max_cue_ms = 45000;
    struct plan *p = build(50000, NULL, 0, &s);
    assert_int_equal(p->cue_count, 2);
    assert_int_equal(p->cues[1].cut_ms, 25000);
    plan_destroy(&p);
    s.max_cue_ms = 30001; // nearly one length: 3 ms to spare over the whole film
    p = build(90002, NULL, 0, &s);
    assert_int_equal(p->cue_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_in_range(p->cues[i].next_cut_ms - p->cues[i].cut_ms, 30000, 30001);
    plan_destroy(&p);
}

// ---- what holds for any film

static struct plan_settings random_settings(uint64_t *random)
{
    static const struct plan_model models[] = {
        { 32000, 640, 30000 }, { 44100, 588, 32000 }, { 48000, 320, 12000 },
        { 16000, 333, 30000 }, { 1000, 20, 5000 },    { 22050, 441, 300000 },
    };
    struct plan_settings s = { .model = models[draw(random, 6)] };
    s.segment_ms = 200 + draw(random, s.model.max_duration_ms - 199);
    if (s.segment_ms < 1000)
        s.segment_ms = 1000;
    s.overlap_ms = 100 + draw(random, s.segment_ms - 300);
    s.min_cue_ms = 100 + draw(random, draw(random, 2) ? 10000 : 100000);
    s.max_cue_ms = s.min_cue_ms + draw(random, draw(random, 2) ? 1000 : 400000);
    s.crossfade_ms = draw(random, s.min_cue_ms + 1);
    if (2 * s.crossfade_ms > s.max_cue_ms)
        s.crossfade_ms = s.max_cue_ms / 2;
    s.cut = draw(random, 8) ? PLAN_CUT_SCENE : PLAN_CUT_NONE;
    s.seed = mix64(*random, 2);
    return s;
}

static int64_t random_duration(uint64_t *random)
{
    switch (draw(random, 4)) {
    case 0: return 100 + draw(random, 20000);
    case 1: return 100 + draw(random, 600000);
    case 2: return 100 + draw(random, 7200000);
    default: return PLAN_MAX_DURATION_MS - draw(random, 1000000);
    }
}

static void check_cues(const struct plan *p)
{
    const struct plan_settings *s = &p->settings;
    const int64_t duration = p->film.duration_ms;
    const int64_t fewest = (duration + s->max_cue_ms - 1) / s->max_cue_ms;
    const bool both = fewest * s->min_cue_ms <= duration;
    assert_int_equal(p->cues[0].cut_ms, 0);
    assert_int_equal(p->cues[p->cue_count - 1].next_cut_ms, duration);
    for (uint32_t i = 0; i < p->cue_count; i++) {
        const struct plan_cue *c = &p->cues[i];
        const int64_t length = c->next_cut_ms - c->cut_ms;
        if (i > 0) {
            assert_int_equal(c->cut_ms, c[-1].next_cut_ms);
            assert_int_equal(c[-1].end_ms - c->start_ms, s->crossfade_ms);
            assert_in_range(c->cut_ms - c->start_ms, s->crossfade_ms / 2, s->crossfade_ms / 2);
        }
        if (i > 1)
            assert_true(c[-2].end_ms <= c->start_ms); // never three at once
        if (s->cut == PLAN_CUT_SCENE) {
            assert_true(length <= s->max_cue_ms);
            assert_true(length >= s->min_cue_ms || !both);
        }
    }
}

static void check_segments(const struct plan *p)
{
    const struct plan_model *m = &p->settings.model;
    const int64_t longest = plan_columns(m, m->max_duration_ms);
    uint32_t next = 0;
    for (uint32_t i = 0; i < p->cue_count; i++) {
        const struct plan_cue *c = &p->cues[i];
        const int64_t samples = plan_cue_end(p, i) - plan_cue_start(p, i);
        int64_t covered = 0; // columns
        assert_int_equal(c->first_segment, next);
        for (uint32_t k = 0; k < c->segments; k++, next++) {
            const struct plan_segment *s = &p->segments[next];
            assert_int_equal(s->cue, i);
            assert_int_equal(s->index, k);
            assert_true(s->columns <= longest && s->columns > s->prompt_columns);
            assert_true(s->end_ms - s->start_ms <= p->settings.segment_ms);
            assert_int_equal(s->first_column + s->prompt_columns, covered);
            assert_int_equal(s->prompt_from, k ? (int64_t) next - 1 : PLAN_NONE);
            assert_int_equal(s->seed, plan_segment_seed(p->settings.seed, i, k));
            assert_true(s->start_ms >= c->start_ms && s->end_ms <= c->end_ms);
            covered = s->first_column + s->columns;
            const struct plan_span watched = plan_watch(p, next);
            assert_true(watched.from_ms < watched.to_ms && watched.from_ms >= c->cut_ms &&
                        watched.to_ms <= c->next_cut_ms);
        }
        assert_true(covered * m->hop >= samples && (covered - 1) * m->hop < samples);
    }
    assert_int_equal(next, p->segment_count);
}

static void every_plan_keeps_its_promises(void **state)
{
    (void) state;
    uint64_t random = 20;
    struct plan_scene *scenes = calloc(20000, sizeof(*scenes));
    assert_non_null(scenes);
    uint32_t most = 0;
    for (int round = 0; round < 200; round++) {
        const struct plan_settings s = random_settings(&random);
        const int64_t duration = random_duration(&random);
        const size_t count = (size_t) draw(&random, draw(&random, 2) ? 20 : 20000);
        for (size_t i = 0; i < count; i++)
            scenes[i] = (struct plan_scene){ draw(&random, duration + 1000) - 500,
                                             (int32_t) draw(&random, 1000) - 500 };
        const struct plan_film film = { .path = "film", .duration_ms = duration };
        struct plan *p;
        assert_int_equal(plan_settings_check(&s), ERR_OK);
        const enum err e = plan_build(&p, &film, scenes, count, &s);
        if (e == ERR_USAGE) // too many segments
            continue;
        assert_int_equal(e, ERR_OK);
        check_cues(p);
        check_segments(p);
        assert_int_equal(plan_check(p), ERR_OK);
        if (p->segment_count > most)
            most = p->segment_count;
        plan_destroy(&p);
    }
    assert_true(most > 10000);
    free(scenes);
}

// No other change (as strong, if so asked) within `ms` of this one.
static bool is_alone(const struct plan *p, uint32_t scene, bool as_strong, int64_t ms)
{
    const struct plan_scene *x = &p->scenes[scene];
    for (uint32_t i = 0; i < p->scene_count; i++)
        if (i != scene && llabs(p->scenes[i].at_ms - x->at_ms) < ms &&
            (!as_strong || p->scenes[i].strength >= x->strength))
            return false;
    return true;
}

static bool is_cut(const struct plan *p, int64_t ms)
{
    for (uint32_t i = 1; i < p->cue_count; i++)
        if (p->cues[i].cut_ms == ms)
            return true;
    return false;
}

// Whether the cue and the one before it would together be within the limits.
static bool merges(const struct plan *p, uint32_t cue)
{
    const bool at_scenes = p->cues[cue - 1].opening != PLAN_FORCED &&
                           (cue + 1 == p->cue_count || p->cues[cue + 1].opening != PLAN_FORCED);
    return at_scenes &&
           p->cues[cue].next_cut_ms - p->cues[cue - 1].cut_ms <= p->settings.max_cue_ms;
}

// Whether every isolated change is a cut, and every cut that max_cue does not force
// is at a clear change.
static void check_clear_changes(const struct plan *p)
{
    const int64_t min = p->settings.min_cue_ms, max = p->settings.max_cue_ms;
    for (uint32_t i = 0; i < p->scene_count; i++) {
        const int64_t ms = p->scenes[i].at_ms;
        if (ms >= min && ms <= p->film.duration_ms - min && is_alone(p, i, false, min))
            assert_true(is_cut(p, ms));
        const int64_t window = (int64_t) sqrt((double) (min * max));
        const bool clear = is_alone(p, i, false, min) || is_alone(p, i, true, window);
        for (uint32_t k = 1; k < p->cue_count; k++)
            if (!clear && p->cues[k].cut_ms == ms)
                assert_false(merges(p, k));
    }
}

static void clear_changes_are_cuts_and_weak_ones_only_where_forced(void **state)
{
    (void) state;
    uint64_t random = 30;
    struct plan_scene scenes[500];
    uint32_t cuts = 0;
    for (int round = 0; round < 300; round++) {
        struct plan_settings s = defaults();
        s.min_cue_ms = 1000 + draw(&random, 20000);
        s.max_cue_ms = s.min_cue_ms * (4 + draw(&random, 17)) + draw(&random, 1000);
        s.crossfade_ms = 500;
        const int64_t duration = 2 * s.min_cue_ms + draw(&random, 40 * s.max_cue_ms);
        const int64_t shot = draw(&random, 2) ? s.min_cue_ms / 2 : 2 * s.min_cue_ms;
        size_t n = 0;
        for (int64_t t = shot; t < duration && n < 500; // never two in one cell
             t += s.max_cue_ms / 60 + draw(&random, draw(&random, 9) ? shot : 10 * shot))
            scenes[n++] = (struct plan_scene){ t, (int32_t) draw(&random, 5000) };
        struct plan *p = build(duration, scenes, n, &s);
        check_cues(p);
        check_clear_changes(p);
        cuts += p->cue_count - 1;
        plan_destroy(&p);
    }
    assert_true(cuts > 3000);
}

static void the_same_film_gives_the_same_plan(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    struct plan_scene scenes[200];
    uint64_t random = 8;
    for (int i = 0; i < 200; i++)
        scenes[i] = (struct plan_scene){ draw(&random, 1800000), (int32_t) draw(&random, 10) };
    struct plan *p = build(1800000, scenes, 200, &s);
    for (int i = 0; i < 100; i++) { // another order
        const struct plan_scene x = scenes[i];
        scenes[i] = scenes[199 - i];
        scenes[199 - i] = x;
    }
    struct plan *q = build(1800000, scenes, 200, &s);
    assert_int_equal(p->cue_count, q->cue_count);
    assert_memory_equal(p->segments, q->segments, p->segment_count * sizeof(*p->segments));
    s.seed++;
    struct plan *r = build(1800000, scenes, 200, &s);
    assert_int_not_equal(p->segments[0].seed, r->segments[0].seed);
    for (uint32_t i = 1; i < p->segment_count; i++)
        assert_int_not_equal(p->segments[i].seed, p->segments[i - 1].seed);
    plan_destroy(&p);
    plan_destroy(&q);
    plan_destroy(&r);
}

// ---- what is refused

static void settings_that_do_not_fit_are_refused(void **state)
{
    (void) state;
    const struct plan_settings good = defaults();
    assert_int_equal(plan_settings_check(&good), ERR_OK);
#define REFUSED(field, value)                                 \
    do {                                                      \
        struct plan_settings s = good;                        \
        s.field = (value);                                    \
        assert_int_equal(plan_settings_check(&s), ERR_USAGE); \
    } while (0)
    REFUSED(segment_ms, 0);
    REFUSED(segment_ms, 30001); // longer than the model's
    REFUSED(segment_ms, 39);    // not two columns
    REFUSED(overlap_ms, 0);
    REFUSED(overlap_ms, 19);
    REFUSED(overlap_ms, 30000);
    REFUSED(overlap_ms, INT64_MAX);
    REFUSED(crossfade_ms, -1);
    REFUSED(crossfade_ms, 8001);
    REFUSED(min_cue_ms, 99);
    REFUSED(min_cue_ms, 180001);
    REFUSED(max_cue_ms, 7999);
    REFUSED(max_cue_ms, PLAN_MAX_DURATION_MS + 1);
    REFUSED(max_cue_ms, INT64_MAX);
    REFUSED(cut, (enum plan_cut) 7);
    REFUSED(model.sample_rate, 0);
    REFUSED(model.hop, 0);
    REFUSED(model.hop, 31);
    REFUSED(model.hop, 32001);
    REFUSED(model.max_duration_ms, INT64_MAX);
#undef REFUSED
    struct plan_settings s = good;
    s.min_cue_ms = s.max_cue_ms = 10000;
    s.crossfade_ms = 5001;
    assert_int_equal(plan_settings_check(&s), ERR_USAGE);
}

static void films_of_no_or_endless_length_are_refused(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const int64_t lengths[] = { INT64_MIN, 0, 99, PLAN_MAX_DURATION_MS + 1, INT64_MAX };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const struct plan_film film = { .path = "film", .duration_ms = lengths[i] };
        struct plan *p;
        assert_int_equal(plan_build(&p, &film, NULL, 0, &s), ERR_INPUT);
        assert_null(p);
    }
}

static void too_many_segments_are_refused(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    s.overlap_ms = 29980; // a stride of one column
    const struct plan_film film = { .path = "film", .duration_ms = PLAN_MAX_DURATION_MS };
    struct plan *p;
    assert_int_equal(plan_build(&p, &film, NULL, 0, &s), ERR_USAGE);
    assert_null(p);
}

static void a_model_with_a_short_window_gets_settings_that_fit(void **state)
{
    (void) state;
    const struct plan_model m = { .sample_rate = 16000, .hop = 320, .max_duration_ms = 4000 };
    const struct plan_settings s = plan_settings_default(&m);
    assert_int_equal(s.segment_ms, 4000);
    assert_int_equal(plan_settings_check(&s), ERR_OK);
}

// ---- what a scheduler asks

static void segments_become_ready_in_their_turn(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const struct plan_scene scenes[] = { { 30000, 5 }, { 130000, 5 } };
    struct plan *p = build(190000, scenes, 2, &s);
    assert_int_equal(p->cue_count, 3); // 30, 100, 60 seconds
    bool *done = calloc(p->segment_count, sizeof(*done));
    uint32_t *ready = calloc(p->segment_count, sizeof(*ready));
    assert_true(done && ready);
    assert_int_equal(plan_ready(p, done, ready, p->segment_count), 3);
    assert_int_equal(p->segments[ready[0]].cue, 1); // the longest first
    assert_int_equal(p->segments[ready[1]].cue, 2);
    assert_int_equal(p->segments[ready[2]].cue, 0);

    uint32_t composed = 0;
    for (size_t n; (n = plan_ready(p, done, ready, 1)); composed++) {
        const struct plan_segment *next = &p->segments[ready[0]];
        assert_false(done[ready[0]]);
        assert_true(next->prompt_from == PLAN_NONE || done[next->prompt_from]);
        uint32_t all[3];
        assert_int_equal(plan_ready(p, done, all, 3), n);
        assert_int_equal(all[0], ready[0]);
        for (size_t i = 1; i < n; i++)
            assert_true(plan_remaining_ms(p, all[i]) <= plan_remaining_ms(p, all[i - 1]));
        done[ready[0]] = true;
    }
    assert_int_equal(composed, p->segment_count);
    assert_int_equal(plan_successor(p, 0), 1);
    assert_int_equal(plan_successor(p, p->segment_count - 1), PLAN_NONE);
    free(done);
    free(ready);
    plan_destroy(&p);
}

static void the_first_of_many_ready_are_the_first_of_all(void **state)
{
    (void) state;
    struct plan_settings s = defaults();
    s.max_cue_ms = 40000;
    struct plan_scene scenes[3000];
    uint64_t random = 3;
    for (int i = 0; i < 3000; i++)
        scenes[i] = (struct plan_scene){ draw(&random, 36000000), (int32_t) draw(&random, 99) };
    struct plan *p = build(36000000, scenes, 3000, &s);
    bool *done = calloc(p->segment_count, sizeof(*done));
    uint32_t *all = calloc(p->segment_count, sizeof(*all)), some[7];
    assert_true(done && all);
    assert_int_equal(plan_ready(p, done, all, p->segment_count), p->cue_count);
    assert_int_equal(plan_ready(p, done, some, 7), p->cue_count);
    assert_int_equal(plan_ready(p, done, NULL, 0), p->cue_count);
    assert_memory_equal(some, all, sizeof(some));
    for (uint32_t i = 1; i < p->cue_count; i++) {
        const int64_t x = plan_remaining_ms(p, all[i - 1]), y = plan_remaining_ms(p, all[i]);
        assert_true(x > y || (x == y && all[i - 1] < all[i]));
    }
    free(done);
    free(all);
    plan_destroy(&p);
}

static void cues_are_named_as_they_are_printed(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    struct plan *p = build(1500000, NULL, 0, &s);
    assert_true(p->cue_count >= 9 && p->cue_count < 20);
    bool chosen[20] = { false };
    assert_int_equal(plan_select_cues(p, "0,3-5,8", chosen), ERR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(chosen[i], i == 0 || (i >= 3 && i <= 5) || i == 8);
    const char *const bad[] = { "",
                                ",",
                                "1,",
                                "-",
                                "3-",
                                "5-3",
                                "a",
                                "1 2",
                                "20",
                                "0-20",
                                "-1",
                                "4294967296",
                                "99999999999999999999",
                                "1--2",
                                "1-2-3" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(plan_select_cues(p, bad[i], chosen), ERR_USAGE);
    plan_destroy(&p);
}

static void a_day_of_shots_is_planned(void **state)
{
    (void) state;
    const struct plan_settings s = defaults();
    const int64_t step = 700;
    const size_t count = PLAN_MAX_DURATION_MS / step;
    struct plan_scene *scenes = calloc(count, sizeof(*scenes));
    assert_non_null(scenes);
    uint64_t random = 4;
    for (size_t i = 0; i < count; i++)
        scenes[i] = (struct plan_scene){ (int64_t) i * step, (int32_t) draw(&random, 100000) };
    struct plan *p = build(PLAN_MAX_DURATION_MS, scenes, count, &s);
    check_cues(p);
    check_segments(p);
    assert_true(p->cue_count > 1000);
    free(scenes);
    plan_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_film_is_one_segment),
        cmocka_unit_test(a_minute_is_three_segments),
        cmocka_unit_test(three_scenes_are_three_cues),
        cmocka_unit_test(without_scene_changes_cues_are_equal),
        cmocka_unit_test(strong_changes_are_chosen_among_shots),
        cmocka_unit_test(a_weak_change_is_better_than_none),
        cmocka_unit_test(only_the_order_of_strengths_counts),
        cmocka_unit_test(fast_cutting_does_not_chop_the_music),
        cmocka_unit_test(short_scenes_get_a_cue_each),
        cmocka_unit_test(cut_none_is_one_cue),
        cmocka_unit_test(when_both_limits_cannot_hold_the_upper_does),
        cmocka_unit_test(every_plan_keeps_its_promises),
        cmocka_unit_test(clear_changes_are_cuts_and_weak_ones_only_where_forced),
        cmocka_unit_test(the_same_film_gives_the_same_plan),
        cmocka_unit_test(settings_that_do_not_fit_are_refused),
        cmocka_unit_test(films_of_no_or_endless_length_are_refused),
        cmocka_unit_test(too_many_segments_are_refused),
        cmocka_unit_test(a_model_with_a_short_window_gets_settings_that_fit),
        cmocka_unit_test(segments_become_ready_in_their_turn),
        cmocka_unit_test(the_first_of_many_ready_are_the_first_of_all),
        cmocka_unit_test(cues_are_named_as_they_are_printed),
        cmocka_unit_test(a_day_of_shots_is_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
