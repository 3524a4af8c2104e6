// Tests of plan_json: what is written is read back, and nothing else is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/timeline/plan_json.h"

static const char sha256[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct plan *example(int64_t duration_ms, uint64_t seed)
{
    const struct plan_model m = plan_model_published();
    struct plan_settings s = plan_settings_default(&m);
    s.seed = seed;
    struct plan_scene scenes[60];
    for (int64_t i = 0; i < 60; i++)
        scenes[i] = (struct plan_scene){ i * duration_ms / 60 +
                                             (int64_t) (mix64(seed, (uint64_t) i) % 999),
                                         (int32_t) (mix64(seed, (uint64_t) i) >> 50) };
    const struct plan_film film = { "a film: \"é\" \\ \n.mkv", duration_ms, 123456789012,
                                    sha256 };
    struct plan *p;
    assert_int_equal(plan_build(&p, &film, scenes, 60, &s), ERR_OK);
    return p;
}

static struct plan *read_back(const char *text)
{
    struct plan *p;
    assert_int_equal(plan_from_text(&p, text, strlen(text), "test"), ERR_OK);
    return p;
}

// Their text is compared too, and plan_check() has compared what follows from these.
static void assert_same(const struct plan *a, const struct plan *b)
{
    assert_string_equal(a->film.path, b->film.path);
    assert_int_equal(a->film.duration_ms, b->film.duration_ms);
    assert_int_equal(a->film.bytes, b->film.bytes);
    assert_string_equal(a->film.sha256, b->film.sha256);
    const struct plan_settings *s = &a->settings, *t = &b->settings;
    assert_int_equal(s->segment_ms, t->segment_ms);
    assert_int_equal(s->overlap_ms, t->overlap_ms);
    assert_int_equal(s->crossfade_ms, t->crossfade_ms);
    assert_int_equal(s->min_cue_ms, t->min_cue_ms);
    assert_int_equal(s->max_cue_ms, t->max_cue_ms);
    assert_int_equal(s->cut, t->cut);
    assert_int_equal(s->seed, t->seed);
    assert_int_equal(s->model.sample_rate, t->model.sample_rate);
    assert_int_equal(s->model.hop, t->model.hop);
    assert_int_equal(s->model.max_duration_ms, t->model.max_duration_ms);
    assert_int_equal(a->scene_count, b->scene_count);
    assert_int_equal(a->cue_count, b->cue_count);
    assert_int_equal(a->segment_count, b->segment_count);
    assert_int_equal(a->segments[a->segment_count - 1].seed,
                     b->segments[a->segment_count - 1].seed);
}

static void a_plan_survives_the_round_trip(void **state)
{
    (void) state;
    const int64_t durations[] = { 100, 60010, 1234567, PLAN_MAX_DURATION_MS };
    const uint64_t seeds[] = { 0, 42, UINT64_MAX, (uint64_t) 1 << 63 };
    for (int i = 0; i < 4; i++) {
        struct plan *p = example(durations[i], seeds[i]);
        char *text = plan_to_text(p);
        assert_non_null(text);
        struct plan *q = read_back(text);
        assert_same(p, q);
        char *again = plan_to_text(q);
        assert_string_equal(text, again);
        free(again);
        free(text);
        plan_destroy(&p);
        plan_destroy(&q);
    }
}

static void what_is_optional_may_be_absent(void **state)
{
    (void) state;
    struct plan *p = example(60000, 1);
    free((void *) (uintptr_t) p->film.sha256);
    p->film.sha256 = NULL;
    p->film.bytes = 0;
    char *text = plan_to_text(p);
    assert_null(strstr(text, "sha256"));
    struct plan *q = read_back(text);
    assert_null(q->film.sha256);
    assert_int_equal(q->film.bytes, 0);
    free(text);
    plan_destroy(&p);
    plan_destroy(&q);
}

static void another_take_of_a_segment_is_allowed(void **state)
{
    (void) state;
    struct plan *p = example(60000, 1);
    p->segments[0].seed = 99;
    assert_int_equal(plan_check(p), ERR_OK);
    char *text = plan_to_text(p);
    struct plan *q = read_back(text);
    assert_int_equal(q->segments[0].seed, 99);
    free(text);
    plan_destroy(&p);
    plan_destroy(&q);
}

// Parses `root`; true when it was refused as bad input and nothing was left behind.
static bool refused(const json_t *root)
{
    struct plan *p;
    const enum err e = plan_from_json(&p, root, "test");
    if (e == ERR_OK) {
        plan_destroy(&p);
        return false;
    }
    assert_null(p);
    return e == ERR_INPUT;
}

// Some values are free: changing them makes another valid plan.
static bool is_free(const char *key)
{
    return !strcmp(key, "seed") || !strcmp(key, "path") || !strcmp(key, "sha256") ||
           !strcmp(key, "strength") || !strcmp(key, "bytes");
}

// Puts every wrong thing in place of one leaf of `node`, a part of `root`.
static unsigned spoil(json_t *root, json_t *node, const char *key)
{
    json_t *value = json_incref(json_object_get(node, key));
    json_t *wrong[] = { json_integer(-2), json_integer(INT64_MAX), json_integer(4294967296),
                        json_real(1.5),   json_string("x"),        json_true(),
                        json_array(),     json_object(),           NULL };
    unsigned tried = 0;
    for (int i = 0; wrong[i]; i++, tried++) {
        json_object_set_new(node, key, wrong[i]);
        const bool may =
            is_free(key) && (json_is_integer(wrong[i]) || json_is_string(wrong[i]));
        assert_true(refused(root) || may);
    }
    if (json_is_integer(value) && !is_free(key)) {
        json_object_set_new(node, key, json_integer(json_integer_value(value) + 1));
        // Settings one millisecond longer may give the same plan, and so may a scene
        // change where nothing is cut.
        assert_true(refused(root) || strstr(key, "_cue_ms") || strstr(key, "_duration_ms") ||
                    !strcmp(key, "overlap_ms") || !strcmp(key, "at_ms"));
        tried++;
    }
    json_object_del(node, key);
    if (strcmp(key, "bytes") != 0 && strcmp(key, "sha256") != 0)
        assert_true(refused(root));
    json_object_set_new(node, key, value);
    assert_false(refused(root));
    return tried;
}

static unsigned spoil_object(json_t *root, json_t *node)
{
    unsigned tried = 0;
    const char *key;
    json_t *value;
    json_t *before = json_copy(node); // the keys, while node's own order changes
    json_object_foreach(before, key, value) tried += spoil(root, node, key);
    json_decref(before);
    json_object_set_new(node, "unknown", json_null());
    assert_true(refused(root));
    json_object_del(node, "unknown");
    return tried + 1;
}

static void every_field_is_checked(void **state)
{
    (void) state;
    struct plan *p = example(150000, 3);
    assert_true(p->cue_count > 1 && p->segment_count > p->cue_count);
    json_t *root = plan_to_json(p);
    unsigned tried = spoil_object(root, root);
    tried += spoil_object(root, json_object_get(root, "film"));
    tried += spoil_object(root, json_object_get(root, "settings"));
    tried += spoil_object(root, json_object_get(root, "model"));
    tried += spoil_object(root, json_array_get(json_object_get(root, "cuts"), 5));
    for (size_t i = 0; i < p->cue_count; i++)
        tried += spoil_object(root, json_array_get(json_object_get(root, "cues"), i));
    for (size_t i = 0; i < p->segment_count; i++)
        tried += spoil_object(root, json_array_get(json_object_get(root, "segments"), i));
    assert_true(tried > 500);
    json_decref(root);
    plan_destroy(&p);
}

static void lists_of_the_wrong_length_are_refused(void **state)
{
    (void) state;
    struct plan *p = example(150000, 3);
    const char *const lists[] = { "cuts", "cues", "segments" };
    for (int i = 0; i < 3; i++) {
        json_t *root = plan_to_json(p);
        json_t *list = json_object_get(root, lists[i]);
        json_array_append(list, json_array_get(list, 0));
        assert_true(refused(root));
        json_array_clear(list);
        assert_true(refused(root) || i == 0); // no cuts: then the cues' openings are wrong
        json_decref(root);
    }
    plan_destroy(&p);
}

static void text_is_refused(const char *text, size_t bytes)
{
    struct plan *p;
    assert_int_equal(plan_from_text(&p, text, bytes, "test"), ERR_INPUT);
    assert_null(p);
}

static void text_that_is_no_plan_is_refused(void **state)
{
    (void) state;
    const char *const bad[] = { "",
                                "{",
                                "[]",
                                "null",
                                "1",
                                "{}",
                                "{\"version\": 2}",
                                "{\"version\": 1}",
                                "{\"version\": \"1\"}",
                                "{\"a\":1,\"a\":2}",
                                "\xff\xfe",
                                "{\"version\": 99999999999999999999}" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        text_is_refused(bad[i], strlen(bad[i]));
    struct plan *p = example(60000, 3);
    char *text = plan_to_text(p);
    const size_t bytes = strlen(text);
    for (size_t n = 0; n + 2 < bytes; n += 7) // cut short
        text_is_refused(text, n);
    free(text);
    plan_destroy(&p);
}

static void a_name_json_cannot_say_is_made_readable(void **state)
{
    (void) state;
    const struct plan_model m = plan_model_published();
    const struct plan_settings s = plan_settings_default(&m);
    const char *const names[][2] = { { "caf\xe9.mkv", "caf\xef\xbf\xbd.mkv" },
                                     { "caf\xc3\xa9 \xf0\x9f\x8e\xac",
                                       "caf\xc3\xa9 \xf0\x9f\x8e\xac" },
                                     { "cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd" } };
    for (int i = 0; i < 3; i++) {
        const struct plan_film film = { .path = names[i][0], .duration_ms = 1000 };
        struct plan *p;
        assert_int_equal(plan_build(&p, &film, NULL, 0, &s), ERR_OK);
        char *text = plan_to_text(p);
        struct plan *q = read_back(text);
        assert_string_equal(q->film.path, names[i][1]);
        free(text);
        plan_destroy(&p);
        plan_destroy(&q);
    }
}

static void the_table_has_a_line_for_every_cue(void **state)
{
    (void) state;
    struct plan *p = example(4000000, 5);
    char *text = plan_to_table(p);
    assert_non_null(text);
    uint32_t lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, p->cue_count + 4 + 1); // the film's name has a line break
    assert_non_null(strstr(text, "1:06:40.000"));
    free(text);
    plan_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_survives_the_round_trip),
        cmocka_unit_test(what_is_optional_may_be_absent),
        cmocka_unit_test(another_take_of_a_segment_is_allowed),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(lists_of_the_wrong_length_are_refused),
        cmocka_unit_test(text_that_is_no_plan_is_refused),
        cmocka_unit_test(a_name_json_cannot_say_is_made_readable),
        cmocka_unit_test(the_table_has_a_line_for_every_cue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
