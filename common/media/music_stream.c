#include "common/media/music_stream.h"

#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/limiter.h"
#include "common/media/track_writer.h"

#define STEP 4096 // samples asked of the source at a time
#define MAX_MISMATCH_S 0.1

struct music_stream {
    struct pcm_source *source;
    const struct media_hooks *hooks;
    uint64_t samples;
    struct SwrContext *swr;
    struct limiter *limiter;
    float gain;
    uint64_t resampled; // samples out of the resampler and its padding
    uint64_t given;     // samples read from us
    bool source_ended;
    float in[STEP];
};

static bool lengths_match(const struct pcm_source *source, uint64_t samples)
{
    const double music_s = (double) source->samples / source->sample_rate;
    const double film_s = (double) samples / DELIVERY_SAMPLE_RATE;
    if (fabs(music_s - film_s) <= MAX_MISMATCH_S)
        return true;
    log_error("the music is %.3f s long and the film %.3f s", music_s, film_s);
    return false;
}

enum err music_stream_create(struct music_stream **out, struct pcm_source *source,
                             uint64_t samples, const struct media_hooks *hooks)
{
    *out = NULL;
    if (source->sample_rate == 0 || !lengths_match(source, samples))
        return ERR_BUG;
    struct music_stream *m = calloc(1, sizeof(*m));
    if (!m) {
        log_error("no memory for the music");
        return ERR_NOMEM;
    }
    m->source = source;
    m->hooks = hooks;
    m->samples = samples;
    *out = m;
    return ERR_OK;
}

void music_stream_destroy(struct music_stream **m)
{
    if (!*m)
        return;
    swr_free(&(*m)->swr);
    limiter_destroy(&(*m)->limiter);
    free(*m);
    *m = NULL;
}

uint64_t music_stream_samples(const struct music_stream *m)
{
    return m->samples;
}

double music_stream_reduction_db(const struct music_stream *m)
{
    return m->limiter ? -20 * log10(limiter_least_gain(m->limiter)) : 0;
}

// Output sample n is at the time of input sample n * from / to: libswresample
// takes its own delay off.
static enum err open_resampler(struct music_stream *m)
{
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    swr_free(&m->swr);
    int r = swr_alloc_set_opts2(&m->swr, &mono, AV_SAMPLE_FMT_FLT, DELIVERY_SAMPLE_RATE, &mono,
                                AV_SAMPLE_FMT_FLT, (int) m->source->sample_rate, 0, NULL);
    if (r >= 0) {
        av_opt_set_int(m->swr, "filter_size", 64, 0);
        av_opt_set_double(m->swr, "cutoff", 0.97, 0);
        av_opt_set_int(m->swr, "exact_rational", 1, 0);
        r = swr_init(m->swr);
    }
    if (r >= 0)
        return ERR_OK;
    log_error("cannot resample the music from %u Hz", m->source->sample_rate);
    return ERR_NOMEM;
}

enum err music_stream_start(struct music_stream *m, const struct music_level *level,
                            const char *what)
{
    media_begin(m->hooks, what);
    m->gain = (float) pow(10, level->gain_db / 20);
    m->resampled = m->given = 0;
    m->source_ended = false;
    limiter_destroy(&m->limiter);
    enum err e = open_resampler(m);
    if (!e && level->limited)
        e = limiter_create(&m->limiter, DELIVERY_SAMPLE_RATE,
                           pow(10, level->ceiling_dbtp / 20));
    return e ? e : m->source->rewind(m->source);
}

static enum err convert(struct music_stream *m, const float *in, size_t n, float *out,
                        size_t capacity, size_t *got)
{
    const uint8_t *from[] = { (const uint8_t *) in };
    uint8_t *to[] = { (uint8_t *) out };
    const int r = swr_convert(m->swr, to, (int) capacity, in ? from : NULL, (int) n);
    *got = r > 0 ? (size_t) r : 0;
    return r < 0 ? ERR_NOMEM : ERR_OK;
}

// What the resampler still holds, else what comes of feeding it once more.
static enum err resample_some(struct music_stream *m, float *out, size_t capacity, size_t *got)
{
    size_t n = 0;
    if (m->source_ended) // NULL: there is no more, give up your filter's tail
        return convert(m, NULL, 0, out, capacity, got);
    enum err e = convert(m, m->in, 0, out, capacity, got);
    if (e || *got > 0)
        return e;
    e = m->source->read(m->source, m->in, STEP, &n);
    if (e)
        return e;
    m->source_ended = n == 0;
    return convert(m, n ? m->in : NULL, n, out, capacity, got);
}

// Like the source, but resampled, and cut or padded to the film's length.
static enum err read_resampled(struct music_stream *m, float *out, size_t capacity, size_t *got)
{
    const uint64_t left = m->samples - m->resampled;
    capacity = capacity < left ? capacity : (size_t) left;
    *got = 0;
    while (*got == 0 && capacity > 0) {
        const bool was_ended = m->source_ended;
        const enum err e = resample_some(m, out, capacity, got);
        if (e)
            return e;
        if (was_ended && *got == 0) {
            memset(out, 0, capacity * sizeof(*out));
            *got = capacity;
        }
    }
    m->resampled += *got;
    for (size_t i = 0; i < *got; i++)
        out[i] *= m->gain;
    return ERR_OK;
}

enum err music_stream_read(struct music_stream *m, float *out, size_t capacity, size_t *got)
{
    *got = 0;
    if (media_cancelled(m->hooks))
        return ERR_STOP;
    while (*got == 0 && m->given < m->samples) {
        size_t n = 0;
        const enum err e = read_resampled(m, out, capacity, &n);
        if (e)
            return e;
        if (m->limiter)
            *got = n ? limiter_run(m->limiter, out, n, out)
                     : limiter_drain(m->limiter, out, capacity);
        else
            *got = n;
        m->given += *got;
    }
    media_progress(m->hooks, (int64_t) (m->given * 1000 / DELIVERY_SAMPLE_RATE),
                   (int64_t) (m->samples * 1000 / DELIVERY_SAMPLE_RATE));
    return ERR_OK;
}
