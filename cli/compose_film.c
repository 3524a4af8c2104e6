#include "cli/compose_film.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/model_path.h"
#include "cli/progress.h"
#include "common/base/file.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/media/frames.h"
#include "common/media/preprocess.h"
#include "common/media/sha256.h"
#include "common/timeline/frame_grid.h"

enum err job_model_open(struct job_model *out, const struct model_options *options)
{
    *out = (struct job_model){ 0 };
    enum err e = model_path_find(&out->path, options->model);
    if (!e)
        e = model_file_open(&out->file, out->path);
    if (e) {
        job_model_close(out);
        return e;
    }
    sha256_mapped(out->sha256, model_file_map(out->file));
    out->config = model_file_config(out->file);
    out->guidance =
        options->guidance >= 0 ? options->guidance : (double) out->config->lm.guidance;
    return ERR_OK;
}

void job_model_close(struct job_model *m)
{
    model_file_close(&m->file);
    free(m->path);
    *m = (struct job_model){ 0 };
}

enum err job_model_fits(const struct job_model *m, const struct plan *p)
{
    const struct plan_model *a = &p->settings.model;
    const struct plan_model b = plan_model_of(m->config);
    if (a->sample_rate == b.sample_rate && a->hop == b.hop &&
        p->settings.segment_ms <= b.max_duration_ms)
        return ERR_OK;
    log_error("%s: the plan is for another kind of model (%u Hz, hop %u, windows of %.1f s); "
              "plan again with --model %s",
              m->path, a->sample_rate, a->hop, (double) p->settings.segment_ms / 1000, m->path);
    return ERR_INPUT;
}

// The work under way: what the composer's hooks see.
struct work {
    const struct compose_film *c;
    struct part_inputs inputs;
    char device[3 * sizeof(((struct device_facts *) 0)->name)]; // what parts say of it
    struct frame_reader *reader;
    bool *done;    // [segments] a part of the right inputs is on disk
    bool *started; // [segments] handed to the composer, done, or not wanted
    uint32_t *ready;
    uint8_t *frames;
    int32_t *prompt;
    uint64_t frames_room;
    struct progress bar;
    uint64_t columns_done, columns_total;
    uint32_t finished;
};

static const struct plan_segment *segment_of(const struct work *w, uint64_t i)
{
    return &w->c->plan->segments[i];
}

static uint64_t new_columns(const struct plan_segment *s)
{
    return s->columns - s->prompt_columns;
}

static double seconds_of(const struct work *w, uint64_t columns)
{
    return (double) columns / codec_frame_rate(&w->c->model->config->codec);
}

// The pictures a segment watches, at the model's rate and size.
static enum err read_frames(struct work *w, uint32_t segment, uint32_t *count)
{
    const struct plan_span watch = plan_watch(w->c->plan, segment);
    const uint32_t side = w->c->model->config->vit.image;
    const uint64_t bytes = 3ull * side * side;
    enum err e = frame_reader_window(w->reader, watch.from_ms, watch.to_ms);
    for (*count = 0; !e; (*count)++) {
        struct frame f;
        e = frame_reader_next(w->reader, &f);
        if (e || !f.rgb)
            break;
        if (*count >= w->frames_room)
            return ERR_BUG; // frame_count() promised fewer
        e = preprocess_rgb(w->frames + *count * bytes, side, f.rgb, f.width, f.height);
    }
    return e;
}

// The predecessor's last columns, from its part.
static enum err read_prompt(struct work *w, uint32_t segment)
{
    const struct plan_segment *s = segment_of(w, segment);
    if (s->prompt_columns == 0)
        return ERR_OK;
    struct part part;
    const enum err e = part_open(&part, w->c->directory, w->c->plan, (uint32_t) s->prompt_from);
    if (e)
        return e;
    const uint64_t columns = part.tokens.shape[1];
    const int32_t *tokens = part.tokens.data;
    for (uint32_t k = 0; k < part.codebooks; k++)
        memcpy(w->prompt + (size_t) k * s->prompt_columns,
               tokens + k * columns + columns - s->prompt_columns,
               s->prompt_columns * sizeof(*tokens));
    part_close(&part);
    return ERR_OK;
}

static enum err take(void *user, struct composer_segment *out, bool *got)
{
    struct work *w = user;
    const struct plan *p = w->c->plan;
    const size_t n = plan_ready(p, w->done, w->ready, p->segment_count);
    *got = false;
    for (size_t i = 0; i < n; i++) {
        const uint32_t segment = w->ready[i];
        if (w->started[segment])
            continue;
        uint32_t frames;
        enum err e = read_frames(w, segment, &frames);
        if (!e)
            e = read_prompt(w, segment);
        if (e)
            return e;
        const struct plan_segment *s = segment_of(w, segment);
        w->started[segment] = true;
        *got = true;
        *out = (struct composer_segment){
            .id = segment,
            .frames = w->frames,
            .frame_count = frames,
            .columns = s->columns,
            .prompt_columns = s->prompt_columns,
            .prompt = w->prompt,
            .seed = s->seed,
        };
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err deliver(void *user, const struct composed *c)
{
    struct work *w = user;
    const uint32_t segment = (uint32_t) c->id;
    char key[PART_KEY_BYTES];
    part_key(key, &w->inputs, w->c->plan, segment);
    const char *license = model_file_license(w->c->model->file);
    const struct part_origin origin = { w->device, *license ? license : NULL };
    const enum err e = part_write(w->c->directory, w->c->plan, segment, key, &origin,
                                  c->codebooks, c->tokens, c->pcm);
    if (e)
        return e;
    w->done[segment] = true;
    w->finished++;
    log_debug("cue %u segment %u composed", segment_of(w, segment)->cue,
              segment_of(w, segment)->index);
    return ERR_OK;
}

static void on_progress(void *user, uint64_t columns)
{
    struct work *w = user;
    w->columns_done += columns;
    progress_update(&w->bar, seconds_of(w, w->columns_done), seconds_of(w, w->columns_total));
}

static bool cancelled(void *user)
{
    (void) user;
    return interrupt_asked();
}

static bool wanted(const struct work *w, uint32_t segment)
{
    return !w->c->cues || w->c->cues[segment_of(w, segment)->cue];
}

// Which parts are there, which are to be made.
static enum err survey(struct work *w, struct compose_result *out)
{
    const struct plan *p = w->c->plan;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        if (!wanted(w, i)) {
            w->started[i] = true;
            continue;
        }
        char key[PART_KEY_BYTES];
        part_key(key, &w->inputs, p, i);
        w->columns_total += new_columns(&p->segments[i]);
        if (part_is_made_of(w->c->directory, p, i, key)) {
            w->done[i] = w->started[i] = true;
            w->columns_done += new_columns(&p->segments[i]);
            out->segments_there++;
        } else if (!w->c->replace && part_exists(w->c->directory, p, i)) {
            log_error("%s: holds a part for cue %u that another film, model or setting made; "
                      "choose another directory or remove it",
                      w->c->directory, p->segments[i].cue);
            return ERR_CREATE;
        }
    }
    return ERR_OK;
}

static enum err make_room(struct work *w, uint32_t *max_columns)
{
    const struct plan *p = w->c->plan;
    const struct model_config *config = w->c->model->config;
    uint32_t prompt = 1;
    *max_columns = 0;
    w->frames_room = 1;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        if (!wanted(w, i))
            continue;
        const struct plan_span watch = plan_watch(p, i);
        const uint64_t n = frame_count(config->frames_per_s, watch.from_ms, watch.to_ms);
        w->frames_room = n > w->frames_room ? n : w->frames_room;
        prompt =
            p->segments[i].prompt_columns > prompt ? p->segments[i].prompt_columns : prompt;
        *max_columns =
            p->segments[i].columns > *max_columns ? p->segments[i].columns : *max_columns;
    }
    w->frames = malloc(w->frames_room * 3 * config->vit.image * config->vit.image);
    w->prompt = calloc((size_t) prompt * config->lm.codebooks, sizeof(*w->prompt));
    return w->frames && w->prompt ? ERR_OK : ERR_NOMEM;
}

static uint32_t wanted_cues(const struct work *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->c->plan->cue_count; i++)
        n += !w->c->cues || w->c->cues[i];
    return n;
}

static void name_device(struct work *w, const struct device_facts *d)
{
    char text[sizeof(w->device)];
    snprintf(text, sizeof(text), "%s; %s; %s", d->name, d->driver, d->uuid);
    utf8_clean(w->device, sizeof(w->device), text, false);
}

static enum err run(struct work *w, struct compose_result *out)
{
    const struct compose_film *c = w->c;
    const struct media_hooks hooks = { .cancelled = cancelled };
    struct device *device = NULL;
    struct composer *composer = NULL;
    uint32_t max_columns;
    enum err e = make_room(w, &max_columns);
    if (!e)
        e = frame_reader_open(
            &w->reader, c->film,
            &(struct frame_options){ .rate = c->model->config->frames_per_s, .hooks = &hooks });
    if (!e)
        e = device_open_for(&device, c->options);
    if (!e)
        name_device(w, device_facts(device));
    if (!e)
        e = composer_open(&composer, &(struct composer_params){
                                         .device = device,
                                         .tensors = model_file_tensors(c->model->file),
                                         .temperature = c->options->temperature,
                                         .top_k = (uint32_t) c->options->top_k,
                                         .top_p = c->options->top_p,
                                         .guidance = c->model->guidance,
                                         .batch = (uint32_t) c->options->batch,
                                         .parallel = wanted_cues(w),
                                         .max_columns = max_columns,
                                         .max_frames = (uint32_t) w->frames_room,
                                     });
    if (!e) {
        progress_begin(&w->bar, "composing", seconds_of(w, w->columns_done), c->quiet);
        e = composer_run(composer, &(struct composer_hooks){ .take = take,
                                                             .deliver = deliver,
                                                             .progress = on_progress,
                                                             .cancelled = cancelled,
                                                             .user = w });
        progress_end(&w->bar);
        out->timings = composer_timings(composer);
        out->device = *device_facts(device);
    }
    composer_close(&composer);
    if (device && device_validation_messages(device) > 0) {
        log_error("%u validation messages", device_validation_messages(device));
        e = e ? e : ERR_BUG;
    }
    device_close(&device);
    return e;
}

enum err compose_film(const struct compose_film *c, struct compose_result *out)
{
    const uint32_t n = c->plan->segment_count;
    char identity[FILM_IDENTITY_BYTES];
    struct work w = {
        .c = c,
        .inputs = {
            .model_sha256 = c->model->sha256,
            .film = identity,
            .temperature = c->options->temperature,
            .top_p = c->options->top_p,
            .top_k = c->options->top_k,
            .guidance = c->model->guidance,
        },
        .done = calloc(n, sizeof(bool)),
        .started = calloc(n, sizeof(bool)),
        .ready = calloc(n, sizeof(uint32_t)),
    };
    *out = (struct compose_result){ 0 };
    enum err e = w.done && w.started && w.ready ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = film_identity(identity, c->film->path);
    if (!e)
        e = file_make_directory(c->directory);
    if (!e)
        e = survey(&w, out);
    if (!e && w.columns_done < w.columns_total)
        e = run(&w, out);
    out->segments_done = w.finished;
    frame_reader_close(&w.reader);
    free(w.done), free(w.started), free(w.ready), free(w.frames), free(w.prompt);
    return e;
}
