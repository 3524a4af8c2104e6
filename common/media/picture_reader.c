#include "common/media/picture_reader.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"
#include "common/media/packet_queue.h"

// Reading ahead stops here; what is left unknown is decoded.
#define AHEAD_BYTES (32u << 20)
#define SLOW_DOWN_S 10
// So many failures to read in a row are the end of the film.
#define MAX_READ_FAILURES 64

struct picture_reader {
    const struct film *film;
    struct picture_options options;
    struct film_input in;
    struct packet_queue ahead;
    AVPacket *packet;
    AVFrame *frame;
    bool file_ended, drained;
    int threads;
    int64_t resume_after; // give only pictures after this one
    bool plannable;       // every packet so far had both time stamps
    struct stamp_watch stamps;
    int64_t newest; // dts of the last packet read: later ones are shown no earlier
    int64_t shown;  // ticks of the last picture given
    int64_t began;  // ticks of the key picture where decoding began
    int read_failures;
    uint64_t damaged;
    int64_t damage_read; // dts up to which damage in the file was counted
};

enum err picture_reader_open(struct picture_reader **out, const struct film *film,
                             const struct picture_options *options)
{
    enum err e = ERR_NOMEM;
    *out = NULL;
    struct picture_reader *r = calloc(1, sizeof(*r));
    if (!r)
        goto fail;
    r->film = film;
    r->options = *options;
    r->packet = av_packet_alloc();
    r->frame = av_frame_alloc();
    r->threads = film_input_threads();
    r->damage_read = INT64_MIN;
    if (!r->packet || !r->frame)
        goto fail;
    e = picture_reader_seek(r, INT64_MIN, 0);
    if (e)
        goto fail;
    *out = r;
    return ERR_OK;

fail:
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", film->path);
    picture_reader_close(&r);
    return e;
}

void picture_reader_close(struct picture_reader **r)
{
    if (!*r)
        return;
    packet_queue_release(&(*r)->ahead);
    film_input_close(&(*r)->in);
    av_packet_free(&(*r)->packet);
    av_frame_free(&(*r)->frame);
    free(*r);
    *r = NULL;
}

int64_t picture_reader_position(const struct picture_reader *r)
{
    return r->newest;
}

int64_t picture_reader_began(const struct picture_reader *r)
{
    return r->began;
}

uint64_t picture_reader_damaged(const struct picture_reader *r)
{
    return r->damaged;
}

static double film_seconds(const struct picture_reader *r, int64_t ticks)
{
    return (double) (ticks - r->film->origin) * r->film->tick_num / r->film->tick_den;
}

static void count_damage(struct picture_reader *r)
{
    if (r->damaged++ > 0)
        return;
    log_warn("%s: damaged pictures near %.1f s; going on with the last good one", r->film->path,
             r->shown == AV_NOPTS_VALUE ? 0 : film_seconds(r, r->shown));
}

// Damage that the demuxer found. The same place may be read again.
static void count_damage_read(struct picture_reader *r)
{
    if (r->newest == AV_NOPTS_VALUE || r->newest <= r->damage_read)
        return;
    r->damage_read = r->newest;
    count_damage(r);
}

// Damage that the decoder found. With more than one thread it only shows that
// one is to be taken.
static void note_damage_decoded(struct picture_reader *r)
{
    if (r->threads > 1)
        atomic_fetch_add(&r->in.complaints.errors, 1);
    else
        count_damage(r);
}

static void forget_position(struct picture_reader *r)
{
    packet_queue_drop(&r->ahead, r->ahead.count);
    r->file_ended = r->drained = false;
    r->newest = r->shown = AV_NOPTS_VALUE;
    r->stamps = (struct stamp_watch){ AV_NOPTS_VALUE, 0 };
    r->began = INT64_MIN;
    r->read_failures = 0;
}

static enum err note_read_failure(struct picture_reader *r, int code)
{
    if (code == AVERROR(ENOMEM))
        return ERR_NOMEM;
    if (code != AVERROR_EOF && ++r->read_failures < MAX_READ_FAILURES)
        count_damage_read(r);
    else
        r->file_ended = true;
    return ERR_OK;
}

// Read one packet of the picture onto the end of the queue.
static enum err read_ahead(struct picture_reader *r)
{
    if (media_cancelled(r->options.hooks))
        return ERR_STOP;
    libav_log_forget();
    const int code = av_read_frame(r->in.demuxer, r->packet);
    if (code < 0)
        return note_read_failure(r, code);
    const bool spoilt = libav_log_demuxer_failed() || (r->packet->flags & AV_PKT_FLAG_CORRUPT);
    r->read_failures = 0;
    if (r->packet->stream_index != r->in.picture->index) {
        av_packet_unref(r->packet);
        return ERR_OK;
    }
    if (r->packet->pts == AV_NOPTS_VALUE || r->packet->dts == AV_NOPTS_VALUE)
        r->plannable = false;
    const int64_t newest = r->packet->dts != AV_NOPTS_VALUE ? r->packet->dts : r->packet->pts;
    if (newest != AV_NOPTS_VALUE)
        r->newest = newest;
    if (spoilt)
        count_damage_read(r);
    const enum err e = stamps_follow(&r->stamps, r->film->path, r->in.picture, r->packet);
    return e ? e : packet_queue_push(&r->ahead, r->packet);
}

static bool can_read_ahead(const struct picture_reader *r)
{
    return !r->file_ended && r->ahead.bytes < AHEAD_BYTES;
}

static bool is_shown(const AVPacket *p)
{
    return !(p->flags & AV_PKT_FLAG_DISCARD);
}

// When the picture shown after `ticks` comes on, as far as the queue tells.
static int64_t next_shown(const struct picture_reader *r, int64_t ticks)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < r->ahead.count; i++) {
        const AVPacket *p = packet_queue_at(&r->ahead, i);
        if (is_shown(p) && p->pts > ticks && p->pts < next)
            next = p->pts;
    }
    return next;
}

// May the front packet be skipped? Only when it is known what follows it on the
// screen, and when no other picture needs it (the decoder sees to that).
static enum err front_is_wanted(struct picture_reader *r, bool *wanted)
{
    *wanted = true;
    const int64_t from = packet_queue_at(&r->ahead, 0)->pts;
    if (!r->options.wanted || !r->plannable)
        return ERR_OK;
    int64_t to = next_shown(r, from);
    while (r->newest < to && can_read_ahead(r)) {
        const enum err e = read_ahead(r);
        if (e)
            return e;
        to = next_shown(r, from);
    }
    if (r->plannable && (r->newest >= to || r->file_ended))
        *wanted = r->options.wanted(r->options.user, from, to);
    return ERR_OK;
}

// Pictures that are decoded after a key picture and shown before it may need
// what lies before both: unknown after a seek.
static bool leads(const struct picture_reader *r, const AVPacket *p)
{
    return p->pts != AV_NOPTS_VALUE && p->pts < r->began;
}

// Have a packet at the front of the queue, if there are any left.
static enum err have_front(struct picture_reader *r)
{
    for (;;) {
        while (r->ahead.count > 0 && leads(r, packet_queue_at(&r->ahead, 0)))
            packet_queue_drop(&r->ahead, 1);
        if (r->ahead.count > 0 || r->file_ended)
            return ERR_OK;
        const enum err e = read_ahead(r);
        if (e)
            return e;
    }
}

static enum err feed(struct picture_reader *r)
{
    bool wanted = true;
    enum err e = have_front(r);
    if (e)
        return e;
    if (r->ahead.count == 0) {
        r->drained = true;
        avcodec_send_packet(r->in.decoder, NULL);
        return ERR_OK;
    }
    e = front_is_wanted(r, &wanted);
    if (e)
        return e;
    packet_queue_pop(&r->ahead, r->packet);
    r->in.decoder->skip_frame = wanted ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
    r->in.decoder->skip_loop_filter = r->options.rough ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
    const int code = avcodec_send_packet(r->in.decoder, r->packet);
    av_packet_unref(r->packet);
    if (code == AVERROR(ENOMEM))
        return ERR_NOMEM;
    if (code < 0 && code != AVERROR_EOF)
        note_damage_decoded(r);
    return ERR_OK;
}

// One picture out of the decoder, if it has one now.
static enum err take(struct picture_reader *r, bool *got, bool *ended)
{
    const int code = avcodec_receive_frame(r->in.decoder, r->frame);
    *got = code >= 0;
    *ended = code == AVERROR_EOF;
    if (code == AVERROR(ENOMEM))
        return ERR_NOMEM;
    if (code < 0 && code != AVERROR(EAGAIN) && code != AVERROR_EOF)
        note_damage_decoded(r);
    if (*got && picture_is_damaged(r->frame))
        note_damage_decoded(r);
    return ERR_OK;
}

static int64_t picture_time(const struct picture_reader *r, const AVFrame *f)
{
    if (f->best_effort_timestamp != AV_NOPTS_VALUE)
        return f->best_effort_timestamp;
    return r->shown == AV_NOPTS_VALUE ? r->film->origin : r->shown + film_usual_ticks(r->film);
}

enum err picture_reader_skip_to(struct picture_reader *r, int64_t ticks)
{
    size_t seen = 0;
    bool skipped = false;
    while (r->plannable) {
        for (; seen < r->ahead.count; seen++) {
            const AVPacket *p = packet_queue_at(&r->ahead, seen);
            if (seen == 0 || !(p->flags & AV_PKT_FLAG_KEY) || !is_shown(p) ||
                p->pts == AV_NOPTS_VALUE || p->pts > ticks)
                continue;
            packet_queue_drop(&r->ahead, seen);
            seen = 0;
            skipped = true;
        }
        if (r->newest > ticks || !can_read_ahead(r))
            break;
        const enum err e = read_ahead(r);
        if (e)
            return e;
    }
    if (skipped) {
        r->began = packet_queue_at(&r->ahead, 0)->pts;
        avcodec_flush_buffers(r->in.decoder);
    }
    return ERR_OK;
}

static enum err reopen(struct picture_reader *r)
{
    film_input_close(&r->in);
    enum err e = film_input_open(&r->in, r->film->path);
    if (e)
        return e;
    if (r->film->picture >= r->in.demuxer->nb_streams) {
        log_error("%s: the file changed while it was read", r->film->path);
        return ERR_INPUT;
    }
    r->in.picture = r->in.demuxer->streams[r->film->picture];
    film_input_only(&r->in, r->film->picture);
    r->plannable = true;
    return film_input_decode(&r->in, r->threads);
}

// Read up to the first packet at which decoding can begin.
static enum err read_to_key(struct picture_reader *r)
{
    while (!r->file_ended) {
        const enum err e = read_ahead(r);
        if (e)
            return e;
        if (r->ahead.count == 0)
            continue;
        if (packet_queue_at(&r->ahead, 0)->flags & AV_PKT_FLAG_KEY)
            return ERR_OK;
        packet_queue_drop(&r->ahead, 1);
    }
    return ERR_OK;
}

// Seek and see where that led. Containers index by decoding time, or by bytes:
// the key picture found may be a later one.
static enum err try_seek(struct picture_reader *r, int64_t target, int64_t ticks, bool *found)
{
    *found = false;
    if (av_seek_frame(r->in.demuxer, r->in.picture->index, target, AVSEEK_FLAG_BACKWARD) < 0)
        return ERR_OK;
    forget_position(r);
    avcodec_flush_buffers(r->in.decoder);
    const enum err e = read_to_key(r);
    if (!e && r->ahead.count > 0) {
        const int64_t t = packet_time(packet_queue_at(&r->ahead, 0));
        *found = t != AV_NOPTS_VALUE && t <= ticks;
        r->began = t;
    }
    return e;
}

static enum err seek(struct picture_reader *r, int64_t ticks, int64_t margin)
{
    const int64_t second = r->film->tick_den / r->film->tick_num + 1;
    for (int64_t back = margin; ticks > r->film->origin && ticks - back > r->film->origin;
         back = back ? 2 * back : second) {
        bool found = false;
        const enum err e = try_seek(r, ticks - back, ticks - margin, &found);
        if (e || found)
            return e;
    }
    forget_position(r);
    return reopen(r);
}

enum err picture_reader_seek(struct picture_reader *r, int64_t ticks, int64_t margin)
{
    r->resume_after = INT64_MIN;
    return seek(r, ticks, margin);
}

// Decode again with one thread from well before the last picture given, and go on
// after it.
static enum err slow_down(struct picture_reader *r)
{
    const int64_t given = r->shown, began = r->began;
    log_debug("%s: decoding with one thread from %.3f s on", r->film->path,
              given == AV_NOPTS_VALUE ? 0 : film_seconds(r, given));
    r->threads = 1;
    r->drained = false;
    avcodec_free_context(&r->in.decoder);
    const enum err e = film_input_decode(&r->in, 1);
    if (e)
        return e;
    // Far enough back that what is decoded here does not depend on how early
    // the complaint was heard.
    const int64_t margin = (int64_t) SLOW_DOWN_S * r->film->tick_den / r->film->tick_num;
    if (given != AV_NOPTS_VALUE)
        r->resume_after = given;
    else if (began != INT64_MIN)
        r->resume_after = began - 1;
    return seek(r, given != AV_NOPTS_VALUE ? given : began, margin);
}

static bool must_slow_down(const struct picture_reader *r)
{
    return r->threads > 1 && atomic_load(&r->in.complaints.errors) > 0;
}

enum err picture_reader_next(struct picture_reader *r, const AVFrame **out, int64_t *ticks)
{
    bool got = false, ended = false;
    *out = NULL;
    while (!got) {
        enum err e = take(r, &got, &ended);
        if (!e && (got || ended) && must_slow_down(r)) {
            e = slow_down(r);
            got = ended = false;
        }
        if (!e && ended)
            return ERR_OK;
        if (!e && !got && !r->drained)
            e = feed(r);
        if (e)
            return e;
        if (got) {
            r->shown = picture_time(r, r->frame);
            got = r->shown > r->resume_after;
        }
    }
    *ticks = r->shown;
    *out = r->frame;
    return ERR_OK;
}
