#include "cli/finish_film.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/page.h"
#include "cli/progress.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/media/music_clip.h"
#include "common/parts/deliver.h"
#include "common/parts/parts.h"
#include "common/timeline/plan_json.h"

enum err output_check(const char *path, const struct film *film, bool overwrite)
{
    if (!path)
        return ERR_OK;
    if (file_is_same(path, film->path)) {
        log_error("%s: is the film itself; choose another output", path);
        return ERR_USAGE;
    }
    if (!overwrite && access(path, F_OK) == 0) {
        log_error("%s: exists; choose another name or say --overwrite", path);
        return ERR_CREATE;
    }
    // That it cannot be written is better known before the work than after it.
    struct out_file probe;
    const enum err e = out_file_open(&probe, path);
    if (!e)
        out_file_discard(&probe);
    file_remove_strays_of(path);
    return e;
}

// Whatever they are called: if they are one, so are their temporary files.
static enum err check_apart(const char *a, const char *b)
{
    struct out_file probe = { 0 };
    char *other = file_temporary_name(b);
    enum err e = other ? out_file_open(&probe, a) : ERR_NOMEM;
    if (!e && file_is_same(probe.temporary, other)) {
        log_error("%s: is named for two outputs; give each its own", a);
        e = ERR_USAGE;
    }
    out_file_discard(&probe);
    free(other);
    return e;
}

// Two outputs of one name: the second would take the place of the first.
static enum err check_distinct(const struct delivery_options *o)
{
    const char *const report = o->report && strcmp(o->report, "-") != 0 ? o->report : NULL;
    const char *const names[] = { o->output, o->wav, report, o->page };
    enum err e = ERR_OK;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        for (size_t k = 0; !e && k < i; k++)
            if (names[i] && names[k])
                e = check_apart(names[i], names[k]);
    return e;
}

enum err finish_check(const struct delivery_options *options, const struct film *film)
{
    struct delivery d;
    enum err e = delivery_from(&d, options);
    if (!e)
        e = output_check(d.film, film, options->overwrite);
    if (!e)
        e = output_check(d.wav, film, options->overwrite);
    if (!e && options->report && strcmp(options->report, "-") != 0)
        e = output_check(options->report, film, options->overwrite);
    if (!e)
        e = output_check(options->page, film, options->overwrite);
    if (!e)
        e = check_distinct(options);
    if (!e)
        e = track_writer_check(film, &d);
    return e;
}

static bool cancelled(void *user)
{
    (void) user;
    return interrupt_asked();
}

struct shown {
    struct progress bar;
    bool quiet;
};

static void on_begin(void *user, const char *what)
{
    struct shown *s = user;
    progress_begin(&s->bar, what, 0, s->quiet);
}

static void on_progress(void *user, int64_t done_ms, int64_t total_ms)
{
    struct shown *s = user;
    progress_update(&s->bar, (double) done_ms / 1000, (double) total_ms / 1000);
}

// Enough to look at on any screen; more where a long film is scrolled through.
static uint32_t picture_columns(const struct plan *p)
{
    const uint32_t n = 48 * p->cue_count;
    return n < 1200 ? 1200 : n > 4800 ? 4800 : n;
}

// One part for each cue, from cut to cut.
static uint64_t *cue_bounds(const struct plan *p, uint64_t samples)
{
    uint64_t *bounds = calloc((size_t) p->cue_count + 1, sizeof(*bounds));
    for (uint32_t i = 0; bounds && i < p->cue_count; i++) {
        const uint64_t at = (uint64_t) p->cues[i].cut_ms * DELIVERY_SAMPLE_RATE / 1000;
        bounds[i] = at < samples ? at : samples;
    }
    if (bounds)
        bounds[p->cue_count] = samples;
    return bounds;
}

static enum err look(const struct plan *p, struct music_stream *music,
                     struct finish_result *out)
{
    uint64_t *bounds = cue_bounds(p, music_stream_samples(music));
    const enum err e =
        bounds
            ? sound_picture_take(&out->sound, music,
                                 &(struct sound_picture_options){ .columns = picture_columns(p),
                                                                  .bands = 96,
                                                                  .parts = bounds,
                                                                  .part_count = p->cue_count })
            : ERR_NOMEM;
    free(bounds);
    return e;
}

// What was delivered, looked at, and kept for the page where that must play it.
static enum err listen(const struct plan *p, const struct film *film, struct pcm_source *source,
                       const struct delivery_options *options, const struct media_hooks *hooks,
                       struct finish_result *out)
{
    struct music_stream *music;
    enum err e = track_writer_listen(&music, film, source, &out->delivery, hooks);
    if (!e)
        e = look(p, music, out);
    music_stream_destroy(&music);
    if (e || !options->page || !page_wants_clip(film, options) ||
        music_clip_bytes(out->delivery.samples) > PAGE_MAX_BYTES)
        return e;
    e = track_writer_listen(&music, film, source, &out->delivery, hooks);
    if (!e)
        e = music_clip_make(&out->clip, music);
    music_stream_destroy(&music);
    return e;
}

static enum err keep_seams(const struct stitch *s, struct finish_result *out)
{
    const struct stitch_seam *seams = stitch_seams(s, &out->seam_count);
    const size_t bytes = out->seam_count * sizeof(*seams);
    stitch_steps(s, &out->usual_step, &out->largest_step);
    out->seams = stitch_seams_to_json(s);
    out->seam_list = malloc(bytes ? bytes : 1);
    if (!out->seams || !out->seam_list)
        return ERR_NOMEM;
    if (bytes)
        memcpy(out->seam_list, seams, bytes);
    return ERR_OK;
}

enum err finish_film(const struct plan *p, const char *directory, const struct film *film,
                     const struct delivery_options *options, bool quiet,
                     struct finish_result *out)
{
    *out = (struct finish_result){ 0 };
    const double start = clock_seconds();
    struct delivery delivery;
    struct parts_music music;
    struct shown shown = { .quiet = quiet };
    const struct media_hooks hooks = { cancelled, on_begin, on_progress, &shown };
    enum err e = delivery_from(&delivery, options);
    if (!e)
        e = parts_music_open(&music, p, directory);
    if (e)
        return e;
    e = track_writer_run(film, &delivery, &music.source, &hooks, &out->delivery);
    out->stitch_s = clock_seconds() - start;
    if (!e)
        e = keep_seams(music.stitch, out);
    if (!e)
        e = listen(p, film, &music.source, options, &hooks, out);
    progress_end(&shown.bar);
    parts_music_close(&music);
    return e;
}

void finish_result_release(struct finish_result *r)
{
    json_decref(r->seams);
    free(r->seam_list);
    sound_picture_release(&r->sound);
    media_bytes_release(&r->clip);
    *r = (struct finish_result){ 0 };
}

// JSON has no infinities: silence has no loudness.
static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *loudness_json(const struct loudness *l)
{
    return json_pack("{s:o, s:o, s:b}", "integrated_lufs", number(l->integrated_lufs),
                     "true_peak_dbtp", number(l->true_peak_dbtp), "short_signal",
                     l->short_signal);
}

static json_t *delivery_json(const struct finish_result *f)
{
    const struct delivery_report *d = &f->delivery;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:i, s:s, s:s, s:i, s:i}", "before",
                     loudness_json(&d->before), "after", loudness_json(&d->after), "gain_db",
                     number(d->gain_db), "limiter_db", number(d->limiter_db), "ceiling_dbtp",
                     number(d->ceiling_dbtp), "samples", (json_int_t) d->samples, "sample_rate",
                     DELIVERY_SAMPLE_RATE, "codec", d->codec, "container", d->container,
                     "track", (int) d->track, "streams", (int) d->streams);
}

// A path is any bytes, JSON is UTF-8.
static json_t *path_json(const char *path)
{
    const size_t room = 3 * strlen(path) + 1;
    char *clean = malloc(room);
    json_t *j = clean ? json_string(utf8_clean(clean, room, path, false)) : NULL;
    free(clean);
    return j;
}

static json_t *model_json(const struct job_model *m)
{
    const struct model_config *c = m->config;
    return json_pack(
        "{s:o, s:s, s:s, s:{s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i}}", "path",
        path_json(m->path), "sha256", m->sha256, "license", model_file_license(m->file), "lm",
        "dim", (int) c->lm.dim, "heads", (int) c->lm.heads, "layers", (int) c->lm.layers,
        "card", (int) c->lm.card, "vit", "width", (int) c->vit.width, "layers",
        (int) c->vit.layers, "image", (int) c->vit.image, "codec", "sample_rate",
        (int) c->codec.sample_rate, "hop", (int) codec_hop(&c->codec), "codebooks",
        (int) c->codec.codebooks);
}

static json_t *sampling_json(const struct job_model *m, const struct model_options *o)
{
    return json_pack("{s:o, s:I, s:o, s:o}", "temperature", number(o->temperature), "top_k",
                     (json_int_t) o->top_k, "top_p", number(o->top_p), "guidance",
                     number(m->guidance));
}

static json_t *composed_json(const struct compose_result *c)
{
    const struct composer_timings *t = &c->timings;
    json_t *device = c->device.name[0]
                         ? json_pack("{s:s, s:s, s:s}", "name", c->device.name, "driver",
                                     c->device.driver, "uuid", c->device.uuid)
                         : json_null();
    return json_pack("{s:o, s:i, s:i, s:i, s:b, s:I, s:{s:o, s:o, s:o, s:o, s:I, s:I}}",
                     "device", device, "segments_composed", (int) c->segments_done,
                     "segments_taken_up", (int) c->segments_there, "batch", (int) t->batch,
                     "stages_took_turns", t->turns, "device_peak_bytes",
                     (json_int_t) t->device_peak_bytes, "timings", "load_s", number(t->load_s),
                     "visual_s", number(t->visual_s), "decoder_s", number(t->decoder_s),
                     "codec_s", number(t->codec_s), "frames", (json_int_t) t->frames, "columns",
                     (json_int_t) t->columns);
}

static json_t *cue_loudness_json(const struct finish_result *f)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < f->sound.part_count; i++)
        json_array_append_new(list, loudness_json(&f->sound.parts[i]));
    return list;
}

// A new reference; NULL when out of memory.
static json_t *report_make(const struct job_story *s)
{
    const struct film *film = s->film;
    json_t *r =
        json_pack("{s:i, s:s, s:{s:o, s:I, s:s, s:i, s:i, s:f}, s:o, s:o, s:o, s:O, s:f}",
                  "version", 1, "software", "underscore " UNDERSCORE_VERSION, "film", "path",
                  path_json(film->path), "duration_ms", (json_int_t) film->duration_ms, "codec",
                  film->picture_codec, "width", (int) film->width, "height", (int) film->height,
                  "frames_per_s", film->frames_per_s, "plan", plan_to_json(s->plan), "delivery",
                  delivery_json(s->finished), "cue_loudness", cue_loudness_json(s->finished),
                  "stitch", s->finished->seams, "deliver_s", s->finished->stitch_s);
    if (r && s->model)
        json_object_set_new(r, "model", model_json(s->model));
    if (r && s->model && s->options)
        json_object_set_new(r, "sampling", sampling_json(s->model, s->options));
    if (r && s->composed)
        json_object_set_new(r, "composed", composed_json(s->composed));
    json_t *told = r ? parts_tell(s->told_by, s->plan) : NULL;
    json_object_update_missing(r, told);
    json_decref(told);
    return r;
}

static enum err json_write(const json_t *j, const char *path)
{
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(9);
    if (!strcmp(path, "-")) {
        json_dumpf(j, stdout, flags);
        putchar('\n');
        return ERR_OK;
    }
    struct out_file f;
    const enum err e = out_file_open(&f, path);
    if (e)
        return e;
    json_dumpf(j, f.stream, flags);
    fputc('\n', f.stream);
    return out_file_commit(&f);
}

enum err report_write(const struct job_story *story, const struct delivery_options *options,
                      const struct talk_settings *talk)
{
    json_t *report = report_make(story);
    enum err e = report ? ERR_OK : ERR_NOMEM;
    if (!e && options->report)
        e = json_write(report, options->report);
    if (!e && options->page)
        e = page_write(story, options);
    if (!e && talk->json)
        e = json_write(report, "-");
    json_decref(report);
    return e;
}
