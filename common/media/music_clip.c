#include "common/media/music_clip.h"

#include <libavformat/avformat.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"
#include "common/media/music_encoder.h"
#include "common/media/track_writer.h"

#define OVERHEAD 4096 // boxes before and after the sound

uint64_t music_clip_bytes(uint64_t samples)
{
    return samples * MUSIC_CLIP_BITRATE / 8 / DELIVERY_SAMPLE_RATE + OVERHEAD;
}

static int open_muxer(AVFormatContext **out, const AVCodecContext *codec)
{
    AVFormatContext *m = NULL;
    int r = avformat_alloc_output_context2(&m, NULL, "mp4", NULL);
    if (r < 0)
        return r;
    *out = m;
    m->flags |= AVFMT_FLAG_BITEXACT; // the same music twice is the same clip twice
    AVStream *s = avformat_new_stream(m, NULL);
    if (!s)
        return AVERROR(ENOMEM);
    s->time_base = codec->time_base;
    r = avcodec_parameters_from_context(s->codecpar, codec);
    if (r >= 0)
        r = avio_open_dyn_buf(&m->pb);
    return r < 0 ? r : avformat_write_header(m, NULL);
}

static enum err failed(int r)
{
    log_error("the music cannot be made into a clip: %s", libav_log_reason(r));
    return err_from_libav(r, ERR_UNAVAILABLE);
}

static enum err write_packets(AVFormatContext *m, struct music_encoder *encoder)
{
    AVPacket *p = av_packet_alloc();
    const AVRational tick = music_encoder_context(encoder)->time_base;
    enum err e = p ? ERR_OK : ERR_NOMEM;
    bool got = true;
    while (!e && got) {
        e = music_encoder_next(encoder, p, &got);
        if (e || !got)
            break;
        p->stream_index = 0;
        av_packet_rescale_ts(p, tick, m->streams[0]->time_base);
        const int r = av_write_frame(m, p);
        av_packet_unref(p);
        e = r < 0 ? failed(r) : ERR_OK;
    }
    av_packet_free(&p);
    if (e)
        return e;
    const int r = av_write_trailer(m);
    return r < 0 ? failed(r) : ERR_OK;
}

// Ends the muxer's buffer; what it holds is *out's when all went well.
static enum err take_buffer(struct media_bytes *out, AVFormatContext *m, enum err e)
{
    uint8_t *data = NULL;
    const int n = m->pb ? avio_close_dyn_buf(m->pb, &data) : 0;
    m->pb = NULL;
    out->data = !e && data ? malloc((size_t) n) : NULL;
    if (out->data) {
        memcpy(out->data, data, (size_t) n);
        out->count = (size_t) n;
    } else {
        e = e ? e : ERR_NOMEM;
    }
    av_free(data);
    return e;
}

enum err music_clip_make(struct media_bytes *out, struct music_stream *music)
{
    const struct music_codec codec = { .name = "aac", .bitrate = MUSIC_CLIP_BITRATE };
    struct music_encoder *encoder;
    AVFormatContext *muxer = NULL;
    *out = (struct media_bytes){ 0 };
    enum err e = music_encoder_create(&encoder, &codec, music);
    if (e)
        return e;
    libav_log_forget();
    const int r = open_muxer(&muxer, music_encoder_context(encoder));
    e = r < 0 ? failed(r) : write_packets(muxer, encoder);
    if (muxer)
        e = take_buffer(out, muxer, e);
    avformat_free_context(muxer);
    music_encoder_destroy(&encoder);
    return e;
}
