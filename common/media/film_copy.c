#include "common/media/film_copy.h"

#include <libavutil/avstring.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"
#include "common/media/packet_queue.h"
#include "common/media/stream_fate.h"
#include "common/media/text_track.h"

#define MAX_READ_FAILURES 64
#define MAX_EARLY 32 // more than any codec delays its pictures

// One of the film's streams, in the order they have there.
struct copied {
    AVStream *out;             // NULL: not written
    struct text_track *text;   // NULL: copied as it is
    struct packet_queue early; // its first, until one says when it is decoded
    bool begun;                // no more of those
    int64_t last_shown;        // stamp of the last packet that an edit list does not hide
    int64_t last_dts;          // in out->time_base
    struct stamp_watch stamps;
};

struct film_copy {
    struct film_copy_options options;
    struct film_input in;
    AVFormatContext *muxer;
    struct copied *streams;
    unsigned stream_count; // when it was opened: a transport stream may find more in its middle
    AVStream *music;
    int64_t shift_us;       // taken off every time stamp of the film
    AVPacket *packet;       // of the film
    AVPacket *music_packet; // the next of the music
    bool have_music;
};

static bool is_matroska(const struct film_copy *c)
{
    return !strcmp(c->options.container->name, "matroska");
}

// A film that starts late (a broadcast cut out of a day) starts at 0 here.
static int64_t start_of(const struct film *film, const AVFormatContext *demuxer)
{
    const int64_t origin = av_rescale_q(
        film->origin, (AVRational){ film->tick_num, film->tick_den }, AV_TIME_BASE_Q);
    const int64_t start = demuxer->start_time != AV_NOPTS_VALUE ? demuxer->start_time : origin;
    if (origin < 0)
        return origin;
    return start < 0 ? 0 : start < origin ? start : origin;
}

static uint64_t lead_samples(const struct film *film, int64_t shift_us)
{
    const AVRational tick = { film->tick_num, film->tick_den };
    const int64_t shift = av_rescale_q(shift_us, AV_TIME_BASE_Q, tick);
    const int64_t lead =
        av_rescale_q(film->origin - shift, tick, (AVRational){ 1, DELIVERY_SAMPLE_RATE });
    return lead > 0 ? (uint64_t) lead : 0;
}

enum err film_copy_lead(const struct film *film, uint64_t *samples)
{
    struct film_input in;
    const enum err e = film_input_open(&in, film->path);
    if (!e)
        *samples = lead_samples(film, start_of(film, in.demuxer));
    film_input_close(&in);
    return e;
}

static enum err copy_side_data(AVStream *to, const AVStream *from)
{
    for (int i = 0; i < from->nb_side_data; i++) {
        const AVPacketSideData *s = &from->side_data[i];
        uint8_t *d = av_stream_new_side_data(to, s->type, s->size);
        if (!d)
            return ERR_NOMEM;
        memcpy(d, s->data, s->size);
    }
    return ERR_OK;
}

static const char *const form_tags[] = { "major_brand", "minor_version", "compatible_brands",
                                         "encoder" };
#define FORM_TAGS (sizeof(form_tags) / sizeof(form_tags[0]))

bool film_copy_is_form_tag(const char *key)
{
    for (size_t i = 0; i < FORM_TAGS; i++)
        if (!av_strcasecmp(key, form_tags[i]))
            return true;
    return false;
}

static void drop_form_tags(AVDictionary **tags)
{
    for (size_t i = 0; i < FORM_TAGS; i++)
        av_dict_set(tags, form_tags[i], NULL, 0);
}

static void drop_statistics(AVDictionary **tags)
{
    static const char *const stale[] = { "_STATISTICS_TAGS", "_STATISTICS_WRITING_APP",
                                         "_STATISTICS_WRITING_DATE_UTC", "vendor_id" };
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++)
        av_dict_set(tags, stale[i], NULL, 0);
}

// MP4 and MOV keep a track's title as its handler's name.
static void name_handler(const struct film_copy *c, AVStream *s)
{
    const AVDictionaryEntry *title = av_dict_get(s->metadata, "title", NULL, 0);
    if (title && !is_matroska(c))
        av_dict_set(&s->metadata, "handler_name", title->value, 0);
}

static AVStream *new_stream(struct film_copy *c, const AVStream *from)
{
    AVStream *s = avformat_new_stream(c->muxer, NULL);
    if (!s || avcodec_parameters_copy(s->codecpar, from->codecpar) < 0 ||
        av_dict_copy(&s->metadata, from->metadata, 0) < 0 || copy_side_data(s, from))
        return NULL;
    drop_statistics(&s->metadata);
    name_handler(c, s);
    s->codecpar->codec_tag = stream_tag_in(from, c->options.container);
    s->time_base = from->time_base;
    s->avg_frame_rate = from->avg_frame_rate;
    s->r_frame_rate = from->r_frame_rate;
    // Muxers want both alike, and MPEG-2's own is rounded: the container's is what players heed.
    if (from->sample_aspect_ratio.num)
        s->codecpar->sample_aspect_ratio = from->sample_aspect_ratio;
    s->sample_aspect_ratio = s->codecpar->sample_aspect_ratio;
    s->disposition = from->disposition;
    return s;
}

static const char *mime_type(enum AVCodecID id)
{
    return id == AV_CODEC_ID_PNG   ? "image/png"
           : id == AV_CODEC_ID_BMP ? "image/bmp"
                                   : "image/jpeg";
}

// Matroska keeps covers as attached files.
static enum err make_attachment(AVStream *s, const AVPacket *picture)
{
    AVCodecParameters *par = s->codecpar;
    par->codec_type = AVMEDIA_TYPE_ATTACHMENT;
    av_freep(&par->extradata);
    par->extradata = av_mallocz((size_t) picture->size + AV_INPUT_BUFFER_PADDING_SIZE);
    if (!par->extradata)
        return ERR_NOMEM;
    memcpy(par->extradata, picture->data, (size_t) picture->size);
    par->extradata_size = picture->size;
    const char *mime = mime_type(par->codec_id);
    char name[32];
    snprintf(name, sizeof(name), "cover.%s", strcmp(mime, "image/jpeg") ? mime + 6 : "jpg");
    if (!av_dict_get(s->metadata, "filename", NULL, 0))
        av_dict_set(&s->metadata, "filename", name, 0);
    av_dict_set(&s->metadata, "mimetype", mime, 0);
    return ERR_OK;
}

static enum err make_text(struct copied *to, const AVStream *from, enum AVCodecID codec)
{
    const enum err e = text_track_create(&to->text, from, codec);
    if (e)
        return e;
    to->out->codecpar->codec_tag = 0;
    const int r =
        avcodec_parameters_from_context(to->out->codecpar, text_track_context(to->text));
    return r < 0 ? ERR_NOMEM : ERR_OK;
}

static void tell_left_out(const struct film_copy *c, const AVStream *s, const char *what)
{
    if (!c->options.path)
        return; // only trying
    const bool other = !is_matroska(c) && strcmp(what, "data") != 0;
    log_warn("%s: stream %d (%s, %s) is left out: %s cannot hold it%s", c->options.film->path,
             s->index, what, avcodec_get_name(s->codecpar->codec_id),
             c->options.container->long_name, other ? "; a .mkv output would" : "");
}

static void tell_unknown(const struct film_copy *c, const AVStream *s)
{
    if (c->options.path)
        log_warn("%s: stream %d (%s) is left out: nothing of it is in the film's beginning",
                 c->options.film->path, s->index, avcodec_get_name(s->codecpar->codec_id));
}

static enum err refuse(const struct film_copy *c, const AVStream *s, const char *what)
{
    log_error("%s: stream %d (%s, %s) cannot be in %s; choose another ending for the output%s",
              c->options.film->path, s->index, what, avcodec_get_name(s->codecpar->codec_id),
              c->options.container->long_name,
              is_matroska(c) ? "" : ": .mkv holds nearly everything");
    return ERR_INPUT;
}

// The stamp of the last packet that an edit list shows. *cut: the list leaves something out
// between the first and the last one.
static int64_t last_shown(AVStream *s, bool *cut)
{
    int64_t last = INT64_MAX;
    bool begun = false, hidden = false;
    *cut = false;
    for (int i = 0; i < avformat_index_get_entries_count(s); i++) {
        const AVIndexEntry *e = avformat_index_get_entry(s, i);
        if (e->flags & AVINDEX_DISCARD_FRAME) {
            // Others than key frames lie among those shown at either end of any list.
            hidden |= begun && (e->flags & AVINDEX_KEYFRAME);
            continue;
        }
        begun = true;
        *cut |= hidden;
        last = e->timestamp;
    }
    return last;
}

static enum err refuse_cut(const struct film_copy *c, const AVStream *s)
{
    log_error("%s: stream %d is put together of parts by an edit list, which cannot be copied; "
              "convert the film first: ffmpeg -i FILM NEW.mkv",
              c->options.film->path, s->index);
    return ERR_INPUT;
}

static enum err add_stream(struct film_copy *c, AVStream *s)
{
    struct copied *to = &c->streams[s->index];
    const struct stream_plan plan =
        stream_fate_of(c->in.demuxer, s, c->options.container, c->options.audio);
    bool cut;
    if (!stream_is_known(s)) {
        tell_unknown(c, s);
        return ERR_OK;
    }
    *to = (struct copied){ .last_shown = last_shown(s, &cut),
                           .last_dts = AV_NOPTS_VALUE,
                           .stamps = { AV_NOPTS_VALUE, 0 } };
    if (plan.fate == STREAM_REFUSE)
        return refuse(c, s, plan.what);
    if (plan.fate == STREAM_LEAVE_OUT)
        tell_left_out(c, s, plan.what);
    if (plan.fate == STREAM_LEAVE_OUT || plan.fate == STREAM_DROP)
        return ERR_OK;
    if (cut)
        return refuse_cut(c, s);
    to->out = new_stream(c, s);
    if (!to->out)
        return ERR_NOMEM;
    if (plan.fate == STREAM_TEXT)
        return make_text(to, s, plan.text);
    return plan.fate == STREAM_COVER ? make_attachment(to->out, &s->attached_pic) : ERR_OK;
}

static bool has_own_audio(const struct film_copy *c)
{
    for (unsigned i = 0; i < c->muxer->nb_streams; i++)
        if (c->muxer->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO)
            return true;
    return false;
}

static enum err add_music(struct film_copy *c)
{
    const bool is_default = !has_own_audio(c);
    AVStream *s = avformat_new_stream(c->muxer, NULL);
    if (!s || avcodec_parameters_from_context(s->codecpar, c->options.music) < 0)
        return ERR_NOMEM;
    s->time_base = c->options.music->time_base;
    s->disposition = is_default ? AV_DISPOSITION_DEFAULT : 0;
    av_dict_set(&s->metadata, "title", c->options.title, 0);
    name_handler(c, s);
    av_dict_set(&s->metadata, "language", c->options.language, 0);
    c->music = s;
    return ERR_OK;
}

static enum err add_chapter(struct film_copy *c, const AVChapter *from)
{
    AVFormatContext *m = c->muxer;
    AVChapter *to = av_mallocz(sizeof(*to));
    if (!to)
        return ERR_NOMEM;
    const int64_t shift = av_rescale_q(c->shift_us, AV_TIME_BASE_Q, from->time_base);
    to->id = from->id;
    to->time_base = from->time_base;
    to->start = from->start > shift ? from->start - shift : 0;
    to->end = from->end > shift ? from->end - shift : to->start;
    m->chapters[m->nb_chapters++] = to;
    // Without a title MOV's writer names a track of chapters that it does not write.
    const bool named = is_matroska(c) || av_dict_get(from->metadata, "title", NULL, 0);
    if (!named && av_dict_set(&to->metadata, "title", "", 0) < 0)
        return ERR_NOMEM;
    return av_dict_copy(&to->metadata, from->metadata, 0) < 0 ? ERR_NOMEM : ERR_OK;
}

static enum err add_tags(struct film_copy *c)
{
    const AVFormatContext *from = c->in.demuxer;
    if (av_dict_copy(&c->muxer->metadata, from->metadata, 0) < 0)
        return ERR_NOMEM;
    drop_form_tags(&c->muxer->metadata);
    c->muxer->chapters = av_calloc(from->nb_chapters + 1u, sizeof(*from->chapters));
    if (!c->muxer->chapters)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < from->nb_chapters; i++)
        e = add_chapter(c, from->chapters[i]);
    return e;
}

// What this container's writer would lose without a word.
static enum err check_geometry(const struct film_copy *c)
{
    const struct film *f = c->options.film;
    if (!is_matroska(c))
        return ERR_OK;
    const char *what = f->hidden_start              ? "hides its first pictures by an edit list"
                       : f->rotation || f->mirrored ? "is stored turned"
                                                    : NULL;
    if (!what)
        return ERR_OK;
    log_error("%s: the film %s, which a .mkv cannot say; choose a .mp4 or .mov output", f->path,
              what);
    return ERR_INPUT;
}

static enum err add_streams(struct film_copy *c)
{
    const AVFormatContext *from = c->in.demuxer;
    enum err e = check_geometry(c);
    for (unsigned i = 0; !e && i < from->nb_streams; i++)
        e = add_stream(c, from->streams[i]);
    if (!e)
        e = add_music(c);
    if (!e)
        e = add_tags(c);
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", c->options.film->path);
    return e;
}

static enum err open_output(struct film_copy *c)
{
    if (!c->options.path)
        return avio_open_dyn_buf(&c->muxer->pb) < 0 ? ERR_NOMEM : ERR_OK;
    char *url = av_asprintf("file:%s", c->options.path);
    if (!url)
        return ERR_NOMEM;
    const int r = avio_open(&c->muxer->pb, url, AVIO_FLAG_WRITE);
    av_free(url);
    if (r >= 0)
        return ERR_OK;
    log_error("%s: cannot create: %s", c->options.name, libav_log_reason(r));
    return ERR_CREATE;
}

// Apple's own kind of tags, as phones write them: of these and of others, MOV's writer keeps one kind.
static bool has_apple_tags(const AVDictionary *tags)
{
    return av_dict_get(tags, "com.apple.quicktime.", NULL, AV_DICT_IGNORE_SUFFIX) != NULL;
}

static enum err write_header(struct film_copy *c)
{
    AVDictionary *options = NULL;
    c->muxer->flags |= AVFMT_FLAG_BITEXACT; // the same film twice is the same file twice
    c->muxer->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    if (!is_matroska(c) && has_apple_tags(c->muxer->metadata))
        av_dict_set(&options, "movflags", "use_metadata_tags", 0);
    libav_log_forget();
    const int r = avformat_write_header(c->muxer, &options);
    av_dict_free(&options);
    if (r >= 0)
        return ERR_OK;
    const enum err e = err_from_libav(r, ERR_INPUT);
    log_error("%s: cannot be put into %s: %s%s", c->options.film->path,
              c->options.container->long_name, libav_log_reason(r),
              e == ERR_INPUT && !is_matroska(c) ? "; choose a .mkv output" : "");
    return e;
}

enum err film_copy_open(struct film_copy **out, const struct film_copy_options *options)
{
    enum err e = ERR_NOMEM;
    *out = NULL;
    struct film_copy *c = calloc(1, sizeof(*c));
    if (!c)
        goto fail;
    c->options = *options;
    c->packet = av_packet_alloc();
    c->music_packet = av_packet_alloc();
    avformat_alloc_output_context2(&c->muxer, options->container, NULL, NULL);
    if (!c->packet || !c->music_packet || !c->muxer)
        goto fail;
    e = film_input_open(&c->in, options->film->path);
    if (e)
        goto fail;
    c->in.demuxer->flags |= AVFMT_FLAG_GENPTS;
    c->shift_us = start_of(options->film, c->in.demuxer);
    c->stream_count = c->in.demuxer->nb_streams;
    c->streams = calloc(c->stream_count, sizeof(*c->streams));
    e = c->streams ? add_streams(c) : ERR_NOMEM;
    if (!e)
        e = open_output(c);
    if (!e)
        e = write_header(c);
    if (e)
        goto fail;
    *out = c;
    return ERR_OK;

fail:
    film_copy_close(&c);
    return e;
}

static void close_output(struct film_copy *c)
{
    if (!c->muxer)
        return;
    uint8_t *buffer = NULL;
    if (c->muxer->pb && !c->options.path) {
        avio_close_dyn_buf(c->muxer->pb, &buffer);
        av_free(buffer);
    } else if (c->muxer->pb) {
        avio_closep(&c->muxer->pb);
    }
    avformat_free_context(c->muxer);
}

void film_copy_close(struct film_copy **c)
{
    if (!*c)
        return;
    for (unsigned i = 0; (*c)->streams && i < (*c)->stream_count; i++) {
        text_track_destroy(&(*c)->streams[i].text);
        packet_queue_release(&(*c)->streams[i].early);
    }
    free((*c)->streams);
    close_output(*c);
    film_input_close(&(*c)->in);
    av_packet_free(&(*c)->packet);
    av_packet_free(&(*c)->music_packet);
    free(*c);
    *c = NULL;
}

static enum err fail_writing(const struct film_copy *c, int code)
{
    const bool full =
        code == AVERROR(ENOSPC) || code == AVERROR(EDQUOT) || code == AVERROR(EFBIG);
    log_error("%s: cannot write: %s%s", c->options.name, libav_log_reason(code),
              full ? "; make room on that disk or write elsewhere" : "");
    return err_from_libav(code, ERR_IO);
}

static enum err write_packet(struct film_copy *c, AVPacket *p)
{
    libav_log_forget();
    const int r = av_interleaved_write_frame(c->muxer, p);
    return r < 0 ? fail_writing(c, r) : ERR_OK;
}

static enum err next_music(struct film_copy *c, struct music_encoder *music)
{
    return music_encoder_next(music, c->music_packet, &c->have_music);
}

// Matroska's writer says how much of Opus comes too early, its readers take that off the time
// stamps, and FFmpeg before 6.0 does not add it to them.
static void add_codec_delay(const struct film_copy *c, const AVStream *to, AVPacket *p)
{
#if LIBAVFORMAT_VERSION_INT <= AV_VERSION_INT(59, 30, 100)
    const AVCodecParameters *par = to->codecpar;
    if (!is_matroska(c) || par->codec_id != AV_CODEC_ID_OPUS)
        return;
    const int64_t delay = av_rescale_q(par->initial_padding,
                                       (AVRational){ 1, DELIVERY_SAMPLE_RATE }, to->time_base);
    p->pts += p->pts != AV_NOPTS_VALUE ? delay : 0;
    p->dts += p->dts != AV_NOPTS_VALUE ? delay : 0;
#else
    (void) c, (void) to, (void) p;
#endif
}

// The music up to `us` of the new file, so that both arrive in step.
static enum err write_music_until(struct film_copy *c, struct music_encoder *music, int64_t us)
{
    const AVRational tick = { 1, DELIVERY_SAMPLE_RATE };
    enum err e = ERR_OK;
    while (!e && c->have_music &&
           av_compare_ts(c->music_packet->dts, tick, us, AV_TIME_BASE_Q) <= 0) {
        c->music_packet->stream_index = c->music->index;
        av_packet_rescale_ts(c->music_packet, tick, c->music->time_base);
        add_codec_delay(c, c->music, c->music_packet);
        e = write_packet(c, c->music_packet);
        if (!e)
            e = next_music(c, music);
    }
    return e;
}

// Time stamps that damage left out of order would stop the muxer. Equal ones do not stop
// Matroska's, whose milliseconds hold several packets of TrueHD.
static void mend_stamps(const struct film_copy *c, struct copied *to, AVPacket *p)
{
    const int step = c->options.container->flags & AVFMT_TS_NONSTRICT ? 0 : 1;
    if (p->dts == AV_NOPTS_VALUE)
        return;
    if (to->last_dts != AV_NOPTS_VALUE && p->dts < to->last_dts + step)
        p->dts = to->last_dts + step;
    if (p->pts != AV_NOPTS_VALUE && p->pts < p->dts)
        p->pts = p->dts;
    to->last_dts = p->dts;
}

static void restamp(const struct film_copy *c, struct copied *to, AVPacket *p)
{
    const AVRational from = c->in.demuxer->streams[p->stream_index]->time_base;
    const int64_t shift = av_rescale_q(c->shift_us, AV_TIME_BASE_Q, from);
    if (p->pts != AV_NOPTS_VALUE)
        p->pts -= shift;
    if (p->dts != AV_NOPTS_VALUE)
        p->dts -= shift;
    av_packet_rescale_ts(p, from, to->out->time_base);
    add_codec_delay(c, to->out, p);
    mend_stamps(c, to, p);
    p->stream_index = to->out->index;
    p->pos = -1;
}

static enum err write_copied(struct film_copy *c, struct music_encoder *music)
{
    AVPacket *p = c->packet;
    struct copied *to = &c->streams[p->stream_index];
    const AVStream *from = c->in.demuxer->streams[p->stream_index];
    enum err e = ERR_OK;
    if (packet_time(p) != AV_NOPTS_VALUE)
        e = write_music_until(c, music,
                              av_rescale_q(packet_time(p), from->time_base, AV_TIME_BASE_Q) -
                                  c->shift_us);
    if (e)
        return e;
    restamp(c, to, p);
    return write_packet(c, p);
}

// Matroska does not say when pictures are decoded, and what reads it finds that out some
// pictures late; the muxer's own guess fails where the first picture is not the first shown,
// in a film cut out of one with open groups of pictures. So the first ones are decoded one after
// another before the first whose time is known.
static enum err write_early(struct film_copy *c, struct copied *to, struct music_encoder *music)
{
    struct packet_queue *q = &to->early;
    const int64_t dts = q->count > 0 ? packet_queue_at(q, q->count - 1)->dts : AV_NOPTS_VALUE;
    enum err e = ERR_OK;
    to->begun = true;
    while (!e && q->count > 0) {
        packet_queue_pop(q, c->packet);
        AVPacket *p = c->packet;
        if (p->dts == AV_NOPTS_VALUE && dts != AV_NOPTS_VALUE)
            p->dts = dts - (int64_t) q->count * (p->duration > 0 ? p->duration : 1);
        e = write_copied(c, music);
    }
    return e;
}

static bool is_left_out(const struct copied *to, const AVPacket *p)
{
    const bool hidden_end = (p->flags & AV_PKT_FLAG_DISCARD) && p->dts > to->last_shown;
    return !to->out || to->out->codecpar->codec_type == AVMEDIA_TYPE_ATTACHMENT || hidden_end;
}

static enum err copy_packet(struct film_copy *c, struct music_encoder *music)
{
    AVPacket *p = c->packet;
    struct copied *to = &c->streams[p->stream_index];
    if (is_left_out(to, p))
        return ERR_OK;
    bool shown = true;
    const AVStream *from = c->in.demuxer->streams[p->stream_index];
    const enum AVMediaType kind = from->codecpar->codec_type;
    enum err e = kind == AVMEDIA_TYPE_VIDEO || kind == AVMEDIA_TYPE_AUDIO
                     ? stamps_follow(&to->stamps, c->options.film->path, from, p)
                     : ERR_OK;
    if (!e && to->text)
        e = text_track_convert(to->text, p, &shown);
    if (e || !shown)
        return e;
    if (to->begun)
        return write_copied(c, music);
    const bool known = p->dts != AV_NOPTS_VALUE;
    e = packet_queue_push(&to->early, p);
    if (!e && (known || to->early.count == MAX_EARLY))
        e = write_early(c, to, music);
    return e;
}

// A packet of the film; *got is false at its end. Damage is stepped over.
static enum err read_packet(struct film_copy *c, bool *got)
{
    int r = 0;
    for (int failures = 0; failures < MAX_READ_FAILURES; failures++) {
        r = av_read_frame(c->in.demuxer, c->packet);
        if (r >= 0 || r == AVERROR_EOF)
            break;
        if (r == AVERROR(ENOMEM))
            return ERR_NOMEM;
    }
    *got = r >= 0;
    // A subtitle file or a new track may appear in the middle of a transport stream.
    return ERR_OK;
}

static enum err copy_all(struct film_copy *c, struct music_encoder *music,
                         const struct media_hooks *hooks)
{
    bool got = true;
    for (;;) {
        if (media_cancelled(hooks))
            return ERR_STOP;
        enum err e = read_packet(c, &got);
        if (e || !got)
            return e;
        // A track that first appears in the middle has no place in the header.
        if ((unsigned) c->packet->stream_index < c->stream_count)
            e = copy_packet(c, music);
        av_packet_unref(c->packet);
        if (e)
            return e;
    }
}

static enum err finish(struct film_copy *c)
{
    libav_log_forget();
    int r = av_write_trailer(c->muxer);
    const int closed = avio_closep(&c->muxer->pb);
    r = r < 0 ? r : closed;
    return r < 0 ? fail_writing(c, r) : ERR_OK;
}

enum err film_copy_run(struct film_copy *c, struct music_encoder *music,
                       const struct media_hooks *hooks)
{
    enum err e = next_music(c, music);
    if (!e)
        e = copy_all(c, music, hooks);
    for (unsigned i = 0; !e && i < c->stream_count; i++)
        e = write_early(c, &c->streams[i], music);
    if (!e)
        e = write_music_until(c, music, INT64_MAX);
    return e ? e : finish(c);
}
