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
#define MAX_ATTEMPTS 3
#define CODER_HEADROOM_DB 1.0
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

const char *track_writer_ending(const char *film)
{
    return find_container(film) ? strrchr(film, '.') + 1 : "mkv";
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

static enum err check_names(const struct delivery *d)
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
    return ERR_OK;
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

enum err track_writer_check_settings(const struct film *film, const struct delivery *d)
{
    enum err e = check_names(d);
    if (!e)
        e = check_language(d->language);
    if (!e)
        e = check_levels(d);
    if (!e && d->film)
        e = check_codec(find_container(d->film), d->codec);
    if (!e && d->film && film)
        e = check_fit(film, d);
    return e;
}

enum err track_writer_check(const struct film *film, const struct delivery *d)
{
    enum err e = track_writer_check_settings(film, d);
    if (!e)
        e = check_output(film, d->film);
    if (!e)
        e = check_output(film, d->wav);
    return e;
}

// One delivery on its way.
struct job {
    const struct film *film;
    const struct delivery *d;
    const struct media_hooks *hooks;
    struct music_stream *music;
    struct music_codec codec;
    struct master_target target;
    struct master master;
    char *temporary; // the film until it is right
    struct delivery_report *report;
};

static struct master_target target_of(const struct delivery *d)
{
    return (struct master_target){
        .keep_loudness = d->keep_loudness,
        .lufs = d->target_lufs != 0 ? d->target_lufs : DELIVERY_DEFAULT_LUFS,
        .ceiling_dbtp = d->ceiling_dbtp != 0 ? d->ceiling_dbtp : DELIVERY_DEFAULT_DBTP,
    };
}

// A lossy coder adds peaks. Where there is no room for them it is tried first,
// so that the film need not be written twice.
static enum err expect_coder(struct job *j)
{
    if (!music_codec_is_lossy(j->codec.name) ||
        j->master.after.true_peak_dbtp < j->target.ceiling_dbtp - CODER_HEADROOM_DB)
        return ERR_OK;
    struct loudness decoded;
    bool changed = false;
    const enum err e = music_encoder_trial(&decoded, &j->codec, j->music, &j->master.level);
    return e ? e : master_correct(&j->master, j->music, &j->target, &decoded, &changed);
}

static enum err copy_film(struct job *j)
{
    struct music_encoder *encoder;
    struct film_copy *copy = NULL;
    enum err e = music_encoder_create(&encoder, &j->codec, j->music);
    if (e)
        return e;
    const struct film_copy_options options = copy_options(j->film, j->d, encoder, j->temporary);
    e = music_stream_start(j->music, &j->master.level, "delivering");
    if (!e)
        e = film_copy_open(&copy, &options);
    if (!e)
        e = film_copy_run(copy, encoder, j->hooks);
    film_copy_close(&copy);
    music_encoder_destroy(&encoder);
    return e;
}

static enum err check_film(struct job *j)
{
    const struct written_film written = {
        .path = j->temporary,
        .name = j->d->film,
        .film = j->film,
        .audio = j->d->audio,
        .lead = j->codec.lead,
        .samples = music_stream_samples(j->music),
        .exact = !music_codec_is_lossy(j->codec.name),
        .language = j->d->language,
        .hooks = j->hooks,
    };
    struct written_music found;
    const enum err e = written_check(&written, &found);
    j->report->after = found.loudness;
    j->report->track = found.track;
    j->report->streams = found.streams;
    return e;
}

// Write the film, and again under another level until what a player decodes is
// right.
static enum err write_film(struct job *j)
{
    bool again = true;
    enum err e = expect_coder(j);
    for (int attempt = 1; !e && again; attempt++) {
        e = copy_film(j);
        if (!e)
            e = check_film(j);
        again = music_codec_is_lossy(j->codec.name) && attempt < MAX_ATTEMPTS;
        if (!e && again)
            e = master_correct(&j->master, j->music, &j->target, &j->report->after, &again);
    }
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

static void fill_report(struct job *j)
{
    struct delivery_report *r = j->report;
    const struct master *m = &j->master;
    const bool in_film = j->d->film != NULL;
    r->before = m->before;
    r->gain_db = m->level.gain_db;
    r->limiter_db = m->reduction_db;
    r->ceiling_dbtp = m->level.limited ? m->level.ceiling_dbtp : j->target.ceiling_dbtp;
    r->samples = music_stream_samples(j->music);
    r->lead_s = (double) j->codec.lead / DELIVERY_SAMPLE_RATE;
    av_strlcpy(r->codec, in_film ? j->codec.name : "pcm_s24le", sizeof(r->codec));
    av_strlcpy(r->container, in_film ? find_container(j->d->film)->muxer : "wav",
               sizeof(r->container));
}

// Both files or neither.
static enum err publish(struct job *j)
{
    struct loudness *measured = j->d->film ? &(struct loudness){ 0 } : &j->report->after;
    enum err e = ERR_OK;
    if (j->d->wav)
        e = wav_write(j->d->wav, j->music, &j->master.level, measured);
    if (e || !j->d->film)
        return e;
    e = file_publish(j->temporary, j->d->film);
    if (e && j->d->wav)
        unlink(j->d->wav);
    return e;
}

static enum err deliver(struct job *j)
{
    enum err e = master_find(&j->master, j->music, &j->target);
    if (!e && j->d->film)
        e = film_copy_lead(j->film, &j->codec.lead);
    if (!e && j->d->film)
        e = write_film(j);
    if (!e)
        e = publish(j);
    if (e)
        return e;
    fill_report(j);
    tell_level(j->report, &j->target);
    return ERR_OK;
}

enum err track_writer_run(const struct film *film, const struct delivery *d,
                          struct pcm_source *music, const struct media_hooks *hooks,
                          struct delivery_report *report)
{
    *report = (struct delivery_report){ 0 };
    enum err e = track_writer_check(film, d);
    if (e)
        return e;
    struct job j = {
        .film = film,
        .d = d,
        .hooks = hooks,
        .codec = codec_of(d),
        .target = target_of(d),
        .temporary = file_temporary_name(d->film ? d->film : d->wav),
        .report = report,
    };
    if (!j.temporary) {
        log_error("%s: out of memory", film->path);
        return ERR_NOMEM;
    }
    e = music_stream_create(&j.music, music, film_samples(film, DELIVERY_SAMPLE_RATE), hooks);
    if (!e)
        e = deliver(&j);
    if (e && d->film)
        unlink(j.temporary);
    music_stream_destroy(&j.music);
    free(j.temporary);
    return e;
}

enum err track_writer_listen(struct music_stream **out, const struct film *film,
                             struct pcm_source *music, const struct delivery_report *report,
                             const struct media_hooks *hooks)
{
    const struct music_level level = {
        .gain_db = report->gain_db,
        .limited = report->limiter_db > 0,
        .ceiling_dbtp = report->ceiling_dbtp,
    };
    enum err e =
        music_stream_create(out, music, film_samples(film, DELIVERY_SAMPLE_RATE), hooks);
    if (!e)
        e = music_stream_start(*out, &level, "looking at it");
    if (e)
        music_stream_destroy(out);
    return e;
}
