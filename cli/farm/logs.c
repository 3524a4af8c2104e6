// logs: what happened to a job: every attempt at its segments, where, how it ended, and what
// its worker said when it came to nothing.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"

#define EVENTS_A_PAGE 200

// An attempt begins and ends: two lines.
struct moment {
    int64_t ms;
    size_t order; // of those in the same millisecond
    char *text;
};

struct logbook {
    const struct farm_verb *v;
    json_t *attempts;
    struct moment *moments;
    size_t count, room;
    uint64_t after;
    bool more;
};

static enum err note(struct logbook *b, int64_t ms, char *text)
{
    if (b->count == b->room) {
        const size_t room = b->room ? 2 * b->room : 256;
        struct moment *more = realloc(b->moments, room * sizeof(*more));
        if (!more) {
            free(text);
            return ERR_NOMEM;
        }
        b->moments = more;
        b->room = room;
    }
    if (text)
        b->moments[b->count] = (struct moment){ ms, b->count, text };
    b->count += text != NULL;
    return text ? ERR_OK : ERR_NOMEM;
}

// The lines of a log tail, each below the other.
static char *indented(const char *detail)
{
    char clean[3 * WIRE_TEXT_BYTES], *out = NULL;
    size_t bytes;
    FILE *f = open_memstream(&out, &bytes);
    for (const char *p = detail; f && *p;) {
        const size_t n = strcspn(p, "\n");
        char line[WIRE_TEXT_BYTES];
        snprintf(line, sizeof(line), "%.*s", (int) n, p);
        fprintf(f, "\n    %s", plain(clean, sizeof(clean), line));
        p += n + (p[n] == '\n');
    }
    if (f)
        fclose(f);
    return out;
}

static enum err take_event(struct logbook *b, const struct wire_event *ev)
{
    char worker[2 * WIRE_NAME_BYTES], *begun = NULL, *ended = NULL;
    plain(worker, sizeof(worker), ev->worker);
    json_array_append_new(
        b->attempts,
        json_pack("{s:I, s:I, s:o, s:s, s:I, s:I, s:o}", "attempt", (json_int_t) ev->attempt,
                  "segment", (json_int_t) ev->segment, "worker", json_text(ev->worker),
                  "outcome", ev->outcome, "leased_ms", (json_int_t) ev->leased_ms, "ended_ms",
                  (json_int_t) ev->ended_ms, "detail", json_text(ev->detail)));
    b->after = ev->attempt;
    if (asprintf(&begun, "segment %" PRIu32 ": leased to %s", ev->segment, worker) < 0)
        begun = NULL;
    enum err e = note(b, ev->leased_ms, begun);
    if (e || !ev->ended_ms)
        return e;
    char *detail = indented(ev->detail);
    if (!detail || asprintf(&ended, "segment %" PRIu32 ": %s, %s, after %.1f s%s", ev->segment,
                            ev->outcome, worker, (double) (ev->ended_ms - ev->leased_ms) / 1000,
                            detail) < 0)
        ended = NULL;
    free(detail);
    return note(b, ev->ended_ms, ended);
}

static enum err take(void *user, const struct wire_message *m)
{
    struct logbook *b = user;
    if (m->type == WIRE_EVENT)
        return take_event(b, &m->event);
    b->more = m->type == WIRE_LISTED && m->listed.more;
    return m->type == WIRE_LISTED ? ERR_OK : ERR_UNAVAILABLE;
}

static int by_time(const void *a, const void *b)
{
    const struct moment *x = a, *y = b;
    if (x->ms != y->ms)
        return x->ms < y->ms ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static enum err note_job(struct logbook *b, const struct wire_job *j)
{
    char *text = NULL, owner[2 * WIRE_NAME_BYTES], reason[3 * WIRE_TEXT_BYTES];
    if (asprintf(&text, "submitted by %s", plain(owner, sizeof(owner), j->owner)) < 0)
        text = NULL;
    enum err e = note(b, j->submitted_ms, text);
    if (e || !j->ended_ms)
        return e;
    if (asprintf(&text, "%s%s%s", j->state, *j->reason ? ": " : "",
                 plain(reason, sizeof(reason), j->reason)) < 0)
        text = NULL;
    return note(b, j->ended_ms, text);
}

static enum err fetch(struct client *c, struct logbook *b, uint64_t job, struct wire_job *j)
{
    const struct wire_message *answer;
    client_question(c, WIRE_SHOW)->show.job = job;
    enum err e = client_ask(c, &answer);
    if (!e && answer->type != WIRE_JOB)
        e = ERR_UNAVAILABLE;
    if (!e)
        *j = answer->job;
    for (b->more = true; !e && b->more;) {
        struct wire_message *q = client_question(c, WIRE_LOGS);
        q->logs.job = job;
        q->logs.after = b->after;
        q->logs.most = EVENTS_A_PAGE;
        e = farm_ask(c, WIRE_LISTED, take, b);
    }
    return e ? e : note_job(b, j);
}

static void print(const struct logbook *b, const struct wire_job *j)
{
    char when[TIME_TEXT_BYTES];
    if (b->v->talk.json) {
        json_print(json_pack("{s:o, s:O}", "job", job_json(j), "attempts", b->attempts));
        return;
    }
    qsort(b->moments, b->count, sizeof(*b->moments), by_time);
    for (size_t i = 0; i < b->count; i++)
        printf("%s  %s\n", time_text(when, b->moments[i].ms), b->moments[i].text);
}

enum err verb_logs(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = {
        "underscore logs JOB [--json]",
        "What happened to a job, in order: each attempt at a segment, its worker, how it ended, and the\n"
        "worker's last words where it failed.",
        1, 1, NULL
    };
    struct client *c = NULL;
    struct logbook b = { .v = &v };
    uint64_t job = 0;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    struct wire_job *j = malloc(sizeof(*j));
    b.attempts = json_array();
    e = j ? farm_job_number(v.arguments.values[0], &job) : ERR_NOMEM;
    if (!e)
        e = client_open(&c, &v.farm);
    if (!e)
        e = fetch(c, &b, job, j);
    if (!e)
        print(&b, j);
    for (size_t i = 0; i < b.count; i++)
        free(b.moments[i].text);
    free(b.moments);
    json_decref(b.attempts);
    client_close(&c);
    free(j);
    return e;
}
