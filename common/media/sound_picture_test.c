// Tests of sound_picture and picture_file: tones where they belong, levels as the formulas
// say, and pictures that a decoder reads back.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libavcodec/avcodec.h>

#include "common/media/picture_file.h"
#include "common/media/sound_picture.h"
#include "common/media/track_writer.h"

#define RATE DELIVERY_SAMPLE_RATE
#define BANDS 96

// Silence, then a tone, in equal halves.
struct late_tone {
    struct pcm_source source; // first: cast back from it
    uint64_t at;
    double hz, amplitude;
};

static enum err late_read(struct pcm_source *self, float *out, size_t capacity, size_t *got)
{
    struct late_tone *t = (struct late_tone *) self;
    for (*got = 0; *got < capacity && t->at < self->samples; t->at++)
        out[(*got)++] =
            t->at < self->samples / 2
                ? 0
                : (float) (t->amplitude * sin(2 * M_PI * t->hz * (double) t->at / RATE));
    return ERR_OK;
}

static enum err late_rewind(struct pcm_source *self)
{
    ((struct late_tone *) self)->at = 0;
    return ERR_OK;
}

static struct sound_picture take(double hz, double amplitude, uint64_t samples,
                                 uint32_t columns, const uint64_t *parts, uint32_t part_count)
{
    struct late_tone t = { { late_read, late_rewind, samples, RATE }, 0, hz, amplitude };
    struct music_stream *m;
    struct sound_picture p;
    assert_int_equal(music_stream_create(&m, &t.source, samples, NULL), ERR_OK);
    assert_int_equal(music_stream_start(m, &(struct music_level){ 0 }, "test"), ERR_OK);
    assert_int_equal(
        sound_picture_take(&p, m,
                           &(struct sound_picture_options){ .columns = columns,
                                                            .bands = BANDS,
                                                            .parts = parts,
                                                            .part_count = part_count }),
        ERR_OK);
    music_stream_destroy(&m);
    return p;
}

// The row whose triangle has its centre nearest to hz.
static uint32_t row_of(double hz)
{
    const double low = 2595 * log10(1 + 40 / 700.0), high = 2595 * log10(1 + 16000 / 700.0);
    const double band = (2595 * log10(1 + hz / 700) - low) / (high - low) * (BANDS + 1) - 1;
    return BANDS - 1 - (uint32_t) lrint(band);
}

static void the_outline_of_a_late_tone(void **state)
{
    (void) state;
    const struct {
        uint64_t samples;
        uint32_t columns;
    } sizes[] = {
        { 10 * RATE, 200 },
        { 7 * RATE + 1234, 333 },
        { RATE / 2, 1200 },
        { 4800, 4800 },
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct sound_picture p = take(997, 0.5, sizes[i].samples, sizes[i].columns, NULL, 0);
        assert_int_equal(p.columns, sizes[i].columns);
        const bool wide = sizes[i].samples / sizes[i].columns >= 200; // four periods and more
        for (uint32_t c = 0; c < p.columns; c++) {
            const bool sounds = c > p.columns / 2 + 2;
            if (c + 2 < p.columns / 2)
                assert_true(p.peak[c] < 0.01f);
            if (sounds && wide) {
                assert_true(fabsf(p.peak[c] - 0.5f) < 0.02f);
                assert_true(fabsf(p.rms[c] - 0.5f * (float) M_SQRT1_2) < 0.03f);
            }
            assert_true(p.rms[c] <= p.peak[c] + 1e-6f);
        }
        sound_picture_release(&p);
    }
}

static void a_tone_is_bright_in_its_own_row(void **state)
{
    (void) state;
    const double tones[] = { 80, 440, 1000, 5000, 14000 };
    for (size_t i = 0; i < sizeof(tones) / sizeof(tones[0]); i++) {
        struct sound_picture p = take(tones[i], 0.25, 6 * RATE, 120, NULL, 0);
        for (uint32_t c = 65; c < 115; c++) {
            uint32_t best = 0;
            for (uint32_t b = 0; b < BANDS; b++)
                if (p.shade[b * p.columns + c] > p.shade[best * p.columns + c])
                    best = b;
            assert_true(abs((int) best - (int) row_of(tones[i])) <= 1);
            assert_true(p.shade[best * p.columns + c] > 245);
            // Far away there is nothing: 40 dB or more below.
            const uint32_t far = (best + BANDS / 2) % BANDS;
            assert_true(p.shade[far * p.columns + c] < 128);
        }
        for (uint32_t c = 0; c < 55; c++)
            for (uint32_t b = 0; b < BANDS; b++)
                assert_int_equal(p.shade[b * p.columns + c], 0);
        sound_picture_release(&p);
    }
}

// Each half as loud as it is alone, whatever lies beside it.
static void parts_have_their_own_loudness(void **state)
{
    (void) state;
    const uint64_t bounds[] = { 0, 4 * RATE, 5 * RATE, 5 * RATE, 8 * RATE };
    struct sound_picture p = take(997, 0.5, 8 * RATE, 100, bounds, 4);
    const double expected = 20 * log10(0.5); // on both channels, BS.1770
    assert_true(isinf(p.parts[0].integrated_lufs));
    assert_true(fabs(p.parts[1].integrated_lufs - expected) < 0.1);
    assert_int_equal(p.parts[1].samples, RATE);
    assert_int_equal(p.parts[2].samples, 0);
    assert_true(fabs(p.parts[3].integrated_lufs - expected) < 0.1);
    assert_int_equal(p.parts[3].samples, 3 * RATE);
    sound_picture_release(&p);
}

static void silence_is_black(void **state)
{
    (void) state;
    struct sound_picture p = take(440, 0, RATE, 50, NULL, 0);
    for (uint32_t i = 0; i < p.columns * p.bands; i++)
        assert_int_equal(p.shade[i], 0);
    sound_picture_release(&p);
    struct late_tone t = { { late_read, late_rewind, 100, RATE }, 0, 440, 1 };
    struct music_stream *m;
    assert_int_equal(music_stream_create(&m, &t.source, 100, NULL), ERR_OK);
    assert_int_equal(music_stream_start(m, &(struct music_level){ 0 }, "test"), ERR_OK);
    assert_int_equal(sound_picture_take(
                         &p, m, &(struct sound_picture_options){ .columns = 1000, .bands = 4 }),
                     ERR_OK);
    assert_int_equal(p.columns, 100); // no more than there are samples
    sound_picture_release(&p);
    music_stream_destroy(&m);
}

static AVFrame *decode(enum AVCodecID id, const struct media_bytes *bytes)
{
    AVCodecContext *c = avcodec_alloc_context3(avcodec_find_decoder(id));
    AVPacket *packet = av_packet_alloc();
    AVFrame *f = av_frame_alloc();
    assert_int_equal(av_new_packet(packet, (int) bytes->count), 0);
    memcpy(packet->data, bytes->data, bytes->count);
    assert_int_equal(avcodec_open2(c, NULL, NULL), 0);
    assert_int_equal(avcodec_send_packet(c, packet), 0);
    assert_int_equal(avcodec_send_packet(c, NULL), 0);
    assert_int_equal(avcodec_receive_frame(c, f), 0);
    av_packet_free(&packet);
    avcodec_free_context(&c);
    return f;
}

static void a_png_is_what_was_put_in(void **state)
{
    (void) state;
    enum { WIDTH = 37, HEIGHT = 11 };
    uint8_t index[WIDTH * HEIGHT];
    uint32_t palette[256];
    for (uint32_t i = 0; i < 256; i++)
        palette[i] = 0xff000000u | i << 16 | (255 - i) << 8 | (i * 7 & 255);
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        index[i] = (uint8_t) (i * 31);
    struct media_bytes png;
    assert_int_equal(picture_png(&png, index, palette, WIDTH, HEIGHT), ERR_OK);
    AVFrame *f = decode(AV_CODEC_ID_PNG, &png);
    assert_int_equal(f->format, AV_PIX_FMT_PAL8);
    assert_int_equal(f->width, WIDTH);
    assert_int_equal(f->height, HEIGHT);
    for (int y = 0; y < HEIGHT; y++)
        assert_memory_equal(f->data[0] + (ptrdiff_t) y * f->linesize[0],
                            index + (ptrdiff_t) y * WIDTH, WIDTH);
    assert_memory_equal(f->data[1], palette, sizeof(palette));
    av_frame_free(&f);
    media_bytes_release(&png);
}

// Left half dark, right half bright, at the size asked for.
static void a_jpeg_looks_like_what_was_put_in(void **state)
{
    (void) state;
    const struct {
        uint32_t width, height, side, w, h;
    } sizes[] = {
        { 640, 360, 256, 256, 144 },
        { 360, 640, 256, 144, 256 },
        { 100, 40, 256, 100, 40 },
        { 4000, 2, 200, 200, 1 },
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const uint32_t width = sizes[i].width, height = sizes[i].height;
        uint8_t *rgb = malloc((size_t) width * height * 3);
        for (uint32_t y = 0; y < height; y++)
            for (uint32_t x = 0; x < width; x++)
                memset(rgb + ((size_t) y * width + x) * 3, x < width / 2 ? 32 : 224, 3);
        struct media_bytes jpeg;
        assert_int_equal(picture_jpeg(&jpeg, rgb, width, height, sizes[i].side), ERR_OK);
        AVFrame *f = decode(AV_CODEC_ID_MJPEG, &jpeg);
        assert_int_equal(f->width, sizes[i].w);
        assert_int_equal(f->height, sizes[i].h);
        assert_true(abs(f->data[0][f->width / 4] - 32) < 12); // full range, as JPEG has it
        assert_true(abs(f->data[0][f->width * 3 / 4] - 224) < 12);
        av_frame_free(&f);
        media_bytes_release(&jpeg);
        free(rgb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_outline_of_a_late_tone),
        cmocka_unit_test(a_tone_is_bright_in_its_own_row),
        cmocka_unit_test(parts_have_their_own_loudness),
        cmocka_unit_test(silence_is_black),
        cmocka_unit_test(a_png_is_what_was_put_in),
        cmocka_unit_test(a_jpeg_looks_like_what_was_put_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
