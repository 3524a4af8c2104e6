// Tests of scenes: cuts are found where they were made.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/media/film.h"
#include "common/media/film_fixture.h"
#include "common/media/scenes.h"

// Four scenes of 2.2, 1, 3 and 1.8 seconds.
#define FOUR_SCENES                                                                   \
    "-f lavfi -i \"testsrc2=s=320x180:r=25:d=2.2[a];smptebars=s=320x180:r=25:d=1[b];" \
    "mandelbrot=s=320x180:r=25:start_scale=0.3,trim=duration=3[c];"                   \
    "color=navy:s=320x180:r=25:d=1.8[d];[a][b][c][d]concat=n=4,setsar=1,format=yuv420p\""

static void check_cuts(const char *name, const int64_t *expected, size_t n, int64_t tolerance)
{
    struct film film;
    struct scene_cuts cuts;
    const struct scene_options options = { 0 };
    assert_int_equal(film_probe(&film, fixture_path(name)), ERR_OK);
    assert_int_equal(scenes_detect(&cuts, &film, &options), ERR_OK);
    for (size_t i = 0; i < cuts.count && i < n; i++)
        if (llabs(cuts.ms[i] - expected[i]) > tolerance)
            fail_msg("%s: cut %zu is at %lld ms, not %lld", name, i, (long long) cuts.ms[i],
                     (long long) expected[i]);
    assert_int_equal(cuts.count, n);
    for (size_t i = 0; i < n; i++)
        assert_true(cuts.scores[i] >= SCENES_DEFAULT_THRESHOLD && cuts.scores[i] <= 100);
    scene_cuts_release(&cuts);
    film_release(&film);
}

static const int64_t made[] = { 2200, 3200, 6200 };

static void cuts_where_they_were_made(void **state)
{
    (void) state;
    fixture_run(FFMPEG FOUR_SCENES " -preset veryfast four.mp4 && " FFMPEG
                                   "-i four.mp4 -c copy four.ts && " FFMPEG
                                   "-i four.mp4 -c copy -output_ts_offset 30 four.mkv");
    check_cuts("four.mp4", made, 3, 0);
    check_cuts("four.ts", made, 3, 1);
    check_cuts("four.mkv", made, 3, 1);
}

static void steady_pictures_have_none(void **state)
{
    (void) state;
    fixture_run(FFMPEG "-f lavfi -i testsrc2=s=160x90:r=25:d=4 still.mp4");
    check_cuts("still.mp4", NULL, 0, 0);
}

static void a_higher_threshold_finds_less(void **state)
{
    (void) state;
    struct film film;
    struct scene_cuts cuts;
    const struct scene_options options = { .threshold = 99 };
    assert_int_equal(film_probe(&film, fixture_path("four.mp4")), ERR_OK);
    assert_int_equal(scenes_detect(&cuts, &film, &options), ERR_OK);
    assert_int_equal(cuts.count, 0);
    scene_cuts_release(&cuts);
    film_release(&film);
}

static void damage_is_no_cut(void **state)
{
    (void) state;
    fixture_run(FFMPEG "-f lavfi -i \"testsrc2=s=320x180:r=25:d=8\" -g 25 -b:v 800k hurt.mp4");
    FILE *f = fopen(fixture_path("hurt.mp4"), "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    fseek(f, ftell(f) / 2, SEEK_SET);
    for (int i = 0; i < 8000; i++)
        fputc(i * 31 & 0xff, f);
    fclose(f);
    struct film film;
    struct scene_cuts cuts;
    const struct scene_options options = { 0 };
    assert_int_equal(film_probe(&film, fixture_path("hurt.mp4")), ERR_OK);
    assert_int_equal(scenes_detect(&cuts, &film, &options), ERR_OK);
    assert_true(cuts.damaged > 0);
    assert_true(cuts.count <= 1);
    scene_cuts_release(&cuts);
    film_release(&film);
}

struct watched {
    int64_t last, total;
    int calls, stop_after;
};

static void watch(void *user, int64_t done_ms, int64_t total_ms)
{
    struct watched *w = user;
    assert_true(done_ms >= w->last && done_ms <= total_ms);
    w->last = done_ms;
    w->total = total_ms;
    w->calls++;
}

static bool stop(void *user)
{
    const struct watched *w = user;
    return w->stop_after && w->calls >= w->stop_after;
}

static void watched_and_stopped(void **state)
{
    (void) state;
    struct watched w = { 0 };
    const struct media_hooks hooks = { .cancelled = stop, .progress = watch, .user = &w };
    const struct scene_options options = { .hooks = &hooks };
    struct film film;
    struct scene_cuts cuts;
    assert_int_equal(film_probe(&film, fixture_path("four.mp4")), ERR_OK);
    assert_int_equal(scenes_detect(&cuts, &film, &options), ERR_OK);
    assert_int_equal(w.last, film.duration_ms);
    assert_true(w.calls >= 10);
    scene_cuts_release(&cuts);
    w = (struct watched){ .stop_after = 3 };
    assert_int_equal(scenes_detect(&cuts, &film, &options), ERR_STOP);
    assert_null(cuts.ms);
    assert_int_equal(w.calls, 3);
    film_release(&film);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_where_they_were_made),
        cmocka_unit_test(steady_pictures_have_none),
        cmocka_unit_test(a_higher_threshold_finds_less),
        cmocka_unit_test(damage_is_no_cut),
        cmocka_unit_test(watched_and_stopped),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
