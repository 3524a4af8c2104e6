#include "common/media/decoded_music.h"

#include <libswresample/swresample.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"

struct decoded_music {
    AVCodecContext *decoder;
    struct SwrContext *to_float; // interleaved, same rate and channels
    struct loudness_meter *meter;
    AVFrame *frame;
    uint32_t channels;
    float *floats;     // of one frame, interleaved
    int capacity;      // of floats, per channel
    uint64_t from, to; // measured
    uint64_t samples;  // decoded
};

static enum err open_decoder(struct decoded_music *d, const AVCodecParameters *par)
{
    const AVCodec *codec = avcodec_find_decoder(par->codec_id);
    if (!codec) {
        log_error("this FFmpeg cannot decode %s to check it", avcodec_get_name(par->codec_id));
        return ERR_UNAVAILABLE;
    }
    d->decoder = avcodec_alloc_context3(codec);
    if (!d->decoder)
        return ERR_NOMEM;
    int r = avcodec_parameters_to_context(d->decoder, par);
    d->decoder->pkt_timebase = (AVRational){ 1, par->sample_rate };
    if (r >= 0)
        r = avcodec_open2(d->decoder, codec, NULL);
    return r >= 0 ? ERR_OK : err_from_libav(r, ERR_BUG);
}

enum err decoded_music_create(struct decoded_music **out, const AVCodecParameters *par,
                              uint64_t skip, uint64_t count)
{
    enum err e = ERR_NOMEM;
    *out = NULL;
    struct decoded_music *d = calloc(1, sizeof(*d));
    if (!d)
        goto fail;
    d->from = skip;
    d->to = skip + count;
    d->frame = av_frame_alloc();

    d->channels = (uint32_t) par->ch_layout.nb_channels;
    if (!d->frame)
        goto fail;
    e = open_decoder(d, par);
    if (!e)
        e = loudness_meter_create(&d->meter, (uint32_t) par->sample_rate, d->channels, false);
    if (e)
        goto fail;
    *out = d;
    return ERR_OK;

fail:
    log_error("the music cannot be decoded again to check it");
    decoded_music_destroy(&d);
    return e;
}

void decoded_music_destroy(struct decoded_music **d)
{
    if (!*d)
        return;
    avcodec_free_context(&(*d)->decoder);
    swr_free(&(*d)->to_float);
    loudness_meter_destroy(&(*d)->meter);
    av_frame_free(&(*d)->frame);
    free((*d)->floats);
    free(*d);
    *d = NULL;
}

static int open_converter(struct decoded_music *d)
{
    AVChannelLayout layout;
    av_channel_layout_default(&layout, (int) d->channels);
    const int rate = d->frame->sample_rate;
    const int r = swr_alloc_set_opts2(&d->to_float, &layout, AV_SAMPLE_FMT_FLT, rate, &layout,
                                      d->frame->format, rate, 0, NULL);
    return r < 0 ? r : swr_init(d->to_float);
}

static int convert(struct decoded_music *d)
{
    const AVFrame *f = d->frame;
    if (f->ch_layout.nb_channels != (int) d->channels)
        return AVERROR_INVALIDDATA;
    int r = d->to_float ? 0 : open_converter(d);
    if (r < 0)
        return r;
    if (f->nb_samples > d->capacity) {
        free(d->floats);
        d->floats = calloc((size_t) f->nb_samples * d->channels, sizeof(float));
        d->capacity = d->floats ? f->nb_samples : 0;
    }
    uint8_t *out[] = { (uint8_t *) d->floats };
    const uint8_t **in = (const uint8_t **) (void *) f->extended_data;
    r = d->floats ? swr_convert(d->to_float, out, d->capacity, in, f->nb_samples)
                  : AVERROR(ENOMEM);
    return r < 0 ? r : r == f->nb_samples ? 0 : AVERROR_BUG;
}

static uint64_t clamp(uint64_t x, uint64_t least, uint64_t most)
{
    return x < least ? least : x > most ? most : x;
}

static enum err measure(struct decoded_music *d)
{
    const uint64_t first = d->samples, last = first + (uint64_t) d->frame->nb_samples;
    const uint64_t from = clamp(d->from, first, last), to = clamp(d->to, first, last);
    d->samples = last;
    return loudness_meter_add(d->meter, d->floats + (from - first) * d->channels,
                              (size_t) (to - from));
}

enum err decoded_music_add(struct decoded_music *d, const AVPacket *p)
{
    int r = avcodec_send_packet(d->decoder, p);
    while (r >= 0) {
        r = avcodec_receive_frame(d->decoder, d->frame);
        if (r < 0)
            break;
        r = convert(d);
        if (r < 0)
            break;
        const enum err e = measure(d);
        if (e)
            return e;
    }
    if (r == AVERROR(EAGAIN) || r == AVERROR_EOF)
        return ERR_OK;
    log_error("the music just written cannot be decoded: %s", libav_log_reason(r));
    return err_from_libav(r, ERR_BUG);
}

enum err decoded_music_read(struct decoded_music *d, struct loudness *out)
{
    return loudness_meter_read(d->meter, out);
}

uint64_t decoded_music_samples(const struct decoded_music *d)
{
    return d->samples;
}
