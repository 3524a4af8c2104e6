// submit: films handed to a farm, and waited for if asked to.
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/farm/client.h"
#include "cli/farm/job_print.h"
#include "cli/films.h"
#include "cli/settings.h"
#include "cli/verb.h"
#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/media/sha256.h"
#include "common/media/track_writer.h"

#define ASK_EVERY_S 0.5

struct submit_verb {
    struct talk_settings talk;
    struct farm_settings farm;
    struct plan_options plan;
    struct model_options model;
    struct delivery_options delivery;
    const char *owner;
    int64_t priority;
    const char *require;
    bool wait, force, recursive;
};

static enum err too_long(const char *what)
{
    log_error("%.200s: too long", what);
    return ERR_USAGE;
}

static enum err copy(char *to, size_t room, const char *text)
{
    return !text || (size_t) snprintf(to, room, "%s", text) < room ? ERR_OK : too_long(text);
}

static enum err set_owner(struct wire_submit *s, const char *owner)
{
    const struct passwd *who = owner ? NULL : getpwuid(getuid());
    return copy(s->owner, sizeof(s->owner), owner ? owner : who ? who->pw_name : "nobody");
}

static void set_plan(struct wire_submit *s, const struct plan_options *p)
{
    s->segment_ms = p->segment_ms;
    s->overlap_ms = p->overlap_ms;
    s->crossfade_ms = p->crossfade_ms;
    s->min_cue_ms = p->min_cue_ms;
    s->max_cue_ms = p->max_cue_ms;
    s->cut = p->cut == 0; // the first choice of --cut
    s->seed = p->seed;
    s->scene_threshold = p->scene_threshold;
}

static void set_sampling(struct wire_submit *s, const struct model_options *m)
{
    s->temperature = m->temperature;
    s->top_p = m->top_p;
    s->guidance = m->guidance;
    s->top_k = (uint32_t) m->top_k;
}

static enum err set_delivery(struct wire_submit *s, const struct delivery_options *options)
{
    struct delivery d;
    enum err e = delivery_from(&d, options);
    if (e)
        return e;
    s->replace_audio = d.audio == FILM_AUDIO_REPLACE;
    s->keep_loudness = d.keep_loudness;
    s->overwrite = options->overwrite;
    s->target_lufs = d.target_lufs;
    s->ceiling_dbtp = d.ceiling_dbtp;
    s->bitrate = d.bitrate;
    e = copy(s->codec, sizeof(s->codec), d.codec);
    if (!e)
        e = copy(s->title, sizeof(s->title), d.title);
    return e ? e : copy(s->language, sizeof(s->language), d.language);
}

// What all films of this command have in common.
static enum err common_part(struct wire_submit *s, const struct submit_verb *v)
{
    *s = (struct wire_submit){ .priority = v->priority, .force = v->force };
    set_plan(s, &v->plan);
    set_sampling(s, &v->model);
    enum err e = set_delivery(s, &v->delivery);
    if (!e)
        e = set_owner(s, v->owner);
    if (!e)
        e = copy(s->require, sizeof(s->require), v->require);
    if (!e && v->model.model)
        e = sha256_file(s->model, v->model.model);
    return e;
}

// What no coordinator could deliver is refused before any film is submitted.
static enum err check_outputs(const struct films *films, const struct delivery_options *options)
{
    struct delivery d;
    enum err e = delivery_from(&d, options);
    for (size_t i = 0; !e && i < films->count; i++) {
        d.film = films->items[i].output;
        e = track_writer_check_settings(NULL, &d);
    }
    return e;
}

static enum err submit_one(struct client *c, const struct submit_verb *v,
                           const struct wire_submit *common, const struct film_output *film,
                           uint64_t *job)
{
    const struct wire_message *answer;
    struct wire_submit *s = &client_question(c, WIRE_SUBMIT)->submit;
    *s = *common;
    enum err e = copy(s->film, sizeof(s->film), film->film);
    if (!e)
        e = copy(s->output, sizeof(s->output), film->output);
    if (!e)
        e = client_ask(c, &answer);
    if (!e && answer->type != WIRE_SUBMITTED)
        e = ERR_UNAVAILABLE;
    if (e)
        return e;
    *job = answer->submitted.job;
    if (answer->submitted.existed)
        log_info("%s: this is job %llu already", film->film, (unsigned long long) *job);
    if (!v->talk.json && !v->talk.quiet)
        printf("job %llu: %s\n", (unsigned long long) *job, film->film);
    fflush(stdout);
    return ERR_OK;
}

static enum err show(struct client *c, uint64_t job, struct wire_job *out)
{
    const struct wire_message *answer;
    client_question(c, WIRE_SHOW)->show.job = job;
    const enum err e = client_ask(c, &answer);
    if (e)
        return e;
    if (answer->type != WIRE_JOB)
        return ERR_UNAVAILABLE;
    *out = answer->job;
    return ERR_OK;
}

// Until it is over. ERR_INPUT when it failed or was cancelled: logged.
static enum err wait_for(struct client *c, uint64_t job, struct wire_job *out)
{
    bool held = false;
    for (;;) {
        const enum err e = show(c, job, out);
        if (e)
            return e;
        if (out->over)
            break;
        if (!strcmp(out->state, "HELD") && !held)
            log_warn("job %llu waits for somebody: %s", (unsigned long long) job, out->reason);
        held = !strcmp(out->state, "HELD");
        for (double until = clock_seconds() + ASK_EVERY_S; clock_seconds() < until;) {
            if (interrupt_asked()) {
                log_info("job %llu goes on; `underscore cancel` stops it",
                         (unsigned long long) job);
                return ERR_STOP;
            }
            usleep(50000);
        }
    }
    if (!strcmp(out->state, "DONE"))
        return ERR_OK;
    log_error("%s: %s: %s", out->film, out->state, out->reason);
    return ERR_INPUT;
}

static enum err finish_one(struct client *c, const struct submit_verb *v, uint64_t job,
                           json_t *list)
{
    struct wire_job *j = malloc(sizeof(*j));
    enum err e = !j ? ERR_NOMEM : v->wait ? wait_for(c, job, j) : show(c, job, j);
    if (j && (!e || e == ERR_INPUT))
        json_array_append_new(list, job_json(j));
    if (!e && v->wait && !v->talk.json && !v->talk.quiet)
        printf("%s\n", j->output);
    free(j);
    return e;
}

// Every film is submitted, and waited for, whatever becomes of the others: what is wrong
// with one has been said, and counts in the end.
static enum err submit_all(struct client *c, const struct submit_verb *v,
                           const struct wire_submit *common, const struct films *films,
                           json_t *list)
{
    uint64_t *jobs = calloc(films->count + 1, sizeof(*jobs)); // 0: refused
    enum err e = jobs ? ERR_OK : ERR_NOMEM, worst = ERR_OK;
    for (size_t i = 0; !e && i < films->count; i++) {
        e = interrupt_asked() ? ERR_STOP : submit_one(c, v, common, &films->items[i], &jobs[i]);
        if (e == ERR_INPUT)
            worst = e, e = ERR_OK;
    }
    for (size_t i = 0; !e && i < films->count; i++) {
        e = jobs[i] ? finish_one(c, v, jobs[i], list) : ERR_OK;
        if (e == ERR_INPUT)
            worst = e, e = ERR_OK;
    }
    free(jobs);
    return e ? e : worst;
}

static enum err run(const struct submit_verb *v, const struct verb_arguments *arguments)
{
    struct client *c = NULL;
    struct films films = { 0 };
    struct wire_submit *common = malloc(sizeof(*common));
    json_t *list = json_array();
    enum err e = common ? common_part(common, v) : ERR_NOMEM;
    if (!e)
        e = films_collect(&films, arguments->values, arguments->count, v->recursive);
    if (!e)
        e = films_name_outputs(&films, v->delivery.output);
    if (!e)
        e = check_outputs(&films, &v->delivery);
    if (!e)
        e = client_open(&c, &v->farm);
    if (!e && v->wait)
        client_persist(c);
    if (!e)
        e = submit_all(c, v, common, &films, list);
    if (v->talk.json && (!e || e == ERR_INPUT))
        json_print(json_incref(list));
    json_decref(list);
    client_close(&c);
    films_free(&films);
    free(common);
    return e;
}

// Takes options that make no sense on a farm out of a table.
static void leave_out(struct option_spec *specs, const char *const *names)
{
    struct option_spec *to = specs;
    for (const struct option_spec *from = specs; from->name; from++) {
        bool keep = true;
        for (const char *const *n = names; *n; n++)
            keep = keep && strcmp(from->name, *n) != 0;
        if (keep)
            *to++ = *from;
    }
    *to = (struct option_spec){ 0 };
}

enum err verb_submit(int argc, char **argv)
{
    struct submit_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], plan[SETTINGS_MAX_SPECS],
        model[SETTINGS_MAX_SPECS], delivery[SETTINGS_MAX_SPECS], farm[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Submitting", .kind = OPTION_HEADING },
        { .name = "wait",
          .letter = 'w',
          .kind = OPTION_FLAG,
          .target = &v.wait,
          .help = "until the films are done" },
        { .name = "owner",
          .kind = OPTION_STRING,
          .target = &v.owner,
          .value = "NAME",
          .help = "whose share of the farm this uses (you)" },
        { .name = "priority",
          .letter = 'p',
          .kind = OPTION_INT,
          .target = &v.priority,
          .value = "N",
          .min = -1000,
          .max = 1000,
          .help = "among the owner's jobs; higher goes first (0)" },
        { .name = "recursive",
          .letter = 'r',
          .kind = OPTION_FLAG,
          .target = &v.recursive,
          .help = "films in the folders below, too" },
        { .name = "require",
          .kind = OPTION_STRING,
          .target = &v.require,
          .value = "TERMS",
          .help =
              "of the workers, all of it: vram>=8G,vendor=amd\n(vram, slots: = != < <= > >=; vendor, device, driver,\n"
              "name: = != ~)" },
        { .name = "force",
          .kind = OPTION_FLAG,
          .target = &v.force,
          .help = "even if there is such a job" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    plan_table(&v.plan, plan);
    model_table(&v.model, model);
    delivery_table(&v.delivery, delivery);
    farm_table(&v.farm, farm);
    leave_out(model, (const char *const[]){ "device", "memory", "batch", "cache-dir",
                                            "validate", NULL });
    leave_out(delivery, (const char *const[]){ "wav", "report", "report-html", NULL });
    for (struct option_spec *s = model; s->name; s++)
        if (!strcmp(s->name, "model"))
            s->help = "the model that is to compose; needed where workers have several";
    const struct option_spec *const tables[] = { delivery, own, farm, plan, model, talk };
    const struct verb_page page = {
        .usage = "underscore submit FILM|FOLDER|PATTERN... -o OUT [--wait] [OPTIONS]",
        .summary =
            "Hand films to a farm. The coordinator must be able to read them and to write OUT, in which\n"
            "{dir}, {name} and {ext} stand for those of each film; {ext} is mkv where nothing else can be\n"
            "written. The same film, settings and output are one job, however often they are submitted.",
        .examples =
            "  underscore submit film.mkv -o film-scored.mkv --wait\n"
            "  underscore submit archive/ --recursive -o '{dir}/{name}.scored.{ext}' --require 'vram>=8G'",
        .tables = tables,
        .table_count = 6,
        .min_arguments = 1,
        .max_arguments = UINT32_MAX,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    if (!v.delivery.output) {
        log_error("-o OUT is needed; usage: %s", page.usage);
        return ERR_USAGE;
    }
    interrupt_watch();
    return run(&v, &arguments);
}
