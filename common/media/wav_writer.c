#include "common/media/wav_writer.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/track_writer.h"

#define CHANNELS 2
#define SAMPLE_BYTES 3
#define FRAME_BYTES 6 // both channels
#define STEP 4096

struct cursor {
    uint8_t *at;
};

static void put_text(struct cursor *c, const char *four)
{
    memcpy(c->at, four, 4);
    c->at += 4;
}

static void put_number(struct cursor *c, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        *c->at++ = (uint8_t) (v >> 8 * i);
}

static void put_format(struct cursor *c, uint32_t sample_rate)
{
    put_text(c, "fmt ");
    put_number(c, 16, 4);
    put_number(c, 1, 2); // PCM
    put_number(c, CHANNELS, 2);
    put_number(c, sample_rate, 4);
    put_number(c, (uint64_t) sample_rate * FRAME_BYTES, 4);
    put_number(c, FRAME_BYTES, 2);
    put_number(c, 24, 2); // bits
}

// The true sizes of an RF64 file, whose ordinary ones are all ones.
static void put_long_sizes(struct cursor *c, uint64_t riff, uint64_t data, uint64_t samples)
{
    put_text(c, "ds64");
    put_number(c, 28, 4);
    put_number(c, riff, 8);
    put_number(c, data, 8);
    put_number(c, samples, 8);
    put_number(c, 0, 4); // no table of other chunks
}

size_t wav_header(uint8_t out[WAV_MAX_HEADER], uint64_t samples, uint32_t sample_rate)
{
    struct cursor c = { out };
    const uint64_t data = samples * FRAME_BYTES; // even: needs no padding
    const uint64_t plain_riff = 4 + (8 + 16) + 8 + data;
    const bool is_long = plain_riff > UINT32_MAX - 1;
    put_text(&c, is_long ? "RF64" : "RIFF");
    put_number(&c, is_long ? UINT32_MAX : plain_riff, 4);
    put_text(&c, "WAVE");
    if (is_long)
        put_long_sizes(&c, plain_riff + 8 + 28, data, samples);
    put_format(&c, sample_rate);
    put_text(&c, "data");
    put_number(&c, is_long ? UINT32_MAX : data, 4);
    return (size_t) (c.at - out);
}

// mono[] becomes what 24 bits hold of it, and bytes of both channels.
static void pack(uint8_t *out, float *mono, size_t n)
{
    struct cursor c = { out };
    for (size_t i = 0; i < n; i++) {
        const float v = rintf(mono[i] * 0x1p23f);
        const float fits = v < -0x1p23f ? -0x1p23f : v > 0x1p23f - 1 ? 0x1p23f - 1 : v;
        mono[i] = fits / 0x1p23f;
        for (int channel = 0; channel < CHANNELS; channel++)
            put_number(&c, (uint32_t) (int32_t) fits, SAMPLE_BYTES);
    }
}

static enum err write_samples(FILE *f, struct music_stream *music, struct loudness_meter *meter)
{
    float mono[STEP];
    uint8_t bytes[STEP * FRAME_BYTES];
    size_t n = 1;
    for (;;) {
        enum err e = music_stream_read(music, mono, STEP, &n);
        if (e || n == 0)
            return e;
        pack(bytes, mono, n);
        e = loudness_meter_add(meter, mono, n);
        if (e)
            return e;
        if (fwrite(bytes, FRAME_BYTES, n, f) != n)
            return ERR_OK; // out_file_commit() sees the stream's error and says which
    }
}

static enum err write_all(FILE *f, struct music_stream *music, const struct music_level *level,
                          struct loudness *written)
{
    struct loudness_meter *meter;
    uint8_t header[WAV_MAX_HEADER];
    enum err e = loudness_meter_create(&meter, DELIVERY_SAMPLE_RATE, 1, true);
    if (e)
        return e;
    const size_t bytes = wav_header(header, music_stream_samples(music), DELIVERY_SAMPLE_RATE);
    fwrite(header, 1, bytes, f);
    e = music_stream_start(music, level, "delivering");
    if (!e)
        e = write_samples(f, music, meter);
    if (!e)
        e = loudness_meter_read(meter, written);
    loudness_meter_destroy(&meter);
    return e;
}

enum err wav_write(const char *path, struct music_stream *music,
                   const struct music_level *level, struct loudness *written)
{
    struct out_file out;
    enum err e = out_file_open(&out, path);
    if (e)
        return e;
    e = write_all(out.stream, music, level, written);
    if (!e)
        return out_file_commit(&out);
    out_file_discard(&out);
    return e;
}
