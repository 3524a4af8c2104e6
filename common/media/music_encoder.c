#include "common/media/music_encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/decoded_music.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"
#include "common/media/track_writer.h"

#define MAX_FRAME 8192
#define CHANNELS 2

struct music_encoder {
    AVCodecContext *context;
    struct music_stream *music;
    AVFrame *frame;
    uint64_t lead; // samples of silence still to come
    int64_t stamp; // of the next frame
    bool ended;
    float mono[MAX_FRAME];
};

static const struct {
    const char *name;
    enum AVCodecID id;
    enum AVSampleFormat format;
    int bits; // of the 32 that are used; 0: floats
    bool lossy;
} codecs[] = {
    { "aac", AV_CODEC_ID_AAC, AV_SAMPLE_FMT_FLTP, 0, true },
    { "alac", AV_CODEC_ID_ALAC, AV_SAMPLE_FMT_S32P, 24, false },
    { "flac", AV_CODEC_ID_FLAC, AV_SAMPLE_FMT_S32, 24, false },
    { "opus", AV_CODEC_ID_OPUS, AV_SAMPLE_FMT_FLT, 0, true },
    { "pcm_s24le", AV_CODEC_ID_PCM_S24LE, AV_SAMPLE_FMT_S32, 24, false },
};

static int find_codec(const char *name)
{
    for (int i = 0; i < (int) (sizeof(codecs) / sizeof(codecs[0])); i++)
        if (!strcmp(name, codecs[i].name))
            return i;
    return -1;
}

bool music_codec_is_lossy(const char *name)
{
    const int i = find_codec(name);
    return i >= 0 && codecs[i].lossy;
}

static int open_context(struct music_encoder *m, int which, uint32_t bitrate)
{
    AVCodecContext *c = m->context;
    c->sample_fmt = codecs[which].format;
    c->bits_per_raw_sample = codecs[which].bits;
    c->sample_rate = DELIVERY_SAMPLE_RATE;
    c->time_base = (AVRational){ 1, DELIVERY_SAMPLE_RATE };
    c->ch_layout = (AVChannelLayout) AV_CHANNEL_LAYOUT_STEREO;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    if (codecs[which].lossy)
        c->bit_rate = bitrate;
    return avcodec_open2(c, NULL, NULL);
}

enum err music_encoder_create(struct music_encoder **out, const struct music_codec *codec,
                              struct music_stream *music)
{
    *out = NULL;
    const int which = find_codec(codec->name);
    if (which < 0) {
        log_error("no codec '%s' for music; use aac, alac, flac, opus or pcm_s24le",
                  codec->name);
        return ERR_USAGE;
    }
    const AVCodec *encoder = avcodec_find_encoder(codecs[which].id);
    if (!encoder) {
        log_error("this FFmpeg cannot write %s; choose another codec", codec->name);
        return ERR_UNAVAILABLE;
    }
    enum err e = ERR_NOMEM;
    struct music_encoder *m = calloc(1, sizeof(*m));
    if (!m)
        goto fail;
    m->music = music;
    m->lead = codec->lead;
    m->frame = av_frame_alloc();
    m->context = avcodec_alloc_context3(encoder);
    if (!m->frame || !m->context)
        goto fail;
    libav_log_forget();
    const int r = open_context(m, which, codec->bitrate);
    if (r < 0) {
        e = r == AVERROR(ENOMEM) ? ERR_NOMEM : ERR_USAGE;
        goto fail;
    }
    *out = m;
    return ERR_OK;

fail:
    log_error("music cannot be written as %s: %s", codec->name,
              libav_log_reason(AVERROR(ENOMEM)));
    music_encoder_destroy(&m);
    return e;
}

void music_encoder_destroy(struct music_encoder **m)
{
    if (!*m)
        return;
    avcodec_free_context(&(*m)->context);
    av_frame_free(&(*m)->frame);
    free(*m);
    *m = NULL;
}

const AVCodecContext *music_encoder_context(const struct music_encoder *m)
{
    return m->context;
}

static size_t frame_samples(const struct music_encoder *m)
{
    const int n = m->context->frame_size;
    return n > 0 && n <= MAX_FRAME ? (size_t) n : MAX_FRAME;
}

// A whole frame, except at the end.
static enum err fill_mono(struct music_encoder *m, size_t *filled)
{
    const size_t capacity = frame_samples(m);
    *filled = m->lead < capacity ? (size_t) m->lead : capacity;
    memset(m->mono, 0, *filled * sizeof(*m->mono));
    m->lead -= *filled;
    size_t n = 1;
    while (*filled < capacity && n > 0) {
        const enum err e =
            music_stream_read(m->music, m->mono + *filled, capacity - *filled, &n);
        if (e)
            return e;
        *filled += n;
    }
    return ERR_OK;
}

static int32_t to_24_bits(float x)
{
    const float v = rintf(x * 0x1p23f);
    return (int32_t) (v < -0x1p23f ? -0x1p23f : v > 0x1p23f - 1 ? 0x1p23f - 1 : v) * 256;
}

// Both channels alike, in the encoder's form.
static void spread(AVFrame *f, const float *mono)
{
    const size_t n = (size_t) f->nb_samples;
    if (f->format == AV_SAMPLE_FMT_FLTP) {
        for (int c = 0; c < CHANNELS; c++)
            memcpy(f->data[c], mono, n * sizeof(*mono));
        return;
    }
    if (f->format == AV_SAMPLE_FMT_FLT) {
        float *out = (float *) (void *) f->data[0];
        for (size_t i = 0; i < n; i++)
            out[2 * i] = out[2 * i + 1] = mono[i];
        return;
    }
    const bool planar = f->format == AV_SAMPLE_FMT_S32P;
    int32_t *left = (int32_t *) (void *) f->data[0];
    int32_t *right = planar ? (int32_t *) (void *) f->data[1] : left + 1;
    const size_t stride = planar ? 1 : CHANNELS;
    for (size_t i = 0; i < n; i++)
        left[i * stride] = right[i * stride] = to_24_bits(mono[i]);
}

static int send_frame(struct music_encoder *m, size_t n)
{
    if (n == 0) {
        m->ended = true;
        return avcodec_send_frame(m->context, NULL);
    }
    AVFrame *f = m->frame;
    av_frame_unref(f);
    f->format = m->context->sample_fmt;
    f->sample_rate = m->context->sample_rate;
    f->nb_samples = (int) n;
    f->pts = m->stamp;
    m->stamp += (int64_t) n;
    int r = av_channel_layout_copy(&f->ch_layout, &m->context->ch_layout);
    if (r >= 0)
        r = av_frame_get_buffer(f, 0);
    if (r < 0)
        return r;
    spread(f, m->mono);
    return avcodec_send_frame(m->context, f);
}

enum err music_encoder_next(struct music_encoder *m, AVPacket *p, bool *got)
{
    for (;;) {
        int r = avcodec_receive_packet(m->context, p);
        *got = r >= 0;
        if (*got || (r == AVERROR_EOF && m->ended))
            return ERR_OK;
        if (r == AVERROR(EAGAIN)) {
            size_t n = 0;
            const enum err e = fill_mono(m, &n);
            if (e)
                return e;
            r = send_frame(m, n);
        }
        if (r < 0) {
            log_error("the music cannot be encoded: %s", libav_log_reason(r));
            return err_from_libav(r, ERR_BUG);
        }
    }
}

static enum err encode_and_decode(struct music_encoder *m, struct decoded_music *d)
{
    AVPacket *p = av_packet_alloc();
    enum err e = p ? ERR_OK : ERR_NOMEM;
    bool got = true;
    while (!e && got) {
        e = music_encoder_next(m, p, &got);
        if (!e && (!got || p->size > 0))
            e = decoded_music_add(d, got ? p : NULL);
        av_packet_unref(p);
    }
    av_packet_free(&p);
    return e;
}

static enum err trial(struct loudness *out, struct music_encoder *m)
{
    AVCodecParameters *par = avcodec_parameters_alloc();
    struct decoded_music *d = NULL;
    enum err e = ERR_NOMEM;
    if (par && avcodec_parameters_from_context(par, m->context) >= 0)
        e = decoded_music_create(&d, par, (uint64_t) par->initial_padding + m->lead,
                                 music_stream_samples(m->music));
    if (!e)
        e = encode_and_decode(m, d);
    if (!e)
        e = decoded_music_read(d, out);
    decoded_music_destroy(&d);
    avcodec_parameters_free(&par);
    return e;
}

enum err music_encoder_trial(struct loudness *out, const struct music_codec *codec,
                             struct music_stream *music, const struct music_level *level)
{
    struct music_encoder *m;
    enum err e = music_encoder_create(&m, codec, music);
    if (e)
        return e;
    e = music_stream_start(music, level, "encoding");
    if (!e)
        e = trial(out, m);
    music_encoder_destroy(&m);
    return e;
}
