// plan: film -> cues and segments, printed or kept.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/finish_film.h"
#include "cli/model_path.h"
#include "cli/plan_film.h"
#include "cli/verb.h"
#include "common/base/interrupt.h"
#include "common/timeline/plan_json.h"
#include "worker/weights/model_file.h"

struct plan_verb {
    struct talk_settings talk;
    struct plan_options plan;
    const char *model, *output;
};

// The facts of the model that would compose, or of the published one where there is none.
static enum err model_facts(const char *named, struct plan_model *out)
{
    struct model_file *m = NULL;
    char *path;
    enum err e = model_path_find_any(&path, named);
    *out = plan_model_published();
    if (!e && path)
        e = model_file_open(&m, path);
    if (!e && m)
        *out = plan_model_of(model_file_config(m));
    model_file_close(&m);
    free(path);
    return e;
}

static bool is_kept(const struct plan_verb *v)
{
    return v->output && strcmp(v->output, "-") != 0;
}

static enum err print_plan(const struct plan *p, const struct plan_verb *v)
{
    const bool kept = is_kept(v);
    const enum err e = kept ? film_plan_write(p, v->output) : ERR_OK;
    if (!e && (v->talk.json || (v->output && !kept)))
        return film_plan_write(p, "-");
    if (e || kept)
        return e;
    char *table = plan_to_table(p);
    if (!table)
        return ERR_NOMEM;
    fputs(table, stdout);
    free(table);
    return ERR_OK;
}

enum err verb_plan(int argc, char **argv)
{
    struct plan_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], plan[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Plan", .kind = OPTION_HEADING },
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &v.output,
          .value = "PLAN.json",
          .help = "keep the plan, for `compose` and `stitch`; - is standard output" },
        { .name = "model",
          .letter = 'm',
          .kind = OPTION_STRING,
          .target = &v.model,
          .value = "FILE",
          .help = "the model that will compose (as for `compose`)" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    plan_table(&v.plan, plan);
    const struct option_spec *const tables[] = { own, plan, talk };
    const struct verb_page page = {
        .usage = "underscore plan FILM [-o PLAN.json] [OPTIONS]",
        .summary =
            "Find a film's scene changes and plan its music: cues from cut to cut, and in each the\n"
            "segments that the model composes one after the other.",
        .examples = "  underscore plan film.mkv\n"
                    "  underscore plan film.mkv -o plan.json --max-cue 2:00",
        .tables = tables,
        .table_count = 3,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    struct verb_arguments arguments;
    enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    interrupt_watch();

    struct film film = { 0 };
    struct plan_model model;
    struct plan *p = NULL;
    e = model_facts(v.model, &model);
    if (!e)
        e = film_probe(&film, arguments.values[0]);
    if (!e && is_kept(&v))
        e = output_check(v.output, &film, true);
    if (!e)
        e = plan_film(&p, &film, &v.plan, &model, v.talk.quiet);
    if (!e)
        e = print_plan(p, &v);
    plan_destroy(&p);
    film_release(&film);
    return e;
}
