// farm_verbs: what one asks of a farm and tells it about its jobs: list, show, explain,
// and the orders: cancel, pause, resume, retry, prio.
#include <stdio.h>
#include <stdlib.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"

// list

struct listed {
    json_t *list; // or NULL: printed
    bool begun;
};

// Where there is an answer: nothing is above an error.
static void begin_list(struct listed *l)
{
    if (!l->list && !l->begun)
        job_print_heading();
    l->begun = true;
}

static enum err list_job(void *user, const struct wire_job *j)
{
    struct listed *l = user;
    begin_list(l);
    if (l->list)
        json_array_append_new(l->list, job_json(j));
    else
        job_print_line(j);
    return ERR_OK;
}

static uint64_t not_listed(const struct farm_list *l)
{
    return l->last && l->count > l->last ? l->count - l->last : 0;
}

enum err verb_list(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    struct farm_list which = { 0 };
    int64_t limit = 0;
    const struct option_spec own[] = {
        { .name = "Listing", .kind = OPTION_HEADING },
        { .name = "all",
          .letter = 'a',
          .kind = OPTION_FLAG,
          .target = &which.all,
          .help = "those that are over, too" },
        { .name = "limit",
          .letter = 'n',
          .kind = OPTION_INT,
          .target = &limit,
          .value = "N",
          .min = 1,
          .max = WIRE_MAX_JOBS,
          .help = "the last N alone, the newest first (all, the oldest first)" },
        { 0 },
    };
    const struct farm_page about = { "underscore list [--all] [--limit N] [--json]",
                                     "The jobs of a farm.", 0, 0, own };
    struct client *c = NULL;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    struct listed listed = { .list = v.talk.json ? json_array() : NULL };
    which.last = (uint32_t) limit;
    e = client_open(&c, &v.farm);
    if (!e)
        e = farm_jobs(c, &which, list_job, &listed);
    if (!e)
        begin_list(&listed);
    if (!e && v.talk.json)
        json_print(json_pack("{s:O, s:I}", "jobs", listed.list, "more",
                             (json_int_t) not_listed(&which)));
    else if (!e && not_listed(&which))
        printf("%llu more\n", (unsigned long long) not_listed(&which));
    json_decref(listed.list);
    client_close(&c);
    return e;
}

// show

static void show_json(const struct wire_job *j)
{
    json_t *o = job_json(j);
    json_object_set_new(o, "model", *j->model ? json_text(j->model) : json_null());
    json_object_set_new(o, "license", json_text(j->license));
    json_print(o);
}

static void show_text(const struct wire_job *j)
{
    char license[2 * WIRE_LICENSE_BYTES];
    job_print(j);
    if (*j->model)
        printf("%-10s %.12s, licence: %s\n", "model", j->model,
               *j->license ? plain(license, sizeof(license), j->license) : "none was given");
}

enum err verb_show(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { "underscore show JOB [--json]",
                                     "All that is known of a job.", 1, 1, NULL };
    const struct wire_message *answer;
    struct client *c = NULL;
    uint64_t job;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = farm_job_number(v.arguments.values[0], &job);
    if (!e)
        e = client_open(&c, &v.farm);
    if (!e) {
        client_question(c, WIRE_SHOW)->show.job = job;
        e = client_ask(c, &answer);
    }
    if (!e && answer->type != WIRE_JOB)
        e = ERR_UNAVAILABLE;
    if (!e && v.talk.json)
        show_json(&answer->job);
    else if (!e)
        show_text(&answer->job);
    client_close(&c);
    return e;
}

// explain

enum err verb_explain(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { "underscore explain JOB [--json]",
                                     "Why what waits of a job is not being composed.", 1, 1,
                                     NULL };
    const struct wire_message *answer;
    struct client *c = NULL;
    uint64_t job;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = farm_job_number(v.arguments.values[0], &job);
    if (!e)
        e = client_open(&c, &v.farm);
    if (!e) {
        client_question(c, WIRE_EXPLAIN)->explain.job = job;
        e = client_ask(c, &answer);
    }
    json_t *lines = json_array();
    for (; !e && answer->type == WIRE_LINE; e = client_next(c, &answer)) {
        char line[3 * WIRE_TEXT_BYTES];
        json_array_append_new(lines, json_text(answer->line.text));
        if (!v.talk.json)
            printf("%s\n", plain(line, sizeof(line), answer->line.text));
    }
    if (!e && v.talk.json)
        json_print(json_pack("{s:I, s:O}", "job", (json_int_t) job, "why", lines));
    json_decref(lines);
    client_close(&c);
    return e;
}

// Orders

static enum err order_one(struct client *c, const struct farm_verb *v, enum wire_job_order what,
                          uint64_t job, int64_t value)
{
    const struct wire_message *answer;
    struct wire_message *q = client_question(c, WIRE_ORDER);
    q->order.job = job;
    q->order.what = (uint32_t) what;
    q->order.value = value;
    enum err e = client_ask(c, &answer);
    if (!e && answer->type != WIRE_OBEYED)
        e = ERR_UNAVAILABLE;
    if (!e && v->talk.json)
        json_print(json_pack("{s:I}", "job", (json_int_t) job));
    return e;
}

// Each job is told, whatever becomes of the others: what is wrong with one has been said, and
// counts in the end.
static enum err order_all(const struct farm_verb *v, enum wire_job_order what, uint32_t count,
                          int64_t value)
{
    struct client *c = NULL;
    uint64_t job;
    enum err e = ERR_OK, worst = ERR_OK;
    for (uint32_t i = 0; !e && i < count; i++)
        e = farm_job_number(v->arguments.values[i], &job);
    if (!e)
        e = client_open(&c, &v->farm);
    for (uint32_t i = 0; !e && i < count; i++) {
        e = farm_job_number(v->arguments.values[i], &job);
        if (!e)
            e = order_one(c, v, what, job, value);
        if (e == ERR_INPUT)
            worst = e, e = ERR_OK;
    }
    client_close(&c);
    return e ? e : worst;
}

static enum err order(const char *usage, const char *summary, enum wire_job_order what,
                      int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { usage, summary, 1, UINT32_MAX, NULL };
    const enum err e = farm_parse(&v, &about, argc, argv);
    return e || v.arguments.help_shown ? e : order_all(&v, what, v.arguments.count, 0);
}

enum err verb_cancel(int argc, char **argv)
{
    return order("underscore cancel JOB...", "Stop jobs. `retry` takes one up where it was.",
                 WIRE_JOB_CANCEL, argc, argv);
}

enum err verb_pause(int argc, char **argv)
{
    return order("underscore pause JOB...", "Begin no more segments of these jobs.",
                 WIRE_JOB_PAUSE, argc, argv);
}

enum err verb_resume(int argc, char **argv)
{
    return order("underscore resume JOB...", "Let paused jobs go on.", WIRE_JOB_RESUME, argc,
                 argv);
}

enum err verb_retry(int argc, char **argv)
{
    return order("underscore retry JOB...",
                 "Try jobs again that failed, were cancelled or are held; what is done stays.",
                 WIRE_JOB_RETRY, argc, argv);
}

enum err verb_prio(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    int64_t value;
    const struct option_spec priority = { .kind = OPTION_INT,
                                          .target = &value,
                                          .min = -1000,
                                          .max = 1000 };
    const struct farm_page about = {
        "underscore prio JOB N",
        "Give a job another priority among its owner's, -1000 to 1000; higher goes first.", 2,
        2, NULL
    };
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = option_set(&priority, v.arguments.values[1], NULL, v.arguments.values[1]);
    return e ? e : order_all(&v, WIRE_JOB_PRIORITY, 1, value);
}
