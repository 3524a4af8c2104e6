// farm_verbs: what one asks of a farm and tells it about its jobs: list, show, explain,
// and the orders: cancel, pause, resume, retry, prio.
#include <stdio.h>
#include <stdlib.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"

// list

static enum err list_job(void *list, const struct wire_job *j)
{
    if (list)
        json_array_append_new(list, job_json(j));
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
        { .name = "all", .letter = 'a', .kind = OPTION_FLAG, .target = &which.all, .help = "those that are over, too" },
        { .name = "limit", .letter = 'n', .kind = OPTION_INT, .target = &limit, .value = "N", .min = 1,
          .max = WIRE_MAX_JOBS, .help = "the last N alone, the newest first (all, the oldest first)" },
        { 0 },
    };
    const struct farm_page about = { "underscore list [--all] [--limit N] [--json]", "The jobs of a farm.", 0, 0, own };
    struct client *c = NULL;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    json_t *list = v.talk.json ? json_array() : NULL;
    which.last = (uint32_t) limit;
    e = client_open(&c, &v.farm);
    if (!e && !v.talk.json)
        job_print_heading();
    if (!e)
        e = farm_jobs(c, &which, list_job, list);
    if (!e && v.talk.json)
        json_print(json_pack("{s:O, s:I}", "jobs", list, "more", (json_int_t) not_listed(&which)));
    else if (!e && not_listed(&which))
        printf("%llu more\n", (unsigned long long) not_listed(&which));
    json_decref(list);
    client_close(&c);
    return e;
}

// show

enum err verb_show(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { "underscore show JOB [--json]", "All that is known of a job.", 1, 1, NULL };
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
        json_print(job_json(&answer->job));
    else if (!e)
        job_print(&answer->job);
    client_close(&c);
    return e;
}

// explain

enum err verb_explain(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { "underscore explain JOB [--json]",
                                     "Why what waits of a job is not being composed.", 1, 1, NULL };
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

static enum err order(const struct farm_page *about, enum wire_job_order what, int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct wire_message *answer;
    struct client *c = NULL;
    uint64_t job;
    enum err e = farm_parse(&v, about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = farm_job_number(v.arguments.values[0], &job);
    if (!e)
        e = client_open(&c, &v.farm);
    if (!e) {
        struct wire_message *q = client_question(c, WIRE_ORDER);
        q->order.job = job;
        q->order.what = (uint32_t) what;
        q->order.value = v.arguments.count > 1 ? strtoll(v.arguments.values[1], NULL, 10) : 0;
        e = client_ask(c, &answer);
    }
    if (!e && answer->type != WIRE_OBEYED)
        e = ERR_UNAVAILABLE;
    if (!e && v.talk.json)
        json_print(json_pack("{s:I}", "job", (json_int_t) job));
    client_close(&c);
    return e;
}

enum err verb_cancel(int argc, char **argv)
{
    const struct farm_page about = { "underscore cancel JOB", "Stop a job. `retry` takes it up where it was.", 1, 1, NULL };
    return order(&about, WIRE_JOB_CANCEL, argc, argv);
}

enum err verb_pause(int argc, char **argv)
{
    const struct farm_page about = { "underscore pause JOB", "Begin no more segments of a job.", 1, 1, NULL };
    return order(&about, WIRE_JOB_PAUSE, argc, argv);
}

enum err verb_resume(int argc, char **argv)
{
    const struct farm_page about = { "underscore resume JOB", "Let a paused job go on.", 1, 1, NULL };
    return order(&about, WIRE_JOB_RESUME, argc, argv);
}

enum err verb_retry(int argc, char **argv)
{
    const struct farm_page about = { "underscore retry JOB",
                                     "Try a job again that failed, was cancelled or is held; what is done stays.", 1, 1,
                                     NULL };
    return order(&about, WIRE_JOB_RETRY, argc, argv);
}

enum err verb_prio(int argc, char **argv)
{
    const struct farm_page about = { "underscore prio JOB N",
                                     "Give a job another priority among its owner's; higher goes first.", 2, 2, NULL };
    return order(&about, WIRE_JOB_PRIORITY, argc, argv);
}
