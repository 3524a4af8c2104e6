#include "common/media/picture_file.h"

#include <libavcodec/avcodec.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"

#define JPEG_QUALITY 5 // FFmpeg's scale: 2 is the best, 31 the worst

void media_bytes_release(struct media_bytes *b)
{
    free(b->data);
    *b = (struct media_bytes){ 0 };
}

static int encode(struct media_bytes *out, AVCodecContext *c, const AVFrame *picture,
                  AVPacket *packet)
{
    int r = avcodec_send_frame(c, picture);
    if (r >= 0)
        r = avcodec_send_frame(c, NULL);
    if (r >= 0)
        r = avcodec_receive_packet(c, packet);
    if (r < 0)
        return r;
    out->data = malloc((size_t) packet->size);
    if (!out->data)
        return AVERROR(ENOMEM);
    out->count = (size_t) packet->size;
    memcpy(out->data, packet->data, out->count);
    return 0;
}

// One picture through one encoder.
static enum err write_picture(struct media_bytes *out, enum AVCodecID id, AVFrame *picture)
{
    const AVCodec *codec = avcodec_find_encoder(id);
    AVCodecContext *c = codec ? avcodec_alloc_context3(codec) : NULL;
    AVPacket *packet = av_packet_alloc();
    int r = codec ? AVERROR(ENOMEM) : AVERROR_ENCODER_NOT_FOUND;
    libav_log_forget();
    if (c && packet) {
        c->width = picture->width;
        c->height = picture->height;
        c->pix_fmt = picture->format;
        c->color_range = picture->color_range;
        c->time_base = (AVRational){ 1, 25 };
        c->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
        c->global_quality = picture->quality = JPEG_QUALITY * FF_QP2LAMBDA;
        c->thread_count = 1;
        r = avcodec_open2(c, codec, NULL);
        if (r >= 0)
            r = encode(out, c, picture, packet);
    }
    av_packet_free(&packet);
    avcodec_free_context(&c);
    if (r >= 0)
        return ERR_OK;
    log_error("a picture cannot be written as %s: %s", avcodec_get_name(id),
              libav_log_reason(r));
    return err_from_libav(r, ERR_UNAVAILABLE);
}

static AVFrame *make_frame(int format, uint32_t width, uint32_t height)
{
    AVFrame *f = av_frame_alloc();
    if (!f)
        return NULL;
    f->format = format;
    f->width = (int) width;
    f->height = (int) height;
    if (av_frame_get_buffer(f, 0) < 0)
        av_frame_free(&f);
    return f;
}

static int shrink(AVFrame *to, const uint8_t *rgb, uint32_t width, uint32_t height)
{
    struct SwsContext *sws = sws_getContext(
        (int) width, (int) height, AV_PIX_FMT_RGB24, to->width, to->height, to->format,
        SWS_AREA | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
    if (!sws)
        return AVERROR(ENOMEM);
    const uint8_t *const rows[] = { rgb };
    const int strides[] = { (int) width * 3 };
    const int r = sws_scale(sws, rows, strides, 0, (int) height, to->data, to->linesize);
    sws_freeContext(sws);
    return r;
}

enum err picture_jpeg(struct media_bytes *out, const uint8_t *rgb, uint32_t width,
                      uint32_t height, uint32_t side)
{
    const uint32_t longer = width > height ? width : height;
    const uint32_t to = longer < side ? longer : side;
    const uint32_t w = (uint32_t) ((uint64_t) width * to / longer);
    const uint32_t h = (uint32_t) ((uint64_t) height * to / longer);
    *out = (struct media_bytes){ 0 };
    libav_log_start();
    AVFrame *f = make_frame(AV_PIX_FMT_YUVJ420P, w ? w : 1, h ? h : 1);
    enum err e = ERR_NOMEM;
    if (f) {
        f->color_range = AVCOL_RANGE_JPEG;
        e = shrink(f, rgb, width, height) < 0 ? ERR_NOMEM
                                              : write_picture(out, AV_CODEC_ID_MJPEG, f);
    }
    av_frame_free(&f);
    return e;
}

enum err picture_png(struct media_bytes *out, const uint8_t *index, const uint32_t palette[256],
                     uint32_t width, uint32_t height)
{
    *out = (struct media_bytes){ 0 };
    libav_log_start();
    AVFrame *f = make_frame(AV_PIX_FMT_PAL8, width, height);
    if (!f)
        return ERR_NOMEM;
    av_image_copy_plane(f->data[0], f->linesize[0], index, (int) width, (int) width,
                        (int) height);
    memcpy(f->data[1], palette, AVPALETTE_SIZE);
    const enum err e = write_picture(out, AV_CODEC_ID_PNG, f);
    av_frame_free(&f);
    return e;
}
