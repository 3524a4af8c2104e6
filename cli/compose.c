// compose: some or all cues of a plan, into parts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/compose_film.h"
#include "cli/verb.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"

struct compose_verb {
    struct talk_settings talk;
    struct model_options model;
    const char *output, *cues, *film;
};

static enum err choose_cues(const struct plan *p, const char *text, bool **out)
{
    *out = NULL;
    if (!text)
        return ERR_OK;
    *out = calloc(p->cue_count, sizeof(**out));
    return *out ? plan_select_cues(p, text, *out) : ERR_NOMEM;
}

static enum err run(const struct compose_verb *v, const char *plan_path)
{
    struct film film = { 0 };
    struct job_model model = { 0 };
    struct plan *p = NULL;
    bool *cues = NULL;
    struct compose_result result;
    enum err e = film_plan_read(&p, plan_path);
    if (!e)
        e = choose_cues(p, v->cues, &cues);
    if (!e)
        e = film_plan_film(&film, p, v->film);
    if (!e)
        e = job_model_open(&model, &v->model);
    if (!e)
        e = job_model_fits(&model, p);
    if (!e)
        e = compose_film(&(struct compose_film){ .plan = p,
                                                 .film = &film,
                                                 .model = &model,
                                                 .options = &v->model,
                                                 .directory = v->output,
                                                 .cues = cues,
                                                 .quiet = v->talk.quiet },
                         &result);
    if (!e && v->talk.json)
        printf("{\"segments_composed\": %u, \"segments_there\": %u}\n", result.segments_done,
               result.segments_there);
    else if (!e)
        log_info("%u segments composed, %u were there; %s", result.segments_done,
                 result.segments_there, v->output);
    free(cues);
    plan_destroy(&p);
    job_model_close(&model);
    film_release(&film);
    return e;
}

enum err verb_compose(int argc, char **argv)
{
    struct compose_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], model[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Compose", .kind = OPTION_HEADING },
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &v.output,
          .value = "DIR",
          .help = "where the parts go; those there already stay" },
        { .name = "cues",
          .kind = OPTION_STRING,
          .target = &v.cues,
          .value = "LIST",
          .help = "such as 3, 3-5 or 0,7-9 (all)" },
        { .name = "film",
          .kind = OPTION_STRING,
          .target = &v.film,
          .value = "FILE",
          .help = "where the film is now, if not where the plan says" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    model_table(&v.model, model);
    const struct option_spec *const tables[] = { own, model, talk };
    const struct verb_page page = {
        .usage = "underscore compose PLAN.json -o DIR [--cues LIST] [OPTIONS]",
        .summary =
            "Compose cues of a plan. Each segment becomes one file in DIR, written whole or not at\n"
            "all, so that any number of these can run at once, on any machines, for a batch system.",
        .examples = "  underscore compose plan.json -o parts/ --cues $SLURM_ARRAY_TASK_ID",
        .tables = tables,
        .table_count = 3,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    if (!v.output) {
        log_error("where to? -o DIR");
        return ERR_USAGE;
    }
    talk_apply(&v.talk);
    interrupt_watch();
    return run(&v, arguments.values[0]);
}
