#include "common/media/film_input.h"

#include <errno.h>
#include <inttypes.h>
#include <libavutil/avstring.h>
#include <libavutil/cpu.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "common/media/shortfall.h"

// Demuxers that hold moving pictures and open no further file or address.
static const char allowed_formats[] =
    "mov,matroska,webm,mpegts,mpegtsraw,mpeg,mpegvideo,avi,flv,live_flv,kux,asf,asf_o,ogg,mxf,nut,"
    "gxf,wtv,rm,ivf,m4v,h264,hevc,obu,av1,dv,dirac,vc1,cavsvideo,yuv4mpegpipe,roq,bink,smk,nsv,"
    "swf,lxf,mlv,nuv,pva,ty,r3d,fli";

#define MAX_PIXELS ((int64_t) 16384 * 16384)

enum err err_from_libav(int code, enum err otherwise)
{
    switch (code) {
    case AVERROR(ENOMEM): return ERR_NOMEM;
    case AVERROR(ENOSPC):
    case AVERROR(EDQUOT): return ERR_FULL;
    case AVERROR(EFBIG):
    case AVERROR(EIO): return ERR_IO;
    case AVERROR(ENOENT):
    case AVERROR(EACCES):
    case AVERROR(EPERM): return ERR_MISSING;
    default: return otherwise;
    }
}

static enum err check_file(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        log_error("%s: %s", path, strerror(errno));
        return ERR_MISSING;
    }
    if (!S_ISREG(st.st_mode)) {
        log_error("%s: not a regular file; name a film file", path);
        return ERR_MISSING;
    }
    if (st.st_size == 0) {
        log_error("%s: empty file; copy the film again", path);
        return ERR_INPUT;
    }
    return ERR_OK;
}

static enum err refuse_cut_short(const char *path, const char *advice)
{
    const uint64_t missing = file_shortfall(path);
    if (missing == 0)
        return ERR_OK;
    log_error("%s: cut short, its last %" PRIu64 " bytes are missing; copy it again%s", path,
              missing, advice);
    return ERR_INPUT;
}

// What kind of file it is, decided before any demuxer runs.
static enum err find_format(const char *path, const char *url, const AVInputFormat **out)
{
    AVIOContext *io = NULL;
    const AVInputFormat *format = NULL;
    int r = avio_open2(&io, url, AVIO_FLAG_READ, NULL, NULL);
    if (r < 0) {
        log_error("%s: %s", path, libav_log_reason(r));
        return err_from_libav(r, ERR_MISSING);
    }
    r = av_probe_input_buffer2(io, &format, path, NULL, 0, 0);
    avio_closep(&io);
    if (r < 0 || !format) {
        log_error(
            "%s: not a film, or damaged at its start; give an MP4, MOV, MKV or another video file",
            path);
        return err_from_libav(r, ERR_INPUT);
    }
    if (!av_match_list(format->name, allowed_formats, ',')) {
        log_error("%s: not a film but %s; give an MP4, MOV, MKV or another video file", path,
                  format->long_name ? format->long_name : format->name);
        return ERR_INPUT;
    }
    *out = format;
    return ERR_OK;
}

static enum err open_demuxer(struct film_input *in, const char *url,
                             const AVInputFormat *format)
{
    AVDictionary *options = NULL;
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    libav_log_forget();
    int r = avformat_open_input(&in->demuxer, url, format, &options);
    av_dict_free(&options);
    if (r >= 0)
        r = avformat_find_stream_info(in->demuxer, NULL);
    if (r >= 0)
        return ERR_OK;
    if (file_shortfall(in->path) > 0)
        return refuse_cut_short(in->path, "");
    log_error("%s: cannot be read as %s: %s; it is no film, damaged or cut short", in->path,
              format->name, libav_log_reason(r));
    return err_from_libav(r, ERR_INPUT);
}

enum err film_input_open(struct film_input *out, const char *path)
{
    *out = (struct film_input){ .path = path };
    libav_log_start();
    enum err e = check_file(path);
    if (e)
        return e;
    char *url = av_asprintf("file:%s", path); // a ':' in the name is no protocol
    if (!url)
        return ERR_NOMEM;
    const AVInputFormat *format = NULL;
    e = find_format(path, url, &format);
    if (!e)
        e = open_demuxer(out, url, format);
    if (!e)
        e = refuse_cut_short(path, ", or save what is there: ffmpeg -i FILM -c copy SAVED.mkv");
    av_free(url);
    if (e)
        film_input_close(out);
    return e;
}

void film_input_close(struct film_input *in)
{
    avcodec_free_context(&in->decoder);
    avformat_close_input(&in->demuxer);
    *in = (struct film_input){ 0 };
}

static bool is_picture(const AVStream *s)
{
    const int still = AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS |
                      AV_DISPOSITION_STILL_IMAGE;
    return s->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !(s->disposition & still);
}

static bool is_better(const AVStream *a, const AVStream *b)
{
    const int da = a->disposition & AV_DISPOSITION_DEFAULT;
    const int db = b->disposition & AV_DISPOSITION_DEFAULT;
    if (da != db)
        return da > db;
    return (int64_t) a->codecpar->width * a->codecpar->height >
           (int64_t) b->codecpar->width * b->codecpar->height;
}

enum err film_input_find_picture(struct film_input *in)
{
    for (unsigned i = 0; i < in->demuxer->nb_streams; i++) {
        AVStream *s = in->demuxer->streams[i];
        if (is_picture(s) && (!in->picture || is_better(s, in->picture)))
            in->picture = s;
    }
    if (in->picture)
        return ERR_OK;
    log_error("%s: no moving picture in it; music is composed to what is seen, give a film",
              in->path);
    return ERR_INPUT;
}

void film_input_only(struct film_input *in, unsigned index)
{
    for (unsigned i = 0; i < in->demuxer->nb_streams; i++)
        in->demuxer->streams[i]->discard = i == index ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
}

int film_input_threads(void)
{
    const int n = av_cpu_count();
    return n < 1 ? 1 : n > 4 ? 4 : n;
}

enum err film_input_decode(struct film_input *in, int threads)
{
    const AVCodecParameters *par = in->picture->codecpar;
    const AVCodec *codec = avcodec_find_decoder(par->codec_id);
    if (!codec) {
        log_error(
            "%s: no decoder for its picture (%s) in this FFmpeg; convert it to H.264 first",
            in->path, avcodec_get_name(par->codec_id));
        return ERR_UNAVAILABLE;
    }
    in->decoder = avcodec_alloc_context3(codec);
    if (!in->decoder)
        return ERR_NOMEM;
    int r = avcodec_parameters_to_context(in->decoder, par);
    in->decoder->pkt_timebase = in->picture->time_base;
    in->decoder->thread_count = threads;
    in->decoder->max_pixels = MAX_PIXELS;
    in->decoder->opaque = &in->complaints;
    libav_log_forget();
    if (r >= 0)
        r = avcodec_open2(in->decoder, codec, NULL);
    if (r >= 0)
        return ERR_OK;
    log_error("%s: its picture (%s) cannot be decoded: %s", in->path, codec->name,
              libav_log_reason(r));
    return err_from_libav(r, ERR_INPUT);
}

int64_t packet_time(const AVPacket *p)
{
    return p->pts != AV_NOPTS_VALUE ? p->pts : p->dts;
}

bool picture_is_damaged(const AVFrame *f)
{
    return (f->flags & AV_FRAME_FLAG_CORRUPT) || f->decode_error_flags;
}

#define MANY_BEHIND 50

enum err stamps_follow(struct stamp_watch *w, const char *path, const AVStream *s,
                       const AVPacket *p)
{
    const int64_t second = av_rescale_q(AV_TIME_BASE, AV_TIME_BASE_Q, s->time_base);
    if (p->dts == AV_NOPTS_VALUE)
        return ERR_OK;
    if (w->furthest == AV_NOPTS_VALUE || p->dts > w->furthest - second) {
        w->furthest =
            w->furthest == AV_NOPTS_VALUE || p->dts > w->furthest ? p->dts : w->furthest;
        w->behind = 0;
        return ERR_OK;
    }
    if (++w->behind < MANY_BEHIND)
        return ERR_OK;
    log_error(
        "%s: several recordings one after the other, each with times of its own; join them first: "
        "ffmpeg -i FILM -map 0 -c copy FILM.mkv",
        path);
    return ERR_INPUT;
}
