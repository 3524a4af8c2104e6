#include "common/media/track_writer.h"

#include <errno.h>
#include <libavutil/avstring.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/film_copy.h"
#include "common/media/mastering.h"
#include "common/media/music_encoder.h"
#include "common/media/wav_writer.h"
#include "common/media/written_check.h"

#define DEFAULT_BITRATE 256000
#define MAX_TRIALS 5
#define PEAK_TOLERANCE_DB 0.05 // of what is left after the last trial
#define LOUDNESS_TOLERANCE_LU 0.25

// What a file's ending stands for, and the codecs music may have there, the
// default first.
static const struct container {
    const char *ending, *muxer;
    const char *codecs[5];
} containers[] = {
    { ".mp4", "mp4", { "aac", "alac", "flac" } },
    { ".m4v", "mp4", { "aac", "alac", "flac" } },
    { ".mov", "mov", { "pcm_s24le", "aac", "alac" } },
    { ".mkv", "matroska", { "flac", "pcm_s24le", "alac", "opus" } },
};

static bool ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), e = strlen(ending);
    return n > e && !strcasecmp(path + n - e, ending);
}

static const struct container *find_container(const char *path)
{
    for (size_t i = 0; i < sizeof(containers) / sizeof(containers[0]); i++)
        if (ends_with(path, containers[i].ending))
            return &containers[i];
    return NULL;
}

static enum err check_codec(const struct container *to, const char *codec)
{
    for (int i = 0; to->codecs[i]; i++)
        if (!codec || !strcmp(codec, to->codecs[i]))
            return ERR_OK;
    char names[64] = "";
    for (int i = 0; to->codecs[i]; i++)
        av_strlcatf(names, sizeof(names), "%s%s", i ? ", " : "", to->codecs[i]);
    log_error("music in a %s file can be %s, not '%s'", to->ending, names, codec);
    return ERR_USAGE;
}

static enum err check_language(const char *language)
{
    if (!language)
        return ERR_OK;
    bool ok = strlen(language) == 3;
    for (const char *p = language; *p; p++)
        ok = ok && *p >= 'a' && *p <= 'z';
    if (ok)
        return ERR_OK;
    log_error("'%s' is no ISO 639-2 language code; use three small letters, as eng or zxx",
              language);
    return ERR_USAGE;
}

static enum err check_levels(const struct delivery *d)
{
    if (!(d->target_lufs <= 0 && d->target_lufs >= -70)) {
        log_error("a loudness of %g LUFS cannot be reached; use -70 to 0, as -14 or -23",
                  d->target_lufs);
        return ERR_USAGE;
    }
    if (!(d->ceiling_dbtp <= 0 && d->ceiling_dbtp >= -20)) {
        log_error("a true-peak ceiling of %g dBTP makes no sense; use -20 to 0, as -1",
                  d->ceiling_dbtp);
        return ERR_USAGE;
    }
    return ERR_OK;
}

static enum err check_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
    if (!directory)
        return ERR_NOMEM;
    const bool ok = access(directory, W_OK | X_OK) == 0;
    if (!ok)
        log_error("%s: cannot create: %s", path, strerror(errno));
    free(directory);
    return ok ? ERR_OK : ERR_CREATE;
}

// An output that is the film itself would be gone when something fails.
static enum err check_output(const struct film *film, const char *path)
{
    struct stat in, out;
    if (!path)
        return ERR_OK;
    if (stat(path, &out) < 0)
        return check_directory(path);
    if (stat(film->path, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino) {
        log_error("%s: the output is the film itself; give another name", path);
        return ERR_USAGE;
    }
    if (!S_ISREG(out.st_mode)) {
        log_error("%s: cannot create: it exists and is not a file", path);
        return ERR_CREATE;
    }
    return check_directory(path);
}

static enum err check_names(const struct film *film, const struct delivery *d)
{
    if (!d->film && !d->wav) {
        log_error("nothing to write: name a film or a WAV file");
        return ERR_USAGE;
    }
    if (d->film && !find_container(d->film)) {
        log_error("%s: what kind of file is that? End its name in .mp4, .mov or .mkv", d->film);
        return ERR_USAGE;
    }
    if (d->wav && !ends_with(d->wav, ".wav")) {
        log_error("%s: end its name in .wav", d->wav);
        return ERR_USAGE;
    }
    enum err e = check_output(film, d->film);
    if (!e)
        e = check_output(film, d->wav);
    return e;
}

static struct music_codec codec_of(const struct delivery *d)
{
    const char *name = d->codec  ? d->codec
                       : d->film ? find_container(d->film)->codecs[0]
                                 : "wav";
    return (struct music_codec){ .name = name,
                                 .bitrate = d->bitrate ? d->bitrate : DEFAULT_BITRATE };
}

static struct film_copy_options copy_options(const struct film *film, const struct delivery *d,
                                             const struct music_encoder *encoder,
                                             const char *path)
{
    return (struct film_copy_options){
        .film = film,
        .container = av_guess_format(find_container(d->film)->muxer, NULL, NULL),
        .audio = d->audio,
        .title = d->title ? d->title : "Underscore",
        .language = d->language ? d->language : "zxx",
        .music = music_encoder_context(encoder),
        .path = path,
        .name = d->film,
    };
}

// Would the film's streams and the music fit? Found out by trying.
static enum err check_fit(const struct film *film, const struct delivery *d)
{
    const struct music_codec codec = codec_of(d);
    struct music_encoder *encoder;
    enum err e = music_encoder_create(&encoder, &codec, NULL);
    if (e)
        return e;
    const struct film_copy_options options = copy_options(film, d, encoder, NULL);
    struct film_copy *copy = NULL;
    if (options.container) {
        e = film_copy_open(&copy, &options);
    } else {
        log_error("this FFmpeg cannot write %s files", find_container(d->film)->ending);
        e = ERR_UNAVAILABLE;
    }
    film_copy_close(&copy);
    music_encoder_destroy(&encoder);
    return e;
}

enum err track_writer_check(const struct film *film, const struct delivery *d)
{
    enum err e = check_names(film, d);
    if (!e)
        e = check_language(d->language);
    if (!e)
        e = check_levels(d);
    if (!e && d->film)
        e = check_codec(find_container(d->film), d->codec);
    if (!e && d->film)
        e = check_fit(film, d);
    return e;
}

// Lower the ceiling, mend the loudness, until what a player decodes is right.
static enum err settle_level(struct master *m, struct music_stream *music,
                             const struct music_codec *codec,
                             const struct master_target *target)
{
    bool again = music_codec_is_lossy(codec->name);
    enum err e = ERR_OK;
    for (int trial = 0; !e && again && trial < MAX_TRIALS; trial++) {
        struct loudness decoded;
        e = music_encoder_trial(&decoded, codec, music, &m->level);
        if (!e)
            e = master_correct(m, music, target, &decoded, &again);
    }
    return e;
}

static enum err copy_film(const struct film *film, const struct delivery *d,
                          struct music_stream *music, const struct music_codec *codec,
                          const char *path, const struct media_hooks *hooks)
{
    struct music_encoder *encoder;
    struct film_copy *copy = NULL;
    enum err e = music_encoder_create(&encoder, codec, music);
    if (e)
        return e;
    const struct film_copy_options options = copy_options(film, d, encoder, path);
    e = film_copy_open(&copy, &options);
    if (!e)
        e = film_copy_run(copy, encoder, hooks);
    film_copy_close(&copy);
    music_encoder_destroy(&encoder);
    return e;
}

static enum err write_film(const struct film *film, const struct delivery *d,
                           struct music_stream *music, const struct music_codec *codec,
                           const struct master *master, const struct media_hooks *hooks,
                           struct delivery_report *report)
{
    char *temporary = file_temporary_name(d->film);
    if (!temporary) {
        log_error("%s: out of memory", d->film);
        return ERR_NOMEM;
    }
    enum err e = music_stream_start(music, &master->level);
    if (!e)
        e = copy_film(film, d, music, codec, temporary, hooks);
    if (!e) {
        const struct written_film written = {
            .path = temporary,
            .name = d->film,
            .film = film,
            .audio = d->audio,
            .lead = codec->lead,
            .samples = music_stream_samples(music),
            .exact = !music_codec_is_lossy(codec->name),
            .hooks = hooks,
        };
        struct written_music found;
        e = written_check(&written, &found);
        report->after = found.loudness;
        report->track = found.track;
        report->streams = found.streams;
    }
    if (!e)
        e = file_publish(temporary, d->film);
    else
        unlink(temporary);
    free(temporary);
    return e;
}

static void tell_level(const struct delivery_report *r, const struct master_target *target)
{
    const double off = r->after.integrated_lufs - target->lufs;
    if (!target->keep_loudness && isfinite(r->after.integrated_lufs) &&
        fabs(off) > LOUDNESS_TOLERANCE_LU)
        log_warn(
            "the music is at %.1f LUFS, not %.1f: more would pass the ceiling of %.1f dBTP",
            r->after.integrated_lufs, target->lufs, target->ceiling_dbtp);
    if (r->after.true_peak_dbtp > target->ceiling_dbtp + PEAK_TOLERANCE_DB)
        log_warn("the music's true peak is %.2f dBTP after coding, above %.1f dBTP; "
                 "another codec would keep it",
                 r->after.true_peak_dbtp, target->ceiling_dbtp);
}

static struct master_target target_of(const struct delivery *d)
{
    return (struct master_target){
        .keep_loudness = d->keep_loudness,
        .lufs = d->target_lufs != 0 ? d->target_lufs : DELIVERY_DEFAULT_LUFS,
        .ceiling_dbtp = d->ceiling_dbtp != 0 ? d->ceiling_dbtp : DELIVERY_DEFAULT_DBTP,
    };
}

static void fill_report(struct delivery_report *r, const struct delivery *d,
                        const struct music_stream *music, const struct music_codec *codec,
                        const struct master *m)
{
    r->before = m->before;
    r->gain_db = m->level.gain_db;
    r->limiter_db = m->reduction_db;
    r->ceiling_dbtp = m->level.limited ? m->level.ceiling_dbtp : target_of(d).ceiling_dbtp;
    r->samples = music_stream_samples(music);
    av_strlcpy(r->codec, d->film ? codec->name : "pcm_s24le", sizeof(r->codec));
    av_strlcpy(r->container, d->film ? find_container(d->film)->muxer : "wav",
               sizeof(r->container));
}

static enum err deliver(const struct film *film, const struct delivery *d,
                        struct music_stream *music, const struct media_hooks *hooks,
                        struct delivery_report *report)
{
    const struct master_target target = target_of(d);
    struct music_codec codec = codec_of(d);
    struct master master;
    enum err e = d->film ? film_copy_lead(film, &codec.lead) : ERR_OK;
    if (!e)
        e = master_find(&master, music, &target);
    if (!e && d->film)
        e = settle_level(&master, music, &codec, &target);
    if (e)
        return e;
    fill_report(report, d, music, &codec, &master);
    if (d->wav)
        e = wav_write(d->wav, music, &master.level, &report->after);
    if (!e && d->film) {
        e = write_film(film, d, music, &codec, &master, hooks, report);
        if (e && d->wav)
            unlink(d->wav); // both or neither
    }
    if (!e)
        tell_level(report, &target);
    return e;
}

enum err track_writer_run(const struct film *film, const struct delivery *d,
                          struct pcm_source *music, const struct media_hooks *hooks,
                          struct delivery_report *report)
{
    *report = (struct delivery_report){ 0 };
    enum err e = track_writer_check(film, d);
    if (e)
        return e;
    struct music_stream *stream;
    e = music_stream_create(&stream, music, film_samples(film, DELIVERY_SAMPLE_RATE), hooks);
    if (e)
        return e;
    e = deliver(film, d, stream, hooks, report);
    music_stream_destroy(&stream);
    return e;
}
