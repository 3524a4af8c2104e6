#include "cli/finish_film.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/progress.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/parts/deliver.h"
#include "common/timeline/plan_json.h"

static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static enum err check_output(const char *path, const struct film *film, bool overwrite)
{
    if (!path)
        return ERR_OK;
    if (same_file(path, film->path)) {
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
    return e;
}

enum err finish_check(const struct delivery_options *options, const struct film *film)
{
    struct delivery d;
    enum err e = delivery_from(&d, options);
    if (!e)
        e = check_output(d.film, film, options->overwrite);
    if (!e)
        e = check_output(d.wav, film, options->overwrite);
    if (!e && options->report && strcmp(options->report, "-") != 0)
        e = check_output(options->report, film, options->overwrite);
    if (!e)
        e = track_writer_check(film, &d);
    return e;
}

static bool cancelled(void *user)
{
    (void) user;
    return interrupt_asked();
}

static void on_progress(void *user, int64_t done_ms, int64_t total_ms)
{
    progress_update(user, (double) done_ms / 1000, (double) total_ms / 1000);
}

enum err finish_film(const struct plan *p, const char *directory, const struct film *film,
                     const struct delivery_options *options, bool quiet, struct finish_result *out)
{
    *out = (struct finish_result){ 0 };
    const double start = clock_seconds();
    struct delivery delivery;
    struct progress bar = { 0 };
    const struct media_hooks hooks = { cancelled, on_progress, &bar };
    enum err e = delivery_from(&delivery, options);
    if (e)
        return e;
    progress_begin(&bar, "delivering", 0, quiet);
    e = deliver_parts(p, directory, film, &delivery, &hooks, &out->delivery, &out->seams);
    progress_end(&bar);
    out->stitch_s = clock_seconds() - start;
    return e;
}

void finish_result_release(struct finish_result *r)
{
    json_decref(r->seams);
    *r = (struct finish_result){ 0 };
}

// JSON has no infinities: silence has no loudness.
static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *loudness_json(const struct loudness *l)
{
    return json_pack("{s:o, s:o, s:b}", "integrated_lufs", number(l->integrated_lufs), "true_peak_dbtp",
                     number(l->true_peak_dbtp), "short_signal", l->short_signal);
}

static json_t *delivery_json(const struct finish_result *f)
{
    const struct delivery_report *d = &f->delivery;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:i, s:s, s:s, s:i, s:i}",
                     "before", loudness_json(&d->before), "after", loudness_json(&d->after),
                     "gain_db", number(d->gain_db), "limiter_db", number(d->limiter_db),
                     "ceiling_dbtp", number(d->ceiling_dbtp), "samples", (json_int_t) d->samples,
                     "sample_rate", DELIVERY_SAMPLE_RATE, "codec", d->codec, "container", d->container,
                     "track", (int) d->track, "streams", (int) d->streams);
}

static json_t *model_json(const struct job_model *m)
{
    const struct model_config *c = m->config;
    return json_pack("{s:s, s:s, s:s, s:{s:i, s:i, s:i, s:i}, s:{s:i, s:i, s:i}, s:{s:i, s:i, s:i}}",
                     "path", m->path, "sha256", m->sha256, "license", model_file_license(m->file),
                     "lm", "dim", (int) c->lm.dim, "heads", (int) c->lm.heads, "layers",
                     (int) c->lm.layers, "card", (int) c->lm.card,
                     "vit", "width", (int) c->vit.width, "layers", (int) c->vit.layers, "image",
                     (int) c->vit.image,
                     "codec", "sample_rate", (int) c->codec.sample_rate, "hop",
                     (int) codec_hop(&c->codec), "codebooks", (int) c->codec.codebooks);
}

static json_t *sampling_json(const struct job_model *m, const struct model_options *o)
{
    return json_pack("{s:o, s:I, s:o, s:o}", "temperature", number(o->temperature), "top_k",
                     (json_int_t) o->top_k, "top_p", number(o->top_p), "guidance", number(m->guidance));
}

static json_t *composed_json(const struct compose_result *c)
{
    const struct composer_timings *t = &c->timings;
    json_t *device = c->device.name[0]
        ? json_pack("{s:s, s:s, s:s}", "name", c->device.name, "driver", c->device.driver, "uuid",
                    c->device.uuid)
        : json_null();
    return json_pack("{s:o, s:i, s:i, s:i, s:b, s:I, s:{s:o, s:o, s:o, s:o, s:I, s:I}}",
                     "device", device, "segments_composed", (int) c->segments_done,
                     "segments_taken_up", (int) c->segments_there, "batch", (int) t->batch,
                     "stages_took_turns", t->turns, "device_peak_bytes", (json_int_t) t->device_peak_bytes,
                     "timings", "load_s", number(t->load_s), "visual_s", number(t->visual_s),
                     "decoder_s", number(t->decoder_s), "codec_s", number(t->codec_s),
                     "frames", (json_int_t) t->frames, "columns", (json_int_t) t->columns);
}

json_t *report_make(const struct plan *p, const struct film *film, const struct job_model *model,
                    const struct model_options *options, const struct compose_result *composed,
                    const struct finish_result *finished)
{
    json_t *r = json_pack("{s:i, s:s, s:{s:s, s:I, s:s, s:i, s:i, s:f}, s:o, s:o, s:O, s:f}",
                          "version", 1, "software", "underscore " UNDERSCORE_VERSION,
                          "film", "path", film->path, "duration_ms", (json_int_t) film->duration_ms,
                          "codec", film->picture_codec, "width", (int) film->width, "height",
                          (int) film->height, "frames_per_s", film->frames_per_s,
                          "plan", plan_to_json(p), "delivery", delivery_json(finished),
                          "stitch", finished->seams, "deliver_s", finished->stitch_s);
    if (r && model)
        json_object_set_new(r, "model", model_json(model));
    if (r && model && options)
        json_object_set_new(r, "sampling", sampling_json(model, options));
    if (r && composed)
        json_object_set_new(r, "composed", composed_json(composed));
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

enum err report_write(json_t *report, const struct delivery_options *options,
                      const struct talk_settings *talk)
{
    enum err e = report ? ERR_OK : ERR_NOMEM;
    if (!e && options->report)
        e = json_write(report, options->report);
    if (!e && talk->json)
        e = json_write(report, "-");
    json_decref(report);
    return e;
}
