// render: kept tokens to a new delivery, without the decoder.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/finish_film.h"
#include "cli/progress.h"
#include "cli/tokens.h"
#include "cli/verb.h"
#include "cli/work_dir.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/parts/parts.h"

struct render_verb {
    struct talk_settings talk;
    struct model_options model;
    struct delivery_options delivery;
    const char *film;
};

static enum err render_segment(struct composer *c, const struct plan *p, const char *tokens_dir,
                               const char *parts, uint32_t segment, uint32_t codebooks)
{
    const uint64_t samples = (uint64_t) plan_segment_samples(p, segment);
    int32_t *tokens = NULL;
    float *pcm = malloc(samples * sizeof(*pcm));
    enum err e = pcm ? tokens_read(&tokens, tokens_dir, p, segment, codebooks) : ERR_NOMEM;
    if (!e)
        e = composer_render(c, tokens, p->segments[segment].columns, pcm);
    if (!e)
        e = part_write(parts, p, segment, "rendered", &(struct part_origin){ 0 }, codebooks,
                       tokens, pcm);
    free(tokens);
    free(pcm);
    return e;
}

static enum err render_all(const struct render_verb *v, const struct plan *p,
                           const struct job_model *model, const char *tokens_dir,
                           const char *parts)
{
    struct device *device = NULL;
    struct composer *composer = NULL;
    enum err e = device_open_for(&device, &v->model);
    if (!e)
        e = composer_open(&composer,
                          &(struct composer_params){ .device = device,
                                                     .tensors = model_file_tensors(model->file),
                                                     .batch = 1,
                                                     .max_columns = 1,
                                                     .max_frames = 1 });
    struct progress bar = { 0 };
    progress_begin(&bar, "rendering", 0, v->talk.quiet);
    for (uint32_t i = 0; !e && i < p->segment_count; i++) {
        e = interrupt_asked() ? ERR_STOP
                              : render_segment(composer, p, tokens_dir, parts, i,
                                               model->config->codec.codebooks);
        progress_update(&bar, (double) p->segments[i].end_ms / 1000,
                        (double) p->film.duration_ms / 1000);
    }
    progress_end(&bar);
    composer_close(&composer);
    device_close(&device);
    return e;
}

// One codec's tokens are another's noise, and nothing else would say so.
static void compare_models(const struct plan *p, const char *tokens_dir,
                           const struct job_model *m)
{
    json_t *told = parts_tell(tokens_dir, p);
    const char *composed =
        json_string_value(json_object_get(json_object_get(told, "model"), "sha256"));
    if (composed && strcmp(composed, m->sha256) != 0)
        log_warn(
            "%s: composed with the model %.12s, rendered with %s, which is %.12s: unless their codecs are the same, "
            "this is noise",
            tokens_dir, composed, m->path, m->sha256);
    json_decref(told);
}

static enum err run(const struct render_verb *v, const char *tokens_dir)
{
    struct film film = { 0 };
    struct job_model model = { 0 };
    struct plan *p = NULL;
    struct finish_result finished = { 0 };
    char *plan_path = NULL, *parts = NULL;
    int lock = -1;
    if (asprintf(&plan_path, "%s/plan.json", tokens_dir) < 0)
        return ERR_NOMEM;
    enum err e = film_plan_read(&p, plan_path);
    if (!e)
        e = film_plan_film(&film, p, v->film);
    if (!e)
        e = finish_check(&v->delivery, &film);
    if (!e)
        e = job_model_open(&model, &v->model);
    if (!e)
        e = job_model_fits(&model, p);
    if (!e)
        compare_models(p, tokens_dir, &model);
    // Not the folder of `score`, where somebody's composed parts may be; what a killed run left in
    // this one was rendered from tokens that are there still.
    const char *beside = v->delivery.output ? v->delivery.output : v->delivery.wav;
    if (!e && !(parts = work_dir_path(beside, "render")))
        e = ERR_NOMEM;
    if (!e)
        e = work_dir_begin(parts, false, true, &lock);
    if (!e) {
        e = render_all(v, p, &model, tokens_dir, parts);
        if (!e)
            e = finish_film(p, parts, &film, &v->delivery, v->talk.quiet, &finished);
        work_dir_remove(parts);
    }
    if (!e)
        e = report_write(&(struct job_story){ .plan = p,
                                              .film = &film,
                                              .model = &model,
                                              .finished = &finished,
                                              .told_by = tokens_dir },
                         &v->delivery, &v->talk);
    finish_result_release(&finished);
    work_dir_release(&lock);
    free(plan_path);
    free(parts);
    plan_destroy(&p);
    job_model_close(&model);
    film_release(&film);
    return e;
}

enum err verb_render(int argc, char **argv)
{
    struct render_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], model[SETTINGS_MAX_SPECS],
        delivery[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Render", .kind = OPTION_HEADING },
        { .name = "film",
          .kind = OPTION_STRING,
          .target = &v.film,
          .value = "FILE",
          .help = "where the film is now, if not where the plan says" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    model_table(&v.model, model);
    delivery_table(&v.delivery, delivery);
    const struct option_spec *const tables[] = { own, delivery, model, talk };
    const struct verb_page page = {
        .usage = "underscore render TOKENS-DIR -o OUT [OPTIONS]",
        .summary =
            "Make a new delivery of tokens that `score --keep-tokens` kept: another container, loudness\n"
            "or codec. The music is the same; the decoder does not run.",
        .examples =
            "  underscore render tokens/ -o film-r128.mkv --loudness -23 --model gvmgen.safetensors",
        .tables = tables,
        .table_count = 4,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    interrupt_watch();
    return run(&v, arguments.values[0]);
}
