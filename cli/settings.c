#include "cli/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/scenes.h"

static void copy_table(struct option_spec *to, const struct option_spec *from, size_t n)
{
    memcpy(to, from, n * sizeof(*from));
    to[n] = (struct option_spec){ 0 };
}

#define COPY_TABLE(to, from)                                                                   \
    _Static_assert(sizeof(from) / sizeof(*(from)) < SETTINGS_MAX_SPECS, "SETTINGS_MAX_SPECS"); \
    copy_table(to, from, sizeof(from) / sizeof(*(from)))

void plan_table(struct plan_options *p, struct option_spec *specs)
{
    static const char *const cuts[] = { "scene", "none", NULL };
    *p = (struct plan_options){
        -1, -1, -1, -1, -1, PLAN_CUT_SCENE, 0, SCENES_DEFAULT_THRESHOLD
    };
    const struct option_spec table[] = {
        { .name = "Cues and segments", .kind = OPTION_HEADING },
        { .name = "cut",
          .kind = OPTION_CHOICE,
          .target = &p->cut,
          .value = "HOW",
          .choices = cuts,
          .help = "new cues at scene changes (default), or one cue" },
        { .name = "min-cue",
          .kind = OPTION_SECONDS,
          .target = &p->min_cue_ms,
          .value = "TIME",
          .min = 1,
          .max = 86400,
          .help = "shortest cue (8)" },
        { .name = "max-cue",
          .kind = OPTION_SECONDS,
          .target = &p->max_cue_ms,
          .value = "TIME",
          .min = 1,
          .max = 86400,
          .help = "longest cue (180)" },
        { .name = "segment",
          .kind = OPTION_SECONDS,
          .target = &p->segment_ms,
          .value = "TIME",
          .min = 0.1,
          .max = 86400,
          .help = "window the model composes at once (30, or the model's own limit)" },
        { .name = "overlap",
          .kind = OPTION_SECONDS,
          .target = &p->overlap_ms,
          .value = "TIME",
          .min = 0.02,
          .max = 86400,
          .help = "of it, what it hears of the segment before (10)" },
        { .name = "crossfade",
          .kind = OPTION_SECONDS,
          .target = &p->crossfade_ms,
          .value = "TIME",
          .max = 3600,
          .help = "between cues (2)" },
        { .name = "scene-threshold",
          .kind = OPTION_NUMBER,
          .target = &p->scene_threshold,
          .value = "PERCENT",
          .min = 0.1,
          .max = 100,
          .help = "how much must change for a scene change (10)" },
        { .name = "seed",
          .kind = OPTION_SEED,
          .target = &p->seed,
          .value = "N",
          .help = "another seed, another music; the same seed, the same (0)" },
    };
    COPY_TABLE(specs, table);
}

void model_table(struct model_options *m, struct option_spec *specs)
{
    *m = (struct model_options){
        .temperature = 1.0,
        .top_k = 250,
        .guidance = -1.0,
    };
    const struct option_spec table[] = {
        { .name = "Model and device", .kind = OPTION_HEADING },
        { .name = "model",
          .letter = 'm',
          .kind = OPTION_STRING,
          .target = &m->model,
          .value = "FILE",
          .help = "as `import` writes it ($UNDERSCORE_MODEL, else the built-in one)" },
        { .name = "device",
          .letter = 'd',
          .kind = OPTION_STRING,
          .target = &m->device,
          .value = "WHICH",
          .help = "index, name or UUID, as `underscore devices` lists them (the best)" },
        { .name = "memory",
          .kind = OPTION_BYTES,
          .target = &m->memory,
          .value = "SIZE",
          .help = "device memory to use at most (what the driver says is free)" },
        { .name = "batch",
          .kind = OPTION_INT,
          .target = &m->batch,
          .value = "N",
          .max = 256,
          .help = "segments composed side by side (0: as many as fit)" },
        { .name = "temperature",
          .kind = OPTION_NUMBER,
          .target = &m->temperature,
          .value = "T",
          .max = 100,
          .help = "of the draws; 0 always takes the likeliest (1)" },
        { .name = "top-k",
          .kind = OPTION_INT,
          .target = &m->top_k,
          .value = "K",
          .max = 1 << 30,
          .help = "draw among the K likeliest; 0: among all (250)" },
        { .name = "top-p",
          .kind = OPTION_NUMBER,
          .target = &m->top_p,
          .value = "P",
          .max = 1,
          .help = "draw among the likeliest that make up P; wins over --top-k" },
        { .name = "guidance",
          .kind = OPTION_NUMBER,
          .target = &m->guidance,
          .value = "G",
          .max = 100,
          .help = "how strongly the picture leads (the model's own, 3)" },
        { .name = "cache-dir",
          .kind = OPTION_STRING,
          .target = &m->cache_dir,
          .value = "DIR",
          .help = "for compiled kernels (~/.cache/underscore)" },
        { .name = "validate",
          .kind = OPTION_FLAG,
          .target = &m->validate,
          .help = "run under the Vulkan validation layers, slowly" },
    };
    COPY_TABLE(specs, table);
}

void delivery_table(struct delivery_options *d, struct option_spec *specs)
{
    static const char *const audio[] = { "add", "replace", NULL };
    *d = (struct delivery_options){ .loudness = "-14",
                                    .ceiling = DELIVERY_DEFAULT_DBTP,
                                    .bitrate = 256 };
    const struct option_spec table[] = {
        { .name = "Delivery", .kind = OPTION_HEADING },
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &d->output,
          .value = "FILE",
          .help = "the scored film: .mp4, .mov or .mkv" },
        { .name = "wav",
          .kind = OPTION_STRING,
          .target = &d->wav,
          .value = "FILE",
          .help = "the music alone, 24-bit 48 kHz" },
        { .name = "audio",
          .kind = OPTION_CHOICE,
          .target = &d->audio,
          .value = "HOW",
          .choices = audio,
          .help = "beside the film's own audio (default), or instead of it" },
        { .name = "loudness",
          .kind = OPTION_STRING,
          .target = &d->loudness,
          .value = "LUFS",
          .help = "integrated, EBU R 128; or \"none\" (-14)" },
        { .name = "ceiling",
          .kind = OPTION_NUMBER,
          .target = &d->ceiling,
          .value = "DBTP",
          .min = -20,
          .max = -0.1,
          .help = "true peak at most (-1)" },
        { .name = "audio-codec",
          .kind = OPTION_STRING,
          .target = &d->codec,
          .value = "NAME",
          .help = "MP4: aac, alac, flac; MOV: pcm_s24le, aac, alac;\n"
                  "MKV: flac, pcm_s24le, alac, opus (the first of them)" },
        { .name = "bitrate",
          .kind = OPTION_INT,
          .target = &d->bitrate,
          .value = "KBIT",
          .min = 32,
          .max = 512,
          .help = "of aac and opus (256)" },
        { .name = "title",
          .kind = OPTION_STRING,
          .target = &d->title,
          .value = "TEXT",
          .help = "of the music track (Underscore)" },
        { .name = "language",
          .kind = OPTION_STRING,
          .target = &d->language,
          .value = "CODE",
          .help = "of the music track, ISO 639-2 (zxx: no words)" },
        { .name = "report",
          .kind = OPTION_STRING,
          .target = &d->report,
          .value = "FILE.json",
          .help =
              "all that is needed to make the same music again, and all that was measured" },
        { .name = "report-html",
          .kind = OPTION_STRING,
          .target = &d->page,
          .value = "FILE.html",
          .help = "a page to look at: the film with its music, the cues, what was measured" },
        { .name = "overwrite",
          .letter = 'y',
          .kind = OPTION_FLAG,
          .target = &d->overwrite,
          .help = "replace outputs that exist" },
    };
    COPY_TABLE(specs, table);
}

struct plan_model plan_model_of(const struct model_config *c)
{
    return (struct plan_model){
        .sample_rate = c->codec.sample_rate,
        .hop = codec_hop(&c->codec),
        .max_duration_ms = (int64_t) (c->lm.max_duration_s * 1000),
    };
}

static void set_if(int64_t *to, int64_t from)
{
    if (from >= 0)
        *to = from;
}

struct plan_settings plan_settings_from(const struct plan_options *p,
                                        const struct plan_model *m)
{
    struct plan_settings s = plan_settings_default(m);
    set_if(&s.segment_ms, p->segment_ms);
    set_if(&s.overlap_ms, p->overlap_ms);
    set_if(&s.crossfade_ms, p->crossfade_ms);
    set_if(&s.min_cue_ms, p->min_cue_ms);
    set_if(&s.max_cue_ms, p->max_cue_ms);
    s.cut = p->cut ? PLAN_CUT_NONE : PLAN_CUT_SCENE;
    s.seed = p->seed;
    return s;
}

enum err delivery_from(struct delivery *out, const struct delivery_options *d)
{
    *out = (struct delivery){
        .film = d->output,
        .wav = d->wav,
        .audio = d->audio ? FILM_AUDIO_REPLACE : FILM_AUDIO_ADD,
        .ceiling_dbtp = d->ceiling,
        .codec = d->codec,
        .bitrate = (uint32_t) d->bitrate * 1000,
        .title = d->title,
        .language = d->language,
    };
    if (!d->output && !d->wav) {
        log_error("where to? -o FILE.mp4 (or .mov, .mkv), or --wav FILE.wav");
        return ERR_USAGE;
    }
    if (!strcmp(d->loudness, "none")) {
        out->keep_loudness = true;
        return ERR_OK;
    }
    char *end;
    out->target_lufs = strtod(d->loudness, &end);
    if (*end || !(out->target_lufs >= -70 && out->target_lufs <= -5)) {
        log_error("--loudness %s: must be a number from -70 to -5, or none", d->loudness);
        return ERR_USAGE;
    }
    return ERR_OK;
}

static char *default_cache_dir(void)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    if (xdg && *xdg == '/') {
        if (asprintf(&path, "%s/underscore", xdg) < 0)
            return NULL;
    } else if (home && *home == '/') {
        if (asprintf(&path, "%s/.cache/underscore", home) < 0)
            return NULL;
    }
    return path;
}

enum err device_open_for(struct device **out, const struct model_options *m)
{
    char *cache = m->cache_dir ? strdup(m->cache_dir) : default_cache_dir();
    const enum err e = device_open(out, &(struct device_params){
                                            .select = m->device,
                                            .memory_limit = m->memory,
                                            .validation = m->validate,
                                            .cache_dir = cache,
                                        });
    free(cache);
    if (e)
        return e;
    const struct device_facts *f = device_facts(*out);
    if (f->kind == DEVICE_CPU && !m->device)
        log_info("no GPU here: composing on the CPU through %s, slowly", f->name);
    return ERR_OK;
}
