#include "common/media/film.h"

#include <inttypes.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/pixdesc.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"
#include "common/media/stream_fate.h"

#define MAX_DURATION_S (7 * 24 * 3600.0)
#define MAX_SIDE 16384

static void copy_name(char out[FILM_NAME_BYTES], const char *name)
{
    av_strlcpy(out, name ? name : "", FILM_NAME_BYTES);
}

static void read_title(struct film *f, const AVDictionary *tags)
{
    const AVDictionaryEntry *title = av_dict_get(tags, "title", NULL, 0);
    av_strlcpy(f->title, title ? title->value : "", sizeof(f->title));
}

static void count_streams(struct film *f, const struct film_input *in)
{
    for (unsigned i = 0; i < in->demuxer->nb_streams; i++) {
        const AVCodecParameters *par = in->demuxer->streams[i]->codecpar;
        if (par->codec_type == AVMEDIA_TYPE_SUBTITLE)
            f->subtitle_tracks++;
        if (par->codec_type != AVMEDIA_TYPE_AUDIO || !stream_is_known(in->demuxer->streams[i]))
            continue;
        if (f->audio_tracks++ == 0)
            copy_name(f->audio_codec, avcodec_get_name(par->codec_id));
    }
    f->chapters = in->demuxer->nb_chapters;
    copy_name(f->container, in->demuxer->iformat->name);
    copy_name(f->picture_codec, avcodec_get_name(in->picture->codecpar->codec_id));
}

// Split the display matrix into a mirroring and then a turn by quarters.
// m[0], m[1] is where one pixel to the right goes, m[3], m[4] one pixel down.
static void read_rotation(struct film *f, const int32_t *m)
{
    const double across = m[0], down = m[1];
    f->mirrored = across * m[4] - down * m[3] < 0;
    const double angle = f->mirrored ? atan2(-down, -across) : atan2(down, across);
    f->rotation = (int) ((lrint(angle / (M_PI / 2)) + 4) % 4) * 90;
}

static void find_rotation(struct film *f, const struct film_input *in, const AVFrame *first)
{
    size_t bytes = 0;
    const uint8_t *m = av_stream_get_side_data(in->picture, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
    const AVFrameSideData *of_frame =
        av_frame_get_side_data(first, AV_FRAME_DATA_DISPLAYMATRIX);
    if (!m && of_frame) {
        m = of_frame->data;
        bytes = of_frame->size;
    }
    int32_t matrix[9];
    if (!m || bytes < sizeof(matrix))
        return;
    memcpy(matrix, m, sizeof(matrix));
    read_rotation(f, matrix);
}

// Stretch to square pixels, never losing lines or columns.
static void stretch(uint32_t *w, uint32_t *h, AVRational sar)
{
    if (sar.num <= 0 || sar.den <= 0 || sar.num == sar.den)
        return;
    const double ratio = av_q2d(sar);
    const double width = ratio > 1 ? *w * ratio : *w;
    const double height = ratio > 1 ? *h : *h / ratio;
    if (ratio > 8 || ratio < 1.0 / 8 || width > MAX_SIDE || height > MAX_SIDE)
        return; // nonsense in the file
    *w = (uint32_t) lrint(width);
    *h = (uint32_t) lrint(height);
}

static void read_geometry(struct film *f, struct film_input *in, AVFrame *first)
{
    f->coded_width = f->width = (uint32_t) first->width;
    f->coded_height = f->height = (uint32_t) first->height;
    stretch(&f->width, &f->height,
            av_guess_sample_aspect_ratio(in->demuxer, in->picture, first));
    find_rotation(f, in, first);
    if (f->rotation % 180 == 0)
        return;
    const uint32_t w = f->width;
    f->width = f->height;
    f->height = w;
}

struct beginning {
    int64_t dts; // of the first packet
    bool hidden; // some pictures are decoded but not shown
    bool any;
};

static void note_packet(struct beginning *b, const AVPacket *p)
{
    if (b->dts == AV_NOPTS_VALUE)
        b->dts = p->dts;
    b->any = true;
    b->hidden |= (p->flags & AV_PKT_FLAG_DISCARD) != 0;
}

// The first picture the decoder gives, whatever lies before it.
static enum err decode_first(struct film_input *in, AVPacket *packet, AVFrame *frame,
                             struct beginning *b)
{
    bool drained = false;
    *b = (struct beginning){ .dts = AV_NOPTS_VALUE };
    libav_log_forget();
    while (!drained) {
        int r = av_read_frame(in->demuxer, packet);
        drained = r < 0;
        if (!drained && packet->stream_index == in->picture->index) {
            note_packet(b, packet);
            avcodec_send_packet(in->decoder, packet);
        } else if (drained)
            avcodec_send_packet(in->decoder, NULL);
        av_packet_unref(packet);
        r = avcodec_receive_frame(in->decoder, frame);
        if (r >= 0)
            return ERR_OK;
        if (r == AVERROR(ENOMEM))
            return ERR_NOMEM;
    }
    if (!b->any)
        log_error("%s: the film has no length, there is not one picture in it; copy it again",
                  in->path);
    else
        log_error(
            "%s: none of its pictures (%s) can be decoded: %s; copy the film again or convert it",
            in->path, avcodec_get_name(in->picture->codecpar->codec_id),
            libav_log_reason(AVERROR_INVALIDDATA));
    return ERR_INPUT;
}

static enum err look_at_first(struct film *f, struct film_input *in, AVPacket *packet,
                              AVFrame *frame)
{
    struct beginning beginning;
    const enum err e = decode_first(in, packet, frame, &beginning);
    if (e)
        return e;
    read_geometry(f, in, frame);
    copy_name(f->pixel_format, av_get_pix_fmt_name(frame->format));
    f->interlaced = frame->interlaced_frame;
    f->hidden_start = beginning.hidden;
    f->hdr =
        frame->color_trc == AVCOL_TRC_SMPTE2084 || frame->color_trc == AVCOL_TRC_ARIB_STD_B67;
    f->origin = frame->best_effort_timestamp;
    if (f->origin != AV_NOPTS_VALUE) {
        f->delay = beginning.dts != AV_NOPTS_VALUE ? f->origin - beginning.dts : 0;
        return ERR_OK;
    }
    log_error("%s: it has no time stamps; put it into a container that has: "
              "ffmpeg -i FILM -c copy FILM.mkv",
              in->path);
    return ERR_INPUT;
}

static void read_frame_rate(struct film *f, const AVStream *s)
{
    AVRational q = s->avg_frame_rate;
    if (q.num <= 0 || q.den <= 0)
        q = s->r_frame_rate;
    f->frames_per_s = q.num > 0 && q.den > 0 ? av_q2d(q) : 0;
}

// When a packet's picture ends. Where some have no presentation time (MPEG),
// the last one decoded ends when its decoding delay is over.
static int64_t picture_end(const struct film *f, const AVPacket *p, bool by_dts)
{
    if (packet_time(p) == AV_NOPTS_VALUE)
        return AV_NOPTS_VALUE;
    const int64_t shown =
        by_dts && p->dts != AV_NOPTS_VALUE ? p->dts + f->delay : packet_time(p);
    return shown + (p->duration > 0 ? p->duration : film_usual_ticks(f));
}

// The end of the last picture from wherever the demuxer is; AV_NOPTS_VALUE when
// no picture follows.
static int64_t read_to_end(const struct film *f, struct film_input *in, AVPacket *packet)
{
    int64_t end = AV_NOPTS_VALUE; // the least of all
    bool by_dts = false;
    for (; av_read_frame(in->demuxer, packet) >= 0; av_packet_unref(packet)) {
        if (packet->stream_index != in->picture->index || (packet->flags & AV_PKT_FLAG_DISCARD))
            continue;
        by_dts |= packet->pts == AV_NOPTS_VALUE;
        const int64_t t = picture_end(f, packet, by_dts);
        end = t > end ? t : end;
    }
    return end;
}

static int64_t claimed_end(const struct film_input *in)
{
    const AVStream *s = in->picture;
    if (s->duration > 0 && s->start_time != AV_NOPTS_VALUE)
        return s->start_time + s->duration;
    const AVFormatContext *c = in->demuxer;
    if (c->duration <= 0 || c->start_time == AV_NOPTS_VALUE)
        return AV_NOPTS_VALUE;
    return av_rescale_q(c->start_time + c->duration, AV_TIME_BASE_Q, s->time_base);
}

// Read the last seconds of the picture; further back, where the sound is longer;
// everything, where that finds nothing.
static enum err measure_end(const struct film *f, struct film_input *in, AVPacket *packet,
                            int64_t *end)
{
    const int64_t second = av_rescale_q(AV_TIME_BASE, AV_TIME_BASE_Q, in->picture->time_base);
    const int64_t claimed = claimed_end(in);
    for (int64_t back = 10 * second; claimed != AV_NOPTS_VALUE && claimed - back > f->origin;
         back *= 6) {
        if (av_seek_frame(in->demuxer, in->picture->index, claimed - back,
                          AVSEEK_FLAG_BACKWARD) < 0)
            break;
        *end = read_to_end(f, in, packet);
        if (*end != AV_NOPTS_VALUE)
            return ERR_OK;
    }
    struct film_input again;
    enum err e = film_input_open(&again, in->path);
    if (e)
        return e;
    e = film_input_find_picture(&again);
    if (!e) {
        film_input_only(&again, (unsigned) again.picture->index);
        *end = read_to_end(f, &again, packet);
    }
    film_input_close(&again);
    return e;
}

static enum err measure_duration(struct film *f, struct film_input *in, AVPacket *packet)
{
    int64_t end = AV_NOPTS_VALUE;
    const enum err e = measure_end(f, in, packet, &end);
    if (e)
        return e;
    f->duration = end == AV_NOPTS_VALUE ? 0 : end - f->origin;
    const double seconds = (double) f->duration * f->tick_num / f->tick_den;
    if (f->duration <= 0) {
        log_error("%s: the film has no length; its time stamps are damaged, put it into a new "
                  "container: ffmpeg -fflags +genpts -i FILM -c copy FILM.mkv",
                  f->path);
        return ERR_INPUT;
    }
    if (seconds > MAX_DURATION_S) {
        log_error(
            "%s: its time stamps claim %.0f hours; cut it into films, or put it into a new "
            "container: ffmpeg -fflags +genpts -i FILM -c copy FILM.mkv",
            f->path, seconds / 3600);
        return ERR_INPUT;
    }
    f->duration_ms = llrint(seconds * 1000);
    if (f->duration_ms < 1)
        f->duration_ms = 1;
    return ERR_OK;
}

static enum err look(struct film *f, struct film_input *in, AVPacket *packet, AVFrame *frame)
{
    enum err e = film_input_find_picture(in);
    if (e)
        return e;
    f->picture = (uint32_t) in->picture->index;
    f->tick_num = in->picture->time_base.num;
    f->tick_den = in->picture->time_base.den;
    count_streams(f, in);
    read_title(f, in->demuxer->metadata);
    read_frame_rate(f, in->picture);
    e = film_input_decode(in, 1);
    if (!e) {
        film_input_only(in, f->picture);
        e = look_at_first(f, in, packet, frame);
    }
    if (!e)
        e = measure_duration(f, in, packet);
    return e;
}

enum err film_probe(struct film *out, const char *path)
{
    *out = (struct film){ .path = strdup(path) };
    struct film_input in = { 0 };
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    enum err e = out->path && packet && frame ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = film_input_open(&in, out->path);
    if (!e)
        e = look(out, &in, packet, frame);
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", path);
    av_frame_free(&frame);
    av_packet_free(&packet);
    film_input_close(&in);
    if (e)
        film_release(out);
    return e;
}

void film_release(struct film *f)
{
    free(f->path);
    *f = (struct film){ 0 };
}

int64_t film_usual_ticks(const struct film *f)
{
    const double s = f->frames_per_s > 0 ? 1 / f->frames_per_s : 0.04;
    return llrint(s * f->tick_den / f->tick_num);
}

uint64_t film_samples(const struct film *f, uint32_t sample_rate)
{
    return (uint64_t) av_rescale(f->duration, (int64_t) f->tick_num * sample_rate, f->tick_den);
}
