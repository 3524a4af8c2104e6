// submit: films handed to a farm, and waited for if asked to.
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/job_print.h"
#include "cli/settings.h"
#include "cli/verb.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/media/sha256.h"

#define ASK_EVERY_S 0.5

struct submit_verb {
    struct talk_settings talk;
    struct farm_settings farm;
    struct plan_options plan;
    struct model_options model;
    struct delivery_options delivery;
    const char *owner;
    int64_t priority;
    bool wait, force;
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

// The name as the coordinator, which has another working directory, needs it.
static enum err absolute(char *to, const char *path)
{
    char here[PATH_MAX];
    if (path[0] == '/')
        return copy(to, WIRE_PATH_BYTES, path);
    if (!getcwd(here, sizeof(here)))
        return too_long(path);
    return snprintf(to, WIRE_PATH_BYTES, "%s/%s", here, path) < WIRE_PATH_BYTES ? ERR_OK : too_long(path);
}

// {dir}, {name} and {ext} of the film put into a template.
static enum err expand(char *to, const char *pattern, const char *film)
{
    const char *slash = strrchr(film, '/'), *base = slash ? slash + 1 : film, *dot = strrchr(base, '.');
    const struct { const char *word; const char *text; int bytes; } words[] = {
        { "{dir}", slash == film ? "/" : film, slash == film ? 1 : slash ? (int) (slash - film) : 0 },
        { "{name}", base, dot ? (int) (dot - base) : (int) strlen(base) },
        { "{ext}", dot ? dot + 1 : "", dot ? (int) strlen(dot + 1) : 0 },
    };
    size_t n = 0;
    for (const char *p = pattern; *p && n < WIRE_PATH_BYTES;) {
        size_t i = 0;
        while (i < 3 && strncmp(p, words[i].word, strlen(words[i].word)) != 0)
            i++;
        if (i < 3) {
            n += (size_t) snprintf(to + n, WIRE_PATH_BYTES - n, "%.*s", words[i].bytes, words[i].text);
            p += strlen(words[i].word);
        } else {
            to[n++] = *p++;
        }
    }
    if (n >= WIRE_PATH_BYTES)
        return too_long(pattern);
    to[n] = 0;
    return ERR_OK;
}

static enum err set_paths(struct wire_submit *s, const char *film, const char *pattern)
{
    char output[WIRE_PATH_BYTES];
    enum err e = absolute(s->film, film);
    if (!e)
        e = expand(output, pattern, s->film);
    return e ? e : absolute(s->output, output);
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
    if (!e && v->model.model)
        e = sha256_file(s->model, v->model.model);
    return e;
}

static enum err submit_one(struct client *c, const struct submit_verb *v, const struct wire_submit *common,
                           const char *film, uint64_t *job)
{
    const struct wire_message *answer;
    struct wire_submit *s = &client_question(c, WIRE_SUBMIT)->submit;
    *s = *common;
    enum err e = set_paths(s, film, v->delivery.output);
    if (!e)
        e = client_ask(c, &answer);
    if (!e && answer->type != WIRE_SUBMITTED)
        e = ERR_UNAVAILABLE;
    if (e)
        return e;
    *job = answer->submitted.job;
    if (answer->submitted.existed)
        log_info("%s: this is job %llu already", film, (unsigned long long) *job);
    if (!v->talk.json && !v->talk.quiet)
        printf("job %llu: %s\n", (unsigned long long) *job, film);
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
                log_info("job %llu goes on; `underscore cancel` stops it", (unsigned long long) job);
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

static enum err finish_one(struct client *c, const struct submit_verb *v, uint64_t job, json_t *list)
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

static enum err run(const struct submit_verb *v, const struct verb_arguments *films)
{
    struct client *c = NULL;
    uint64_t jobs[16];
    struct wire_submit *common = malloc(sizeof(*common));
    json_t *list = json_array();
    enum err e = common ? common_part(common, v) : ERR_NOMEM;
    if (!e)
        e = client_open(&c, &v->farm);
    for (uint32_t i = 0; !e && i < films->count; i++)
        e = submit_one(c, v, common, films->values[i], &jobs[i]);
    for (uint32_t i = 0; !e && i < films->count; i++)
        e = finish_one(c, v, jobs[i], list);
    if (v->talk.json && (!e || e == ERR_INPUT))
        json_print(json_incref(list));
    json_decref(list);
    client_close(&c);
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
    struct option_spec talk[SETTINGS_MAX_SPECS], plan[SETTINGS_MAX_SPECS], model[SETTINGS_MAX_SPECS],
        delivery[SETTINGS_MAX_SPECS], farm[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Submitting", .kind = OPTION_HEADING },
        { .name = "wait", .letter = 'w', .kind = OPTION_FLAG, .target = &v.wait, .help = "until the films are done" },
        { .name = "owner", .kind = OPTION_STRING, .target = &v.owner, .value = "NAME",
          .help = "whose share of the farm this uses (you)" },
        { .name = "priority", .letter = 'p', .kind = OPTION_INT, .target = &v.priority, .value = "N", .min = -1000,
          .max = 1000, .help = "among the owner's jobs; higher goes first (0)" },
        { .name = "force", .kind = OPTION_FLAG, .target = &v.force, .help = "even if there is such a job" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    plan_table(&v.plan, plan);
    model_table(&v.model, model);
    delivery_table(&v.delivery, delivery);
    farm_table(&v.farm, farm);
    leave_out(model, (const char *const[]){ "device", "memory", "batch", "cache-dir", "validate", NULL });
    leave_out(delivery, (const char *const[]){ "wav", "report", NULL });
    const struct option_spec *const tables[] = { delivery, own, farm, plan, model, talk };
    const struct verb_page page = {
        .usage = "underscore submit FILM... -o OUT [--wait] [OPTIONS]",
        .summary = "Hand films to a farm. The coordinator must be able to read them and to write OUT, in which\n"
                   "{dir}, {name} and {ext} stand for those of each film. The same film, settings and output\n"
                   "are one job, however often they are submitted.",
        .examples = "  underscore submit film.mkv -o film-scored.mkv --wait\n"
                    "  underscore submit films/*.mp4 -o '{dir}/{name}.scored.{ext}'",
        .tables = tables, .table_count = 6, .min_arguments = 1, .max_arguments = 16,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    if (arguments.count > 1 && v.delivery.output && !strstr(v.delivery.output, "{name}")) {
        log_error("-o %s: several films need {name} in it", v.delivery.output);
        return ERR_USAGE;
    }
    interrupt_watch();
    return run(&v, &arguments);
}
