// farm_verbs: what one asks of a farm and tells it about its jobs: list, show, explain,
// node, and the orders: cancel, pause, resume, retry, prio.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/job_print.h"
#include "cli/settings.h"
#include "cli/verb.h"
#include "common/base/log.h"

#define JOBS_A_PAGE 200

struct farm_verb {
    struct talk_settings talk;
    struct farm_settings farm;
    struct verb_arguments arguments;
    bool all;
};

struct farm_page {
    const char *usage, *summary;
    uint32_t least, most; // arguments
    const struct option_spec *own; // or NULL
};

static enum err parse(struct farm_verb *v, const struct farm_page *about, int argc, char **argv)
{
    static const struct option_spec none[] = { { 0 } };
    struct option_spec talk[SETTINGS_MAX_SPECS], farm[SETTINGS_MAX_SPECS];
    talk_table(&v->talk, talk);
    farm_table(&v->farm, farm);
    const struct option_spec *const tables[] = { about->own ? about->own : none, farm, talk };
    const struct verb_page page = {
        .usage = about->usage, .summary = about->summary, .tables = tables, .table_count = 3,
        .min_arguments = about->least, .max_arguments = about->most,
    };
    const enum err e = options_parse(&page, argc, argv, &v->arguments);
    if (!e && !v->arguments.help_shown) {
        talk_apply(&v->talk);
        interrupt_watch();
    }
    return e;
}

static enum err job_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (end != text && !*end && !errno && *out > 0 && text[0] != '-')
        return ERR_OK;
    log_error("%s: not the number of a job", text);
    return ERR_USAGE;
}

// list

static enum err list_page(struct client *c, const struct farm_verb *v, uint64_t *after, bool *more, json_t *list)
{
    const struct wire_message *answer;
    struct wire_message *q = client_question(c, WIRE_LIST);
    q->list.after = *after;
    q->list.most = JOBS_A_PAGE;
    enum err e = client_ask(c, &answer);
    for (; !e && answer->type == WIRE_JOB; e = client_next(c, &answer)) {
        const struct wire_job *j = &answer->job;
        *after = j->job;
        if (j->over && !v->all)
            continue;
        if (v->talk.json)
            json_array_append_new(list, job_json(j));
        else
            job_print_line(j);
    }
    if (!e && answer->type != WIRE_LISTED)
        e = ERR_UNAVAILABLE;
    *more = !e && answer->listed.more;
    return e;
}

enum err verb_list(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct option_spec own[] = {
        { .name = "Listing", .kind = OPTION_HEADING },
        { .name = "all", .letter = 'a', .kind = OPTION_FLAG, .target = &v.all, .help = "those that are over, too" },
        { 0 },
    };
    const struct farm_page about = { "underscore list [--all] [--json]", "The jobs of a farm.", 0, 0, own };
    struct client *c = NULL;
    enum err e = parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    json_t *list = json_array();
    uint64_t after = 0;
    e = client_open(&c, &v.farm);
    if (!e && !v.talk.json)
        job_print_heading();
    for (bool more = true; !e && more;)
        e = list_page(c, &v, &after, &more, list);
    if (!e && v.talk.json)
        json_print(json_pack("{s:O}", "jobs", list));
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
    enum err e = parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = job_number(v.arguments.values[0], &job);
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
    enum err e = parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = job_number(v.arguments.values[0], &job);
    if (!e)
        e = client_open(&c, &v.farm);
    if (!e) {
        client_question(c, WIRE_EXPLAIN)->explain.job = job;
        e = client_ask(c, &answer);
    }
    json_t *lines = json_array();
    for (; !e && answer->type == WIRE_LINE; e = client_next(c, &answer)) {
        json_array_append_new(lines, json_string(answer->line.text));
        if (!v.talk.json)
            printf("%s\n", answer->line.text);
    }
    if (!e && v.talk.json)
        json_print(json_pack("{s:I, s:O}", "job", (json_int_t) job, "why", lines));
    json_decref(lines);
    client_close(&c);
    return e;
}

// node

static void print_node(const struct wire_node *n)
{
    printf("%-20s %-20s %5u/%-5u %8.2f %6llu %6llu  %s\n", n->name, n->state, n->held, n->slots, n->rate,
           (unsigned long long) n->done, (unsigned long long) n->failed, n->device);
}

static json_t *node_json(const struct wire_node *n)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I}", "name", n->name, "device", n->device, "state", n->state,
                     "slots", (json_int_t) n->slots, "held", (json_int_t) n->held, "rate", n->rate,
                     "done", (json_int_t) n->done, "failed", (json_int_t) n->failed);
}

enum err verb_node(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = { "underscore node list [--json]",
                                     "The workers of a farm: their state, what they have and what they did.", 1, 1,
                                     NULL };
    const struct wire_message *answer;
    struct client *c = NULL;
    enum err e = parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    if (strcmp(v.arguments.values[0], "list") != 0) {
        log_error("%s: not something to ask of nodes; usage: %s", v.arguments.values[0], about.usage);
        return ERR_USAGE;
    }
    e = client_open(&c, &v.farm);
    if (!e && !v.talk.json)
        printf("%-20s %-20s %11s %8s %6s %6s  %s\n", "name", "state", "held/slots", "rate", "done", "failed", "device");
    if (!e) {
        client_question(c, WIRE_NODES);
        e = client_ask(c, &answer);
    }
    json_t *list = json_array();
    for (; !e && answer->type == WIRE_NODE; e = client_next(c, &answer)) {
        json_array_append_new(list, node_json(&answer->node));
        if (!v.talk.json)
            print_node(&answer->node);
    }
    if (!e && v.talk.json)
        json_print(json_pack("{s:O}", "nodes", list));
    json_decref(list);
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
    enum err e = parse(&v, about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    e = job_number(v.arguments.values[0], &job);
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
