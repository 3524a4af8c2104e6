// Tests of preprocess against Pillow's own output, and of the whole chain from a
// clip to what the published sampler fed its model.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/media/film.h"
#include "common/media/frames.h"
#include "common/media/preprocess.h"

#define GOLDEN "tests/golden/preprocess/"
#define SIDE 336
#define FRAMES 4

// A uint8 tensor of a safetensors file: 8 bytes of header length, JSON, data.
struct bytes_tensor {
    const uint8_t *data;
    size_t shape[4];
};

static struct file_map golden;
static json_t *header;

static int open_golden(void **state)
{
    (void) state;
    if (file_map(&golden, GOLDEN "preprocess_syn.safetensors"))
        return -1;
    header =
        json_loadb((const char *) golden.data + 8, (size_t) read_le64(golden.data), 0, NULL);
    return header ? 0 : -1;
}

static int close_golden(void **state)
{
    (void) state;
    json_decref(header);
    file_unmap(&golden);
    return 0;
}

static struct bytes_tensor tensor(const char *clip, const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "%s.%s", clip, name);
    const json_t *t = json_object_get(header, key);
    assert_non_null(t);
    assert_string_equal(json_string_value(json_object_get(t, "dtype")), "U8");
    const json_t *shape = json_object_get(t, "shape");
    const json_t *offsets = json_object_get(t, "data_offsets");
    struct bytes_tensor out = { golden.data + 8 + read_le64(golden.data) +
                                    json_integer_value(json_array_get(offsets, 0)),
                                { 0 } };
    for (size_t i = 0; i < json_array_size(shape); i++)
        out.shape[i] = (size_t) json_integer_value(json_array_get(shape, i));
    return out;
}

// Largest difference of our [side, side, 3] from the golden [3, side, side].
static int difference(const uint8_t *ours, const uint8_t *theirs)
{
    int worst = 0;
    for (size_t c = 0; c < 3; c++)
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            const int d = abs((int) ours[i * 3 + c] - (int) theirs[c * SIDE * SIDE + i]);
            worst = d > worst ? d : worst;
        }
    return worst;
}

static const char *const clips[] = { "syn_wide", "syn_portrait", "syn_square_slow" };
#define CLIPS (sizeof(clips) / sizeof(clips[0]))

static void resizes_as_pillow_does(void **state)
{
    (void) state;
    static uint8_t ours[SIDE * SIDE * 3];
    for (size_t i = 0; i < CLIPS; i++) {
        const struct bytes_tensor raw = tensor(clips[i], "raw0");
        assert_int_equal(preprocess_rgb(ours, SIDE, raw.data, (uint32_t) raw.shape[1],
                                        (uint32_t) raw.shape[0]),
                         ERR_OK);
        assert_int_equal(difference(ours, tensor(clips[i], "resized0").data), 0);
    }
}

// The published sampler's frames, from the file to the model's input.
static void check_clip(const char *clip, double rate, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), GOLDEN "%s.mp4", clip);
    struct film film;
    struct frame_reader *r;
    struct frame f;
    assert_int_equal(film_probe(&film, path), ERR_OK);
    const struct frame_options options = { .rate = rate, .picking = FRAMES_STEPPED };
    assert_int_equal(frame_reader_open(&r, &film, &options), ERR_OK);
    assert_int_equal(frame_reader_window(r, 0, film.duration_ms), ERR_OK);
    static uint8_t ours[SIDE * SIDE * 3];
    const struct bytes_tensor expected = tensor(clip, name);
    for (size_t i = 0; i < FRAMES; i++) {
        assert_int_equal(frame_reader_next(r, &f), ERR_OK);
        assert_non_null(f.rgb);
        assert_int_equal(preprocess_rgb(ours, SIDE, f.rgb, f.width, f.height), ERR_OK);
        assert_true(difference(ours, expected.data + i * SIDE * SIDE * 3) <= 1);
    }
    frame_reader_close(&r);
    film_release(&film);
}

static void chain_from_clip_to_model(void **state)
{
    (void) state;
    for (size_t i = 0; i < CLIPS; i++) {
        check_clip(clips[i], 1, "fps1");
        check_clip(clips[i], 2, "fps2");
    }
}

// "frames_whole_video" of the manifest.
static void stepping_ends_where_the_film_does(void **state)
{
    (void) state;
    static const struct {
        const char *path;
        double rate;
        int frames;
    } cases[] = {
        { GOLDEN "syn_portrait.mp4", 1, 6 },
        { GOLDEN "syn_portrait.mp4", 2, 12 },
        { GOLDEN "syn_square_slow.mp4", 2, 11 },
        { GOLDEN "syn_wide.mp4", 1, 6 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct film film;
        struct frame_reader *r;
        struct frame f;
        int n = 0;
        assert_int_equal(film_probe(&film, cases[i].path), ERR_OK);
        const struct frame_options options = { .rate = cases[i].rate,
                                               .picking = FRAMES_STEPPED };
        assert_int_equal(frame_reader_open(&r, &film, &options), ERR_OK);
        assert_int_equal(frame_reader_window(r, 0, 60000), ERR_OK);
        for (f.rgb = golden.data; f.rgb; n += f.rgb != NULL)
            assert_int_equal(frame_reader_next(r, &f), ERR_OK);
        assert_int_equal(n, cases[i].frames);
        frame_reader_close(&r);
        film_release(&film);
    }
}

static void awkward_sizes(void **state)
{
    (void) state;
    static uint8_t rgb[97 * 97 * 3], out[64 * 64 * 3];
    memset(rgb, 77, sizeof(rgb));
    static const uint32_t sizes[][3] = { { 1, 1, 64 },   { 1, 97, 7 },   { 97, 1, 7 },
                                         { 97, 96, 64 }, { 64, 64, 64 }, { 3, 2, 1 },
                                         { 97, 31, 1 } };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint32_t side = sizes[i][2];
        memset(out, 0, sizeof(out));
        assert_int_equal(preprocess_rgb(out, side, rgb, sizes[i][0], sizes[i][1]), ERR_OK);
        for (uint32_t k = 0; k < side * side * 3; k++)
            assert_int_equal(out[k], 77); // an even picture stays even
    }
    assert_int_equal(preprocess_rgb(out, 8, rgb, 0, 5), ERR_INPUT);
    assert_int_equal(preprocess_rgb(out, 0, rgb, 5, 5), ERR_INPUT);
    assert_int_equal(preprocess_rgb(out, 8, rgb, 1, 30000), ERR_INPUT);
}

// 5 spare pixels are 2 and 3: the even one before. 7 are 4 and 3.
static void crops_at_the_even_one(void **state)
{
    (void) state;
    uint8_t rgb[11 * 4 * 3], out[4 * 4 * 3];
    for (size_t x = 0; x < sizeof(rgb); x++)
        rgb[x] = (uint8_t) (x / 3 % 9);
    assert_int_equal(preprocess_rgb(out, 4, rgb, 9, 4), ERR_OK);
    assert_int_equal(out[0], 2);
    for (size_t x = 0; x < sizeof(rgb); x++)
        rgb[x] = (uint8_t) (x / 3 % 11);
    assert_int_equal(preprocess_rgb(out, 4, rgb, 11, 4), ERR_OK);
    assert_int_equal(out[0], 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizes_as_pillow_does),
        cmocka_unit_test(chain_from_clip_to_model),
        cmocka_unit_test(stepping_ends_where_the_film_does),
        cmocka_unit_test(awkward_sizes),
        cmocka_unit_test(crops_at_the_even_one),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
