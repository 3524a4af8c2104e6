// Tests of film: what is said of good films, and of files that are none.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/media/film.h"
#include "common/media/film_fixture.h"
#include "common/media/sha256.h"
#include "common/media/shortfall.h"

static void a_whole_film(void **state)
{
    (void) state;
    fixture_run("printf '1\\n00:00:00,500 --> 00:00:01,500\\nHello\\n' > text.srt && "
                "printf ';FFMETADATA1\\n[CHAPTER]\\nTIMEBASE=1/1000\\nSTART=0\\nEND=2000\\n"
                "title=One\\n' > meta.txt");
    fixture_run(FFMPEG
                "%s -f lavfi -i sine=d=6 -f lavfi -i sine=880:d=2 -i text.srt -i meta.txt "
                "-map 0 -map 1 -map 2 -map 3 -map_chapters 4 -vf setsar=4/3 "
                "-c:a aac -c:s mov_text whole.mp4",
                fixture_counting("24000/1001", 2.002));
    struct film film;
    assert_int_equal(film_probe(&film, fixture_path("whole.mp4")), ERR_OK);
    assert_int_equal(film.duration_ms, 2002); // the sound is longer; it does not count
    assert_int_equal(film_samples(&film, 48000), 96096);
    assert_true(fabs(film.frames_per_s - 24000 / 1001.0) < 1e-6);
    assert_int_equal(film.width, 213);
    assert_int_equal(film.height, 32);
    assert_int_equal(film.coded_width, 160);
    assert_int_equal(film.audio_tracks, 2);
    assert_int_equal(film.subtitle_tracks, 1);
    assert_int_equal(film.chapters, 1);
    assert_string_equal(film.picture_codec, "h264");
    assert_string_equal(film.audio_codec, "aac");
    assert_string_equal(film.pixel_format, "yuv420p");
    assert_non_null(strstr(film.container, "mp4"));
    assert_false(film.interlaced || film.hdr || film.mirrored);
    film_release(&film);
    assert_null(film.path);
}

static int64_t duration_of(const char *name)
{
    struct film film;
    assert_int_equal(film_probe(&film, fixture_path(name)), ERR_OK);
    const int64_t ms = film.duration_ms;
    film_release(&film);
    return ms;
}

static void durations(void **state)
{
    (void) state;
    // Much more sound than picture: the picture's end is found nevertheless.
    fixture_run(FFMPEG "-i whole.mp4 -f lavfi -i sine=d=200 -map 0:v -map 1 -c:v copy -c:a mp2 "
                       "long.mkv && " FFMPEG "-i long.mkv -map 0 -c copy long.ts");
    assert_in_range(duration_of("long.mkv"), 2001, 2003);
    assert_in_range(duration_of("long.ts"), 2001, 2003);
    // A live stream's header says nothing.
    fixture_run(FFMPEG
                "-i whole.mp4 -map 0:v -c copy -f matroska - | cat > live.mkv && " FFMPEG
                "-i whole.mp4 -map 0:v -c copy -movflags frag_keyframe+empty_moov frag.mp4");
    assert_in_range(duration_of("live.mkv"), 2001, 2003);
    assert_int_equal(duration_of("frag.mp4"), 2002);
    fixture_run(FFMPEG "%s -frames:v 1 one.mp4", fixture_counting("25", 1));
    assert_int_equal(duration_of("one.mp4"), 40);
    // A name that looks like a protocol, and one that looks like an option.
    fixture_run("cp whole.mp4 'http:x.mp4' && cp whole.mp4 -- '-i.mp4'");
    assert_int_equal(duration_of("http:x.mp4"), 2002);
    assert_int_equal(duration_of("-i.mp4"), 2002);
}

static void the_picture_is_chosen(void **state)
{
    (void) state;
    struct film film;
    fixture_run(FFMPEG "-f lavfi -i testsrc2=s=640x480 -vframes 1 cover.png && " FFMPEG
                       "-i cover.png -i whole.mp4 -map 0 -map 1:v -c copy -disposition:v:0 "
                       "attached_pic cover.mp4 && " FFMPEG
                       "-i whole.mp4 -map 0:v -c copy -attach cover.png -metadata:s:t "
                       "mimetype=image/png cover.mkv");
    assert_int_equal(film_probe(&film, fixture_path("cover.mp4")), ERR_OK);
    assert_int_equal(film.coded_width, 160);
    film_release(&film);
    assert_int_equal(film_probe(&film, fixture_path("cover.mkv")), ERR_OK);
    assert_int_equal(film.coded_width, 160);
    film_release(&film);
}

static void check_refused(const char *name, enum err expected)
{
    struct film film;
    const enum err e = film_probe(&film, fixture_path(name));
    if (e != expected)
        fail_msg("%s: %s, not %s", name, err_text(e), err_text(expected));
    assert_null(film.path);
}

static void files_that_are_no_films(void **state)
{
    (void) state;
    fixture_run(
        "mkdir folder && : > empty.mp4 && echo 'Once upon a time' > story.mp4 && "
        "head -c 300000 /dev/urandom > noise.mp4 && printf '#EXTM3U\\n#EXT-X-TARGETDURATION:9\\n"
        "#EXTINF:9,\\n/etc/passwd\\n' > list.m3u8 && printf 'ffconcat version 1.0\\nfile "
        "whole.mp4\\n' > list.mp4 && head -c 40 whole.mp4 > stub.mp4 && mkfifo pipe.mp4");
    check_refused("missing.mp4", ERR_MISSING);
    check_refused("folder", ERR_MISSING);
    check_refused("pipe.mp4", ERR_MISSING);
    check_refused("empty.mp4", ERR_INPUT);
    check_refused("story.mp4", ERR_INPUT);
    check_refused("noise.mp4", ERR_INPUT);
    check_refused("stub.mp4", ERR_INPUT);
    check_refused("list.m3u8", ERR_INPUT); // would open other files
    check_refused("list.mp4", ERR_INPUT);
    check_refused("cover.png", ERR_INPUT);
    fixture_run(FFMPEG
                "-f lavfi -i sine=d=1 -c:a aac sound.mp4 && " FFMPEG
                "-i sound.mp4 -c copy sound.mkv && " FFMPEG "-i sound.mp4 sound.wav && " FFMPEG
                "-i sound.mp4 -i cover.png -map 0 -map 1 -c copy -disposition:v attached_pic "
                "album.m4a && " FFMPEG "-f lavfi -i sine=d=1 sound.mp3");
    check_refused("sound.mp4", ERR_INPUT);
    check_refused("sound.mkv", ERR_INPUT);
    check_refused("sound.wav", ERR_INPUT);
    check_refused("sound.mp3", ERR_INPUT);
    check_refused("album.m4a", ERR_INPUT);
    // A header without a picture behind it.

    fixture_run(FFMPEG
                "-i frag.mp4 -c copy -movflags empty_moov+frag_keyframe whole2.mp4 && "
                "head -c $(grep -abo moof whole2.mp4 | head -1 | awk -F: '{print $1-4}') "
                "whole2.mp4 > nothing.mp4");
    check_refused("nothing.mp4", ERR_INPUT);
}

static void films_cut_short(void **state)
{
    (void) state;
    fixture_run(
        "ffmpeg -nostdin -v error -y -i whole.mp4 -map 0 -c copy -movflags +faststart f.mp4 && "
        "ffmpeg -nostdin -v error -y -i whole.mp4 -map 0:v -map 0:a -c copy w.mkv && "
        "ffmpeg -nostdin -v error -y -i whole.mp4 -map 0:v -map 0:a -c:v mpeg4 -c:a mp2 w.avi && "
        "for f in whole.mp4 f.mp4 w.mkv w.avi; do "
        "head -c $(($(stat -c %%s $f) * 6 / 10)) $f > short-$f; done");
    check_refused("short-whole.mp4", ERR_INPUT);
    check_refused("short-f.mp4", ERR_INPUT);
    check_refused("short-w.mkv", ERR_INPUT);
    check_refused("short-w.avi", ERR_INPUT);
    static const char *const whole[] = { "whole.mp4", "f.mp4",    "w.mkv",     "w.avi",
                                         "long.ts",   "live.mkv", "story.mp4", "missing.mp4" };
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        assert_int_equal(file_shortfall(fixture_path(whole[i])), 0);
    assert_true(file_shortfall(fixture_path("short-f.mp4")) > 0);
}

static void unreadable(void **state)
{
    (void) state;
    if (geteuid() == 0)
        skip(); // root reads everything
    fixture_run("cp whole.mp4 secret.mp4 && chmod 0 secret.mp4");
    check_refused("secret.mp4", ERR_MISSING);
}

// Every prefix and many spoilt copies: an error or a film, never a crash.
static void hostile_bytes(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s -f lavfi -i sine=d=1 -c:a aac small.mp4 && " FFMPEG
                       "-i small.mp4 -c copy small.mkv",
                fixture_counting("25", 0.4));
    static const char *const names[] = { "small.mp4", "small.mkv" };
    for (int k = 0; k < 2; k++) {
        FILE *f = fopen(fixture_path(names[k]), "rb");
        static uint8_t good[1 << 20], bad[1 << 20];
        const size_t n = fread(good, 1, sizeof(good), f);
        fclose(f);
        uint32_t seed = 99;
        for (int i = 0; i < 60; i++) {
            memcpy(bad, good, n);
            for (int b = 0; b < 12; b++) {
                seed = seed * 1664525 + 1013904223;
                // Half of the blows fall on the header or the index.
                const size_t at = b & 1   ? (seed >> 8) % n
                                  : b & 2 ? (seed >> 8) % 512
                                          : n - 1 - (seed >> 8) % 1024;
                bad[at] = (uint8_t) (seed >> 3);
            }
            f = fopen(fixture_path("spoilt"), "wb");
            fwrite(bad, 1, n, f);
            fclose(f);
            struct film film;
            if (film_probe(&film, fixture_path("spoilt")) == ERR_OK)
                film_release(&film);
        }
    }
}

static void hashes(void **state)
{
    (void) state;
    char text[SHA256_TEXT_BYTES];
    fixture_run("printf abc > abc && : > void");
    assert_int_equal(sha256_file(text, fixture_path("abc")), ERR_OK); // FIPS 180-4's example
    assert_string_equal(text,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(sha256_file(text, fixture_path("void")), ERR_OK);
    assert_string_equal(text,
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(sha256_file(text, fixture_path("missing")), ERR_MISSING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_film),          cmocka_unit_test(durations),
        cmocka_unit_test(the_picture_is_chosen), cmocka_unit_test(files_that_are_no_films),
        cmocka_unit_test(films_cut_short),       cmocka_unit_test(unreadable),
        cmocka_unit_test(hostile_bytes),         cmocka_unit_test(hashes),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
