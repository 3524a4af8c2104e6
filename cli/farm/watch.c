// watch: jobs of a farm as they get on: a table that is drawn anew on a terminal, a line for
// each step elsewhere.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/farm/screen.h"
#include "cli/verb.h"
#include "common/base/log.h"

#define EVERY_S 1.0
#define BAR_CELLS 20

// What is shown of a job.
struct row {
    uint64_t job;
    char state[WIRE_NAME_BYTES];
    uint32_t segments, done, running;
    int64_t left_ms;
    bool over, failed, seen; // seen: in this round
    char *film, *reason;
};

struct watching {
    const struct farm_verb *v;
    struct client *c;
    struct screen screen;
    struct row *rows;
    size_t count, room;
};

static struct row *find_row(const struct watching *w, uint64_t job)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->rows[i].job == job)
            return &w->rows[i];
    return NULL;
}

static struct row *add_row(struct watching *w, uint64_t job)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 32;
        struct row *more = realloc(w->rows, room * sizeof(*more));
        if (!more)
            return NULL;
        w->rows = more;
        w->room = room;
    }
    w->rows[w->count] = (struct row){ .job = job };
    return &w->rows[w->count++];
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void say_step(const struct watching *w, const struct row *r, const struct wire_job *j)
{
    char left[TIME_TEXT_BYTES];
    if (w->v->talk.json) {
        json_t *o = job_json(j);
        json_dumpf(o, stdout, JSON_COMPACT); // a line each
        json_decref(o);
        putchar('\n');
    } else {
        printf("job %" PRIu64 ": %s, %" PRIu32 " of %" PRIu32 " segments", r->job, r->state,
               r->done, r->segments);
        if (r->left_ms >= 0 && !r->over)
            printf(", about %s left", span_text(left, r->left_ms));
        printf(": %s%s%s\n", r->film, *r->reason ? ": " : "", r->reason);
    }
    fflush(stdout);
}

static char *clean(const char *text)
{
    char out[2 * WIRE_PATH_BYTES];
    return strdup(plain(out, sizeof(out), text));
}

static enum err update(struct watching *w, const struct wire_job *j)
{
    struct row *r = find_row(w, j->job);
    if (!r)
        r = add_row(w, j->job);
    if (!r)
        return ERR_NOMEM;
    const bool step = !r->film || strcmp(r->state, j->state) != 0 || r->done != j->done;
    free(r->film), free(r->reason);
    *r = (struct row){ .job = j->job,
                       .segments = j->segments,
                       .done = j->done,
                       .running = j->running,
                       .left_ms = j->left_ms,
                       .over = j->over,
                       .failed = j->over && strcmp(j->state, "DONE") != 0,
                       .seen = true,
                       .film = clean(name_of(j->film)),
                       .reason = clean(j->reason) };
    memcpy(r->state, j->state, sizeof(r->state));
    if (!r->film || !r->reason)
        return ERR_NOMEM;
    if (step && (!w->screen.terminal || w->v->talk.json))
        say_step(w, r, j);
    return ERR_OK;
}

static enum err take_listed(void *user, const struct wire_job *j)
{
    return update(user, j);
}

static enum err look_at(struct watching *w, uint64_t job)
{
    const struct wire_message *answer;
    client_question(w->c, WIRE_SHOW)->show.job = job;
    enum err e = client_ask(w->c, &answer);
    if (!e)
        e = answer->type == WIRE_JOB ? update(w, &answer->job) : ERR_UNAVAILABLE;
    return e;
}

// Whatever is not over, and what has ended since the last round.
static enum err look(struct watching *w)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < w->count; i++)
        w->rows[i].seen = false;
    if (w->v->arguments.count == 0)
        e = farm_jobs(w->c, &(struct farm_list){ 0 }, take_listed, w);
    for (size_t i = 0; !e && i < w->count; i++)
        if (!w->rows[i].seen && !w->rows[i].over)
            e = look_at(w, w->rows[i].job);
    return e;
}

static void draw_row(FILE *f, const struct row *r)
{
    char bar[BAR_CELLS + 1], left[TIME_TEXT_BYTES], segments[32] = "";
    const uint32_t full =
        r->segments ? (uint32_t) ((uint64_t) BAR_CELLS * r->done / r->segments) : 0;
    memset(bar, '.', BAR_CELLS);
    memset(bar, '#', full < BAR_CELLS ? full : BAR_CELLS);
    bar[BAR_CELLS] = 0;
    if (r->segments)
        snprintf(segments, sizeof(segments), "%" PRIu32 "/%" PRIu32, r->done, r->segments);
    fprintf(f, "%6" PRIu64 "  %-10s [%s] %9s  %8s  %s%s%s\n", r->job, r->state, bar, segments,
            span_text(left, r->over ? -1 : r->left_ms), r->film, *r->reason ? ": " : "",
            r->reason);
}

static enum err draw(struct watching *w)
{
    FILE *f = screen_begin(&w->screen);
    uint32_t open = 0;
    if (!f)
        return ERR_NOMEM;
    for (size_t i = 0; i < w->count; i++)
        open += !w->rows[i].over;
    fprintf(f, "%6s  %-10s %-22s %9s  %8s  %s\n", "job", "state", "", "segments", "left",
            "film");
    for (size_t i = 0; i < w->count; i++)
        if (!w->rows[i].over)
            draw_row(f, &w->rows[i]);
    for (size_t i = w->count; i-- > 0;) // below: the last that ended first
        if (w->rows[i].over)
            draw_row(f, &w->rows[i]);
    fprintf(f, "%" PRIu32 " of %zu jobs are not over\n", open, w->count);
    return screen_show(&w->screen);
}

static bool all_over(const struct watching *w)
{
    for (size_t i = 0; i < w->count; i++)
        if (!w->rows[i].over)
            return false;
    return true;
}

static enum err watch(struct watching *w)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < w->v->arguments.count; i++) {
        uint64_t job;
        e = farm_job_number(w->v->arguments.values[i], &job);
        if (!e && !find_row(w, job) && !add_row(w, job))
            e = ERR_NOMEM;
    }
    if (!e)
        e = client_open(&w->c, &w->v->farm);
    if (!e)
        client_persist(w->c);
    while (!e) {
        e = look(w);
        if (!e && w->screen.terminal && !w->v->talk.json)
            e = draw(w);
        if (e || all_over(w))
            break;
        e = farm_sleep(EVERY_S);
    }
    for (size_t i = 0; !e && i < w->count; i++)
        if (w->rows[i].failed)
            e = ERR_INPUT; // the table says which
    return e;
}

enum err verb_watch(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = {
        "underscore watch [JOB...] [--json]",
        "Jobs as they get on, until all of them are over: those named, or all that are not over and all that\n"
        "come. On a terminal a table with what is done and about how long the rest takes at the present\n"
        "rate; elsewhere a line for each step.",
        0, UINT32_MAX, NULL
    };
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    struct watching w = { .v = &v };
    screen_init(&w.screen);
    e = watch(&w);
    screen_finish(&w.screen);
    client_close(&w.c);
    for (size_t i = 0; i < w.count; i++)
        free(w.rows[i].film), free(w.rows[i].reason);
    free(w.rows);
    return e;
}
