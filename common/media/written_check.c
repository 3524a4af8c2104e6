#include "common/media/written_check.h"

#include <inttypes.h>
#include <libavutil/avstring.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/decoded_music.h"
#include "common/media/film_copy.h"
#include "common/media/film_input.h"

// What coarser time stamps may cost the picture's length.
#define DURATION_TOLERANCE_MS 2
// What a lossy coder may add at the end: its frame.
#define PADDING_SAMPLES 2048

static enum err differs(const struct written_film *w, const char *what, int64_t is,
                        int64_t should)
{
    log_error("%s: not kept, it came out wrong: %s is %" PRId64 ", not %" PRId64
              "; the film cannot be copied as it is, convert it first: ffmpeg -i FILM NEW.mkv",
              w->name, what, is, should);
    return ERR_INPUT;
}

static enum err check_film(const struct written_film *w, const struct film *is)
{
    const struct film *was = w->film;
    const int64_t one_frame_ms =
        was->frames_per_s > 0 ? (int64_t) (1000 / was->frames_per_s) : 40;
    const uint32_t audio = w->audio == FILM_AUDIO_ADD ? was->audio_tracks + 1 : 1;
    if (llabs(is->duration_ms - was->duration_ms) > one_frame_ms + DURATION_TOLERANCE_MS)
        return differs(w, "the picture's length in ms", is->duration_ms, was->duration_ms);
    if (is->width != was->width || is->height != was->height)
        return differs(w, "the picture's width", is->width, was->width);
    if (is->rotation != was->rotation)
        return differs(w, "the picture's rotation", is->rotation, was->rotation);
    if (is->audio_tracks != audio)
        return differs(w, "the number of sound tracks", is->audio_tracks, audio);
    if (is->chapters != was->chapters)
        return differs(w, "the number of chapters", is->chapters, was->chapters);
    return ERR_OK;
}

static void tell_progress(const struct written_film *w, uint64_t samples)
{
    const uint64_t all = w->lead + w->samples; // a lossy coder's end is padded
    media_progress(w->hooks,
                   (int64_t) ((samples < all ? samples : all) * 1000 / DELIVERY_SAMPLE_RATE),
                   (int64_t) (all * 1000 / DELIVERY_SAMPLE_RATE));
}

static enum err decode_track(const struct written_film *w, struct film_input *in, int track,
                             struct decoded_music *d, AVPacket *p)
{
    enum err e = ERR_OK;
    media_begin(w->hooks, "checking");
    while (!e && av_read_frame(in->demuxer, p) >= 0) {
        if (p->stream_index == track)
            e = decoded_music_add(d, p);
        tell_progress(w, decoded_music_samples(d));
        av_packet_unref(p);
        if (!e && media_cancelled(w->hooks))
            e = ERR_STOP;
    }
    if (!e)
        e = decoded_music_add(d, NULL);
    tell_progress(w, decoded_music_samples(d));
    return e;
}

static enum err check_length(const struct written_film *w, uint64_t samples)
{
    const uint64_t least = w->lead + w->samples;
    const uint64_t most = least + (w->exact ? 0 : PADDING_SAMPLES);
    if (samples < least || samples > most)
        return differs(w, "the music's length in samples", (int64_t) samples, (int64_t) least);
    return ERR_OK;
}

static enum err check_track(const struct written_film *w, struct film_input *in,
                            struct written_music *music)
{
    struct decoded_music *d = NULL;
    AVPacket *p = av_packet_alloc();
    enum err e = p ? ERR_OK : ERR_NOMEM;
    film_input_only(in, music->track);
    if (!e)
        e = decoded_music_create(&d, in->demuxer->streams[music->track]->codecpar, w->lead,
                                 w->samples);
    if (!e)
        e = decode_track(w, in, (int) music->track, d, p);
    if (!e)
        e = decoded_music_read(d, &music->loudness);
    if (!e)
        e = check_length(w, decoded_music_samples(d));
    decoded_music_destroy(&d);
    av_packet_free(&p);
    return e;
}

// The music is the last sound track.
static void find_music(const struct film_input *in, struct written_music *music)
{
    music->streams = in->demuxer->nb_streams;
    for (unsigned i = 0; i < music->streams; i++)
        if (in->demuxer->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_AUDIO)
            music->track = i;
}

// MOV has its own list of languages.
static void tell_lost_language(const struct written_film *w, const AVStream *music)
{
    const AVDictionaryEntry *e = av_dict_get(music->metadata, "language", NULL, 0);
    if (w->language && strcmp(w->language, "und") != 0 &&
        (!e || strcmp(e->value, w->language) != 0))
        log_warn("%s: this container cannot say the language '%s'", w->name, w->language);
}

// MP4 and MOV have lists of tags, too. The time code is kept as a track.
static void tell_lost_tags(const struct written_film *w, const AVDictionary *was,
                           const AVDictionary *is)
{
    char lost[256] = "";
    const AVDictionaryEntry *tag = NULL;
    while ((tag = av_dict_get(was, "", tag, AV_DICT_IGNORE_SUFFIX)))
        if (!film_copy_is_form_tag(tag->key) && strcmp(tag->key, "timecode") != 0 &&
            !av_dict_get(is, tag->key, NULL, 0))
            av_strlcatf(lost, sizeof(lost), "%s%s", *lost ? ", " : "", tag->key);
    if (*lost)
        log_warn("%s: this container has no place for the tags %s", w->name, lost);
}

// Tracks of a kind with all of these flags. The music, the last of its kind, is not counted.
static uint32_t count_tracks(const AVFormatContext *f, enum AVMediaType kind, int flags,
                             int64_t music)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < f->nb_streams; i++) {
        const AVStream *s = f->streams[i];
        n += s->codecpar->codec_type == kind && i != music &&
             !(s->disposition & AV_DISPOSITION_ATTACHED_PIC) &&
             (s->disposition & flags) == flags;
    }
    return n;
}

// What a player chooses tracks by. Of tracks that were left out more was said already.
static void tell_lost_roles(const struct written_film *w, const AVFormatContext *was,
                            const AVFormatContext *is, const struct written_music *music)
{
    static const int roles[] = {
        AV_DISPOSITION_ORIGINAL,      AV_DISPOSITION_DUB,
        AV_DISPOSITION_COMMENT,       AV_DISPOSITION_FORCED,
        AV_DISPOSITION_CAPTIONS,      AV_DISPOSITION_HEARING_IMPAIRED,
        AV_DISPOSITION_DESCRIPTIONS,  AV_DISPOSITION_VISUAL_IMPAIRED,
        AV_DISPOSITION_CLEAN_EFFECTS, AV_DISPOSITION_LYRICS,
        AV_DISPOSITION_KARAOKE,
    };
    static const enum AVMediaType kinds[] = { AVMEDIA_TYPE_VIDEO, AVMEDIA_TYPE_AUDIO,
                                              AVMEDIA_TYPE_SUBTITLE };
    char lost[256] = "";
    for (size_t r = 0; r < sizeof(roles) / sizeof(roles[0]); r++) {
        bool all = true;
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
            if (count_tracks(was, kinds[k], 0, -1) ==
                count_tracks(is, kinds[k], 0, music->track))
                all &= count_tracks(is, kinds[k], roles[r], music->track) >=
                       count_tracks(was, kinds[k], roles[r], -1);
        if (!all)
            av_strlcatf(lost, sizeof(lost), "%s%s", *lost ? ", " : "",
                        av_disposition_to_string(roles[r]));
    }
    if (*lost)
        log_warn("%s: this container cannot say of a track that it is: %s", w->name, lost);
}

static enum err tell_lost(const struct written_film *w, const AVFormatContext *is,
                          const struct written_music *music)
{
    struct film_input film;
    const enum err e = film_input_open(&film, w->film->path);
    if (!e) {
        tell_lost_tags(w, film.demuxer->metadata, is->metadata);
        tell_lost_roles(w, film.demuxer, is, music);
    }
    film_input_close(&film);
    return e;
}

enum err written_check(const struct written_film *w, struct written_music *music)
{
    *music = (struct written_music){ 0 };
    struct film again;
    enum err e = film_probe(&again, w->path);
    if (e)
        return e;
    e = check_film(w, &again);
    film_release(&again);
    struct film_input in = { 0 };
    if (!e)
        e = film_input_open(&in, w->path);
    if (!e) {
        find_music(&in, music);
        tell_lost_language(w, in.demuxer->streams[music->track]);
        e = tell_lost(w, in.demuxer, music);
    }
    if (!e)
        e = check_track(w, &in, music);
    film_input_close(&in);
    return e;
}
