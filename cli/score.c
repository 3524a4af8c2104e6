// score: a film in, a scored film out: plan, compose, stitch in one go.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/finish_film.h"
#include "cli/plan_film.h"
#include "cli/summary.h"
#include "cli/tokens.h"
#include "cli/verb.h"
#include "cli/work_dir.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"

struct score_verb {
    struct talk_settings talk;
    struct plan_options plan;
    struct model_options model;
    struct delivery_options delivery;
    const char *keep_tokens, *work;
    bool resume, restart;
};

// Everything a run holds; zeroed is empty.
struct score {
    const struct score_verb *v;
    struct film film;
    struct job_model model;
    struct plan *plan;
    char *work;
    bool working; // the work directory is ours to use
    int lock;     // of it; -1: none
    struct compose_result composed;
    struct finish_result finished;
    double started;
};

static void score_finish(struct score *s)
{
    finish_result_release(&s->finished);
    work_dir_release(&s->lock);
    free(s->work);
    plan_destroy(&s->plan);
    job_model_close(&s->model);
    film_release(&s->film);
}

// Tokens kept of another film, and this one's own parts, would be written over.
static enum err check_tokens(const struct score *s)
{
    const struct score_verb *v = s->v;
    char *plan = NULL;
    if (!v->keep_tokens)
        return ERR_OK;
    if (file_is_same(v->keep_tokens, s->work)) {
        log_error(
            "%s: finished segments are kept there; choose another folder for --keep-tokens",
            v->keep_tokens);
        return ERR_USAGE;
    }
    if (asprintf(&plan, "%s/plan.json", v->keep_tokens) < 0)
        return ERR_NOMEM;
    const bool taken = !v->resume && !v->delivery.overwrite && access(plan, F_OK) == 0;
    free(plan);
    if (!taken)
        return ERR_OK;
    log_error("%s: holds the tokens of a film; choose another folder or say --overwrite",
              v->keep_tokens);
    return ERR_CREATE;
}

// All that can be refused before the work begins.
static enum err prepare(struct score *s, const char *film)
{
    const struct score_verb *v = s->v;
    enum err e = film_probe(&s->film, film);
    if (!e)
        e = finish_check(&v->delivery, &s->film);
    if (!e)
        e = job_model_open(&s->model, &v->model);
    if (e)
        return e;
    const char *license = model_file_license(s->model.file);
    if (*license)
        log_info("the model's licence: %.60s%s (underscore inspect shows all of it)", license,
                 strlen(license) > 60 ? "..." : "");
    const char *beside = v->delivery.output ? v->delivery.output : v->delivery.wav;
    s->work = v->work ? strdup(v->work) : work_dir_path(beside, NULL);
    if (!s->work)
        return ERR_NOMEM;
    int lock; // of s itself clang-tidy believes that s->work is lost
    e = work_dir_begin(s->work, v->resume, v->restart, &lock);
    s->lock = lock;
    s->working = !e;
    return e ? e : check_tokens(s);
}

// A plan made by the run that is taken up is that run's plan, unless the
// options say something else: scene detection is not done twice.
static enum err make_plan(struct score *s)
{
    const struct plan_model model = plan_model_of(s->model.config);
    char *kept = NULL;
    if (asprintf(&kept, "%s/plan.json", s->work) < 0)
        return ERR_NOMEM;
    enum err e = plan_film(&s->plan, &s->film, &s->v->plan, &model, s->v->talk.quiet);
    if (!e)
        e = film_plan_write(s->plan, kept);
    free(kept);
    return e;
}

static enum err compose(struct score *s)
{
    return compose_film(
        &(struct compose_film){
            .plan = s->plan,
            .film = &s->film,
            .model = &s->model,
            .options = &s->v->model,
            .directory = s->work,
            .replace = true,
            .quiet = s->v->talk.quiet,
        },
        &s->composed);
}

static enum err report(const struct score *s)
{
    const struct score_verb *v = s->v;
    const struct job_story story = {
        .plan = s->plan,
        .film = &s->film,
        .model = &s->model,
        .options = &v->model,
        .composed = &s->composed,
        .finished = &s->finished,
        .told_by = s->work,
        .took_s = s->composed.segments_there ? 0 : clock_seconds() - s->started,
    };
    const enum err e = report_write(&story, &v->delivery, &v->talk);
    if (!e && !v->talk.json && !v->talk.quiet)
        summary_print(&story, &v->delivery);
    return e;
}

// What is left of the work directory: nothing after success, or when nothing was
// finished.
static void leave_work(const struct score *s, enum err e)
{
    if (!s->working)
        return;
    if (e && work_dir_has_parts(s->work))
        log_info("what is composed is kept in %s: run again with --resume", s->work);
    else
        work_dir_remove(s->work);
}

static enum err run(const struct score_verb *v, const char *film)
{
    struct score s = { .v = v, .lock = -1, .started = clock_seconds() };
    enum err e = prepare(&s, film);
    if (!e)
        e = make_plan(&s);
    if (!e)
        e = compose(&s);
    if (!e && v->keep_tokens)
        e = tokens_keep(s.plan, s.work, v->keep_tokens);
    if (!e)
        e = finish_film(s.plan, s.work, &s.film, &v->delivery, v->talk.quiet, &s.finished);
    if (!e)
        e = report(&s);
    leave_work(&s, e);
    score_finish(&s);
    return e;
}

enum err verb_score(int argc, char **argv)
{
    struct score_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], plan[SETTINGS_MAX_SPECS],
        model[SETTINGS_MAX_SPECS], delivery[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Taking up work", .kind = OPTION_HEADING },
        { .name = "resume",
          .kind = OPTION_FLAG,
          .target = &v.resume,
          .help = "take up what an interrupted run has finished" },
        { .name = "restart",
          .kind = OPTION_FLAG,
          .target = &v.restart,
          .help = "throw it away" },
        { .name = "work",
          .kind = OPTION_STRING,
          .target = &v.work,
          .value = "DIR",
          .help = "where finished segments are kept meanwhile (OUT.underscore)" },
        { .name = "keep-tokens",
          .kind = OPTION_STRING,
          .target = &v.keep_tokens,
          .value = "DIR",
          .help = "keep the tokens, from which `render` makes another delivery" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    plan_table(&v.plan, plan);
    model_table(&v.model, model);
    delivery_table(&v.delivery, delivery);
    const struct option_spec *const tables[] = { delivery, plan, model, own, talk };
    const struct verb_page page = {
        .usage = "underscore score FILM -o OUT [OPTIONS]",
        .summary =
            "Watch a film, compose its music and deliver the film with the music as a further track.\n"
            "The picture is not encoded again. The same film, model, settings, seed and device give\n"
            "the same music.",
        .examples =
            "  underscore score film.mp4 -o scored.mp4\n"
            "  underscore score film.mp4 -o scored.mp4 --model gvmgen-small.safetensors\n"
            "  underscore score film.mkv -o scored.mkv --seed 7 --loudness -23 --report report.json\n"
            "  underscore score film.mov --wav music.wav --max-cue 1:30\n"
            "  underscore score film.mp4 -o scored.mp4 --resume     after a Ctrl-C",
        .tables = tables,
        .table_count = 5,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    if (v.resume && v.restart) {
        log_error(
            "--resume goes on with what is there, --restart throws it away: say one of them");
        return ERR_USAGE;
    }
    interrupt_watch();
    return run(&v, arguments.values[0]);
}
