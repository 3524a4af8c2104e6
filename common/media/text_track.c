#include "common/media/text_track.h"

#include <libavutil/mem.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

#define MAX_LINE_BYTES (1 << 18)

struct text_track {
    AVCodecContext *decoder, *encoder;
    uint8_t *line; // scratch, MAX_LINE_BYTES
};

static int open_decoder(struct text_track *t, const AVStream *from)
{
    const AVCodec *codec = avcodec_find_decoder(from->codecpar->codec_id);
    if (!codec)
        return AVERROR_DECODER_NOT_FOUND;
    t->decoder = avcodec_alloc_context3(codec);
    if (!t->decoder)
        return AVERROR(ENOMEM);
    const int r = avcodec_parameters_to_context(t->decoder, from->codecpar);
    t->decoder->pkt_timebase = from->time_base;
    return r < 0 ? r : avcodec_open2(t->decoder, codec, NULL);
}

static int open_encoder(struct text_track *t, enum AVCodecID to)
{
    const AVCodec *codec = avcodec_find_encoder(to);
    if (!codec)
        return AVERROR_ENCODER_NOT_FOUND;
    t->encoder = avcodec_alloc_context3(codec);
    if (!t->encoder)
        return AVERROR(ENOMEM);
    t->encoder->time_base = AV_TIME_BASE_Q;
    t->encoder->width = t->decoder->width;
    t->encoder->height = t->decoder->height;
    const size_t bytes = (size_t) t->decoder->subtitle_header_size;
    if (t->decoder->subtitle_header) {
        t->encoder->subtitle_header = av_mallocz(bytes + 1); // styles, as ASS has them
        if (!t->encoder->subtitle_header)
            return AVERROR(ENOMEM);
        memcpy(t->encoder->subtitle_header, t->decoder->subtitle_header, bytes);
        t->encoder->subtitle_header_size = (int) bytes;
    }
    return avcodec_open2(t->encoder, codec, NULL);
}

enum err text_track_create(struct text_track **out, const AVStream *from, enum AVCodecID to)
{
    enum err e = ERR_NOMEM;
    *out = NULL;
    struct text_track *t = calloc(1, sizeof(*t));
    if (!t)
        goto fail;
    t->line = malloc(MAX_LINE_BYTES);
    if (!t->line)
        goto fail;
    int r = open_decoder(t, from);
    if (r >= 0)
        r = open_encoder(t, to);
    if (r < 0) {
        e = r == AVERROR(ENOMEM) ? ERR_NOMEM : ERR_UNAVAILABLE;
        goto fail;
    }
    *out = t;
    return ERR_OK;

fail:
    log_error("subtitles (%s) cannot become %s; choose a .mkv output",
              avcodec_get_name(from->codecpar->codec_id), avcodec_get_name(to));
    text_track_destroy(&t);
    return e;
}

void text_track_destroy(struct text_track **t)
{
    if (!*t)
        return;
    avcodec_free_context(&(*t)->decoder);
    avcodec_free_context(&(*t)->encoder);
    free((*t)->line);
    free(*t);
    *t = NULL;
}

const AVCodecContext *text_track_context(const struct text_track *t)
{
    return t->encoder;
}

// `text` takes the place of what `p` holds; its times stay.
static enum err replace_data(AVPacket *p, const uint8_t *text, int bytes)
{
    AVPacket *fresh = av_packet_alloc();
    if (!fresh || av_new_packet(fresh, bytes) < 0 || av_packet_copy_props(fresh, p) < 0) {
        av_packet_free(&fresh);
        log_error("no memory for a subtitle");
        return ERR_NOMEM;
    }
    memcpy(fresh->data, text, (size_t) bytes);
    av_packet_unref(p);
    av_packet_move_ref(p, fresh);
    av_packet_free(&fresh);
    return ERR_OK;
}

enum err text_track_convert(struct text_track *t, AVPacket *in, bool *shown)
{
    AVSubtitle subtitle = { 0 };
    int got = 0;
    *shown = false;
    const int r = avcodec_decode_subtitle2(t->decoder, &subtitle, &got, in);
    if (r < 0 || !got || subtitle.num_rects == 0) {
        if (r < 0)
            log_warn("a line of the subtitles cannot be read and is left out");
        avsubtitle_free(&subtitle);
        return ERR_OK;
    }
    subtitle.pts = 0; // the packet's own times are kept
    const int bytes = avcodec_encode_subtitle(t->encoder, t->line, MAX_LINE_BYTES, &subtitle);
    avsubtitle_free(&subtitle);
    if (bytes <= 0) {
        log_warn("a line of the subtitles cannot be rewritten and is left out");
        return ERR_OK;
    }
    *shown = true;
    return replace_data(in, t->line, bytes);
}
