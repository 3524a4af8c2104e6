// music_stream: a film's music as it will be delivered: 48 kHz, exactly as long
// as the picture, under a gain and perhaps a limiter. Mono: both channels of the
// delivery carry it.
//
// Can be started again and again with other settings. One thread per stream.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/media_hooks.h"
#include "common/media/pcm_source.h"

struct music_stream;

struct music_level {
    double gain_db;
    bool limited;
    double ceiling_dbtp; // of the limiter
};

// `source` and `hooks` must outlive the stream; `samples` is its length at
// DELIVERY_SAMPLE_RATE. ERR_BUG when the source is longer or shorter by more than 100 ms;
// logs. On failure *out is NULL.
ERR_CHECKED enum err music_stream_create(struct music_stream **out, struct pcm_source *source,
                                         uint64_t samples, const struct media_hooks *hooks);
void music_stream_destroy(struct music_stream **m);

// From the first sample on, at this level. Must come before the first read. `what` is told
// the hooks: a piece of work begins.
ERR_CHECKED enum err music_stream_start(struct music_stream *m, const struct music_level *level,
                                        const char *what);

// Up to `capacity` samples, which the hooks count as progress; *got is 0 only after the last of exactly `samples`.
ERR_CHECKED enum err music_stream_read(struct music_stream *m, float *out, size_t capacity,
                                       size_t *got);

uint64_t music_stream_samples(const struct music_stream *m);

// The most the limiter took off since the start, in dB, >= 0.
double music_stream_reduction_db(const struct music_stream *m);
