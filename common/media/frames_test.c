// Tests of frames: which picture is given for which time, on films whose
// pictures show their own number.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/media/film.h"
#include "common/media/film_fixture.h"
#include "common/media/frames.h"
#include "common/timeline/frame_grid.h"

static void open_film(struct film *film, struct frame_reader **r, const char *name, double rate)
{
    assert_int_equal(film_probe(film, fixture_path(name)), ERR_OK);
    const struct frame_options options = { .rate = rate };
    assert_int_equal(frame_reader_open(r, film, &options), ERR_OK);
}

static void close_film(struct film *film, struct frame_reader **r)
{
    frame_reader_close(r);
    assert_null(*r);
    film_release(film);
}

static int number_of(const struct frame *f)
{
    return fixture_number(f->rgb, f->width, f->height);
}

// The number of the picture shown at each time of the grid.
typedef int shown_at(double t);

static void check_window(struct frame_reader *r, double rate, int64_t start_ms, int64_t end_ms,
                         shown_at *expected)
{
    struct frame f;
    uint64_t n = 0;
    assert_int_equal(frame_reader_window(r, start_ms, end_ms), ERR_OK);
    for (;; n++) {
        assert_int_equal(frame_reader_next(r, &f), ERR_OK);
        if (!f.rgb)
            break;
        if (number_of(&f) != expected(f.time_s))
            fail_msg("at %.4f s: picture %d, not %d", f.time_s, number_of(&f),
                     expected(f.time_s));
        assert_true(f.shown_s <= f.time_s + 1e-4);
        if (f.index >= 0)
            assert_true(fabs(f.time_s - (double) f.index / rate) < 1e-9);
    }
    assert_int_equal(n, frame_count(rate, start_ms, end_ms));
}

// The whole film, then windows of it in no order.
static void check_film(const char *name, double rate, int64_t duration_ms, shown_at *expected)
{
    struct film film;
    struct frame_reader *r;
    open_film(&film, &r, name, rate);
    if (llabs(film.duration_ms - duration_ms) > 1)
        fail_msg("%s: %lld ms, not %lld", name, (long long) film.duration_ms,
                 (long long) duration_ms);
    check_window(r, rate, 0, film.duration_ms, expected);
    static const int64_t at[][2] = { { 3000, 4000 }, { 0, 1500 },    { 5100, 5200 },
                                     { 2500, 5000 }, { 2501, 2502 }, { 1040, 1042 } };
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        check_window(r, rate, at[i][0], at[i][1], expected);
    assert_int_equal(frame_reader_damaged(r), 0);
    close_film(&film, &r);
}

static int at_25(double t)
{
    return (int) floor(t * 25 + 1e-6);
}
static int at_23_976(double t)
{
    return (int) floor(t * 24000 / 1001 + 1e-6);
}
static int at_29_97(double t)
{
    return (int) floor(t * 30000 / 1001 + 1e-6);
}

// Matroska rounds time stamps to milliseconds.
static int at_29_97_ms(double t)
{
    int n = at_29_97(t) + 1;
    while (llrint(n * 1001 / 30.0) > llrint(floor(t * 1000 + 1e-6)))
        n--;
    return n;
}

static void constant_rates(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -g 48 c25.mp4", fixture_counting("25", 6));
    check_film("c25.mp4", 1, 6000, at_25);
    check_film("c25.mp4", 2.5, 6000, at_25);
    fixture_run(FFMPEG "%s -g 60 c23.mp4", fixture_counting("24000/1001", 6.006));
    check_film("c23.mp4", 1, 6006, at_23_976);
    check_film("c23.mp4", 23.976, 6006, at_23_976);
    fixture_run(FFMPEG "%s -g 30 -x264-params open-gop=1:bframes=3 c29.mkv",
                fixture_counting("30000/1001", 6.006));
    check_film("c29.mkv", 1, 6006, at_29_97_ms);
    check_film("c29.mkv", 7, 6006, at_29_97_ms);
}

static void other_codecs(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -c:v prores_ks intra.mov", fixture_counting("25", 6));
    check_film("intra.mov", 2, 6000, at_25);
    fixture_run(FFMPEG "%s -c:v mpeg2video -bf 2 -q:v 2 -g 15 two.mpg",
                fixture_counting("25", 6));
    check_film("two.mpg", 2, 6000, at_25);
    fixture_run(FFMPEG "%s -c:v mpeg4 -bf 2 -q:v 2 four.avi", fixture_counting("25", 6));
    check_film("four.avi", 2, 6000, at_25);
    fixture_run(FFMPEG "%s -c:v libx265 -x265-params log-level=none:keyint=40 h265.mp4",
                fixture_counting("25", 6));
    check_film("h265.mp4", 2, 6000, at_25);
    fixture_run(FFMPEG "%s -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 40 nine.webm",
                fixture_counting("25", 6));
    check_film("nine.webm", 2, 6000, at_25);
}

static void refreshed_gradually(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -x264-params intra-refresh=1:keyint=40:bframes=0 refresh.mp4",
                fixture_counting("25", 6));
    check_film("refresh.mp4", 1, 6000, at_25);
}

// 50 pictures at 25, 20 at 10, 60 at 30 a second.
static int at_variable(double t)
{
    if (t < 2 - 1e-6)
        return (int) floor(t * 25 + 1e-6);
    if (t < 4 - 1e-6)
        return 50 + (int) floor((t - 2) * 10 + 1e-6);
    return 70 + (int) floor((t - 4) * 30 + 1e-3);
}

static void variable_rate(void **state)
{
    (void) state;
    fixture_run(
        FFMPEG
        "%s -vf \"settb=1/600,setpts='(if(lt(N,50),N/25,if(lt(N,70),2+(N-50)/10,4+(N-70)/30)))"
        "/TB'\" -fps_mode vfr -enc_time_base 1/600 -video_track_timescale 600 vfr.mp4",
        fixture_counting("25", 5.2));
    check_film("vfr.mp4", 1, 5968, at_variable);
    check_film("vfr.mp4", 12, 5968, at_variable);
}

static int at_25_from_32(double t)
{
    return 32 + at_25(t);
}

static void edit_list(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -g 25 long.mp4", fixture_counting("25", 8));
    fixture_run(FFMPEG "-ss 1.28 -i long.mp4 -c copy -t 6 cut.mp4");
    check_film("cut.mp4", 2, 6080, at_25_from_32);
    check_film("cut.mp4", 25, 6080, at_25_from_32);
}

static void nonzero_start(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -g 48 late.ts", fixture_counting("25", 6));
    check_film("late.ts", 2, 6000, at_25);
    fixture_run(FFMPEG "%s -g 48 -output_ts_offset 100 late.mkv", fixture_counting("25", 6));
    check_film("late.mkv", 2, 6000, at_25);
    // Sound first: an empty edit in MP4.
    fixture_run(
        FFMPEG
        "-f lavfi -i sine=d=7 -itsoffset 0.72 -i c25.mp4 -map 0 -map 1 -c:v copy sound.mp4");
    check_film("sound.mp4", 2, 6000, at_25);
}

static void one_reader_may_go_anywhere(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -g 100 -preset ultrafast minute.mkv", fixture_counting("25", 40));
    struct film film;
    struct frame_reader *r;
    open_film(&film, &r, "minute.mkv", 1);
    uint32_t seed = 12345;
    for (int i = 0; i < 12; i++) {
        seed = seed * 1664525 + 1013904223;
        const int64_t start = seed >> 8 & 0x7fff;
        check_window(r, 1, start, start + 1700, at_25);
    }
    close_film(&film, &r);
}

static void the_last_picture_holds(void **state)
{
    (void) state;
    struct film film;
    struct frame_reader *r;
    struct frame f;
    open_film(&film, &r, "c25.mp4", 1);
    assert_int_equal(frame_reader_window(r, 6000, 6001), ERR_OK);
    assert_int_equal(frame_reader_next(r, &f), ERR_OK);
    assert_int_equal(number_of(&f), 149);
    close_film(&film, &r);
}

static void counts_of_windows(void **state)
{
    (void) state;
    assert_int_equal(frame_count(1, 0, 1000), 1);
    assert_int_equal(frame_count(1, 0, 1001), 2);
    assert_int_equal(frame_count(1, 1, 999), 1); // none on the grid: the one at its start
    assert_int_equal(frame_count(2, 500, 1500), 2);
    assert_int_equal(frame_count(0.1, 0, 86400000), 8640);
    uint64_t n = 0; // neighbours share no frame and lose none
    for (int64_t t = 0; t < 60000; t += 1500)
        n += frame_count(3, t, t + 1500);
    assert_int_equal(n, frame_count(3, 0, 60000));
}

static struct frame first_frame(struct frame_reader *r)
{
    struct frame f;
    assert_int_equal(frame_reader_window(r, 0, 100), ERR_OK);
    assert_int_equal(frame_reader_next(r, &f), ERR_OK);
    assert_non_null(f.rgb);
    return f;
}

// Red left top, green right top, blue left bottom, white right bottom.
#define CORNERS                                                                   \
    "-f lavfi -i \"color=red:s=64x48:r=25:d=1[a];color=lime:s=64x48:r=25:d=1[b];" \
    "color=blue:s=64x48:r=25:d=1[c];color=white:s=64x48:r=25:d=1[d];"             \
    "[a][b]hstack[e];[c][d]hstack[f];[e][f]vstack,format=yuv420p\""

static char colour_at(const struct frame *f, double x, double y)
{
    const uint8_t *p =
        f->rgb + ((size_t) (y * f->height) * f->width + (size_t) (x * f->width)) * 3;
    const char *const names = "kbg?r??w"; // black, blue, green, red, white
    return names[(p[0] > 128) * 4 + (p[1] > 128) * 2 + (p[2] > 128)];
}

static void check_corners(const char *name, uint32_t w, uint32_t h, const char *expected)
{
    struct film film;
    struct frame_reader *r;
    open_film(&film, &r, name, 1);
    assert_int_equal(film.width, w);
    assert_int_equal(film.height, h);
    const struct frame f = first_frame(r);
    assert_int_equal(f.width, w);
    assert_int_equal(f.height, h);
    const char got[5] = { colour_at(&f, 0.25, 0.25), colour_at(&f, 0.75, 0.25),
                          colour_at(&f, 0.25, 0.75), colour_at(&f, 0.75, 0.75), 0 };
    assert_string_equal(got, expected);
    close_film(&film, &r);
}

static void rotations(void **state)
{
    (void) state;
    fixture_run(FFMPEG CORNERS " upright.mp4");
    check_corners("upright.mp4", 128, 96, "rgbw");
    // The tag counts against the clock.
    fixture_run(FFMPEG "-i upright.mp4 -c copy -metadata:s:v rotate=90 r90.mp4");
    check_corners("r90.mp4", 96, 128, "gwrb");
    fixture_run(FFMPEG "-i upright.mp4 -c copy -metadata:s:v rotate=180 r180.mp4");
    check_corners("r180.mp4", 128, 96, "wbgr");
    fixture_run(FFMPEG "-i upright.mp4 -c copy -metadata:s:v rotate=270 r270.mov");
    check_corners("r270.mov", 96, 128, "brwg");
    // As ffmpeg itself shows it: green first.
    fixture_run(FFMPEG "-i r90.mp4 -vframes 1 -f rawvideo -pix_fmt rgb24 r90.raw && "
                       "test \"$(od -An -tx1 -N3 r90.raw)\" = ' 00 fe 00'");
}

static void shapes(void **state)
{
    (void) state;
    fixture_run(FFMPEG CORNERS " -vf setsar=2 wide.mp4");
    check_corners("wide.mp4", 256, 96, "rgbw");
    fixture_run(FFMPEG CORNERS " -vf setsar=1/2 tall.mkv");
    check_corners("tall.mkv", 128, 192, "rgbw");
    fixture_run(FFMPEG CORNERS " -vf setsar=4/3 four3.mp4");
    fixture_run(FFMPEG "-i four3.mp4 -c copy -metadata:s:v rotate=90 both.mp4");
    check_corners("both.mp4", 96, 171, "gwrb");
    fixture_run(FFMPEG CORNERS " -vf crop=101:53:14:22:exact=1 -c:v ffv1 odd.mkv");
    check_corners("odd.mkv", 101, 53, "rgbw");
    fixture_run(FFMPEG CORNERS " -vf format=yuv444p,crop=1:1 -c:v ffv1 dot.mkv");
    struct film film;
    struct frame_reader *r;
    open_film(&film, &r, "dot.mkv", 1);
    assert_int_equal(first_frame(r).width, 1);
    close_film(&film, &r);
}

static void check_grey(const char *name, int low, int high, bool hdr)
{
    struct film film;
    struct frame_reader *r;
    open_film(&film, &r, name, 1);
    assert_int_equal(film.hdr, hdr);
    const struct frame f = first_frame(r);
    const uint8_t *p = f.rgb + ((size_t) f.height / 2 * f.width + f.width / 2) * 3;
    assert_in_range(p[0], low, high);
    assert_in_range(p[1], p[0] < 3 ? 0 : p[0] - 3, p[0] + 3);
    assert_in_range(p[2], p[0] < 3 ? 0 : p[0] - 3, p[0] + 3);
    close_film(&film, &r);
}

// PQ codes: 509/876 of the range is 203 cd/m2, the white of a film title;
// 0.44 of it about 50 cd/m2, a face.
#define GREY(code)                                                     \
    "-f lavfi -i \"color=black:s=64x64:r=25:d=0.4,format=yuv420p10le," \
    "geq=lum=" code ":cb=512:cr=512\" "

static void depth_and_range(void **state)
{
    (void) state;
    fixture_run(FFMPEG GREY("502") "-c:v libx264 ten.mkv");
    check_grey("ten.mkv", 124, 131, false);
    const char *pq = "-color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc";
    fixture_run(FFMPEG GREY("573") "%s -c:v libx265 -x265-params log-level=none white.mp4", pq);
    fixture_run(FFMPEG GREY("449") "%s -c:v libx265 -x265-params log-level=none face.mp4", pq);
    check_grey("white.mp4", 160, 250, true);
    check_grey("face.mp4", 90, 160, true);
    fixture_run(FFMPEG GREY(
        "721") "-color_primaries bt2020 -color_trc arib-std-b67 "
               "-colorspace bt2020nc -c:v libx265 -x265-params log-level=none hlg.mp4");
    check_grey("hlg.mp4", 150, 250, true);
}

// A bar that moves 16 pixels between the fields of one picture.
static void interlaced(void **state)
{
    (void) state;
    fixture_run(FFMPEG
                "-f lavfi -i \"color=black:s=128x64:r=50:d=2,geq=lum='if(lt(mod(X+N*16,128),64)"
                ",235,16)':cb=128:cr=128,tinterlace=interleave_top,fieldorder=tff\" "
                "-c:v mpeg2video -flags +ilme+ildct -q:v 1 -top 1 field.mpg");
    struct film film;
    struct frame_reader *r;
    struct frame f;
    open_film(&film, &r, "field.mpg", 5);
    assert_true(film.interlaced);
    assert_int_equal(frame_reader_window(r, 0, 1000), ERR_OK);
    int frames = 0;
    for (;; frames++) {
        assert_int_equal(frame_reader_next(r, &f), ERR_OK);
        if (!f.rgb)
            break;
        int combed = 0;
        for (uint32_t y = 8; y < 56; y++)
            for (uint32_t x = 0; x < f.width; x++)
                combed += fixture_is_white(f.rgb, f.width, x, y) !=
                          fixture_is_white(f.rgb, f.width, x, y + 1);
        assert_true(combed < 48); // woven fields have 16 pixels at each edge of every line
    }
    assert_int_equal(frames, 5);
    close_film(&film, &r);
}

// Spoil `bytes` from `percent` of the file on.
static void spoil(const char *name, double percent, int bytes)
{
    FILE *f = fopen(fixture_path(name), "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    fseek(f, (long) ((double) ftell(f) * percent / 100), SEEK_SET);
    for (int i = 0; i < bytes; i++)
        fputc(i * 7919 >> 3 & 0xff, f);
    fclose(f);
}

// Every frame comes, and outside of the damage they are right. Returns a sum
// over all that was seen.
static uint64_t check_damaged_once(const char *name, double from_s, double to_s)
{
    struct film film;
    struct frame_reader *r;
    struct frame f;
    open_film(&film, &r, name, 5);
    uint64_t n = 0, sum = 0;
    assert_int_equal(frame_reader_window(r, 0, 10000), ERR_OK);
    for (;; n++) {
        assert_int_equal(frame_reader_next(r, &f), ERR_OK);
        if (!f.rgb)
            break;
        if (f.time_s < from_s || f.time_s > to_s)
            assert_int_equal(number_of(&f), at_25(f.time_s));
        for (uint32_t i = 0; i < f.width * f.height * 3; i++)
            sum = mix64(sum, f.rgb[i]);
    }
    assert_int_equal(n, 50);
    assert_true(frame_reader_damaged(r) > 0);
    close_film(&film, &r);
    return sum;
}

// The same again and again, though FFmpeg's threads are not.
static void check_damaged(const char *name, double from_s, double to_s)
{
    const uint64_t sum = check_damaged_once(name, from_s, to_s);
    for (int i = 0; i < 3; i++)
        assert_true(check_damaged_once(name, from_s, to_s) == sum);
}

static void damage_in_the_middle(void **state)
{
    (void) state;
    const char *noisy = "-vf noise=alls=20:allf=t:all_seed=7 -b:v 400k -g 25";
    fixture_run(FFMPEG "%s %s hurt.mp4 && cp hurt.mp4 hurt2.mp4", fixture_counting("25", 10),
                noisy);
    spoil("hurt.mp4", 50, 15000);
    check_damaged("hurt.mp4", 3.5, 6.5);
    fixture_run(FFMPEG "-i hurt2.mp4 -c copy hurt.mkv");
    spoil("hurt.mkv", 50, 15000);
    check_damaged("hurt.mkv", 3.5, 6.5);
    fixture_run(FFMPEG "-i hurt2.mp4 -c copy hurt.ts");
    spoil("hurt.ts", 50, 15000);
    check_damaged("hurt.ts", 3.5, 6.5);
}

static bool stop_now(void *user)
{
    return ++*(int *) user > 5;
}

static void cancelled(void **state)
{
    (void) state;
    struct film film;
    struct frame_reader *r;
    struct frame f;
    int asked = 0;
    const struct media_hooks hooks = { .cancelled = stop_now, .user = &asked };
    assert_int_equal(film_probe(&film, fixture_path("c25.mp4")), ERR_OK);
    const struct frame_options options = { .rate = 25, .hooks = &hooks };
    assert_int_equal(frame_reader_open(&r, &film, &options), ERR_OK);
    assert_int_equal(frame_reader_window(r, 0, 6000), ERR_OK);
    enum err e = ERR_OK;
    for (int i = 0; i < 150 && !e; i++)
        e = frame_reader_next(r, &f);
    assert_int_equal(e, ERR_STOP);
    close_film(&film, &r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_rates),
        cmocka_unit_test(other_codecs),
        cmocka_unit_test(refreshed_gradually),
        cmocka_unit_test(variable_rate),
        cmocka_unit_test(edit_list),
        cmocka_unit_test(nonzero_start),
        cmocka_unit_test(one_reader_may_go_anywhere),
        cmocka_unit_test(the_last_picture_holds),
        cmocka_unit_test(counts_of_windows),
        cmocka_unit_test(rotations),
        cmocka_unit_test(shapes),
        cmocka_unit_test(depth_and_range),
        cmocka_unit_test(interlaced),
        cmocka_unit_test(damage_in_the_middle),
        cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
