// The hub as others see it: figures that are counted as it works, and a snapshot of all of
// it, handed to the thread that serves the status page.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"
#include "coordinator/page/snapshot.h"

#define EVERY_S 1.0
// What is shown of each kind.
#define MOST_OPEN 100
#define MOST_OVER 20
#define MOST_FAILURES 20
#define MOST_TIMELINE 4000 // segments of one job

// Counting

static void turn_minutes(struct hub *h, double now)
{
    struct hub_figures *g = &h->figures;
    const int64_t minute = (int64_t) (now / 60), passed = minute - g->minute;
    if (passed <= 0)
        return;
    const size_t by = passed < SNAPSHOT_MINUTES ? (size_t) passed : SNAPSHOT_MINUTES;
    memmove(g->minutes, g->minutes + by, (SNAPSHOT_MINUTES - by) * sizeof(*g->minutes));
    for (size_t i = SNAPSHOT_MINUTES - by; i < SNAPSHOT_MINUTES; i++)
        g->minutes[i] = 0;
    g->minute = minute;
}

void hub_count(struct hub *h, enum outcome outcome, double music_s, double gpu_s, double now)
{
    turn_minutes(h, now);
    h->figures.attempts[outcome]++;
    h->figures.music_s += music_s;
    h->figures.gpu_s += gpu_s;
    h->figures.minutes[SNAPSHOT_MINUTES - 1] += music_s;
}

// The snapshot

struct filling {
    struct hub *h;
    struct snapshot *s;
    size_t room;
};

static void show_timeline(struct hub *h, struct shown_job *out)
{
    static const enum shown_state states[] = {
        [WORK_BLOCKED] = SHOWN_WAITS,    [WORK_READY] = SHOWN_WAITS, [WORK_LEASED] = SHOWN_RUNS,
        [WORK_RETRY_WAIT] = SHOWN_WAITS, [WORK_DONE] = SHOWN_DONE,
    };
    const struct hub_job *j = hub_job_get(h, out->id);
    const struct work_job *work = schedule_job(&h->schedule, out->id);
    if (!j || !work || work->count > MOST_TIMELINE)
        return;
    out->timeline = calloc(work->count, sizeof(*out->timeline));
    for (uint32_t i = 0; out->timeline && i < work->count; i++) {
        const struct plan_segment *g = &j->plan->segments[i];
        out->timeline[i] =
            (struct shown_segment){ g->start_ms + g->overlap_ms, g->end_ms,
                                    work->segments[i].cue, states[work->segments[i].state] };
    }
    out->timeline_count = out->timeline ? work->count : 0;
}

static enum err show_job(void *user, const struct ledger_job *j)
{
    struct filling *f = user;
    const enum err e =
        array_grow((void **) &f->s->jobs, f->s->job_count, &f->room, sizeof(*f->s->jobs));
    if (e)
        return e;
    struct shown_job *out = &f->s->jobs[f->s->job_count];
    const double left = schedule_left(&f->h->schedule, &f->h->fleet, j->id);
    *out = (struct shown_job){
        .id = j->id,
        .film = strdup(j->film),
        .segments = j->segments,
        .done = j->done,
        .running = schedule_running(&f->h->schedule, j->id),
        .priority = j->priority,
        .duration_ms = j->duration_ms,
        .submitted_ms = j->submitted_ms,
        .ended_ms = j->ended_ms,
        .left_ms = left < 0 ? -1 : (int64_t) (left * 1000),
        .failed = j->state == JOB_FAILED,
    };
    if (!out->film)
        return ERR_NOMEM;
    f->s->job_count++;
    snprintf(out->owner, sizeof(out->owner), "%s", j->owner);
    snprintf(out->state, sizeof(out->state), "%s", job_state_name(j->state));
    snprintf(out->reason, sizeof(out->reason), "%s", j->reason);
    show_timeline(f->h, out);
    return ERR_OK;
}

static enum err show_failure(void *user, const struct ledger_attempt *a)
{
    struct snapshot *s = ((struct filling *) user)->s;
    struct shown_failure *out = &s->failures[s->failure_count++];
    *out = (struct shown_failure){ .at_ms = a->ended_ms,
                                   .job = a->job,
                                   .segment = a->segment,
                                   .outcome = outcome_name(a->outcome) };
    snprintf(out->worker, sizeof(out->worker), "%s", a->worker);
    snprintf(out->detail, sizeof(out->detail), "%s", a->detail);
    return ERR_OK;
}

static enum err show_ledger(struct hub *h, struct snapshot *s)
{
    struct filling f = { h, s, 0 };
    uint64_t counts[JOB_STATES];
    s->failures = calloc(MOST_FAILURES, sizeof(*s->failures));
    enum err e = s->failures ? ledger_each_open(h->ledger, MOST_OPEN, show_job, &f) : ERR_NOMEM;
    if (!e)
        e = ledger_each_over(h->ledger, MOST_OVER, show_job, &f);
    if (!e)
        e = ledger_each_failure(h->ledger, MOST_FAILURES, show_failure, &f);
    if (!e)
        e = ledger_count_jobs(h->ledger, counts);
    for (int i = 0; !e && i < JOB_STATES; i++)
        s->jobs_in[i] = (struct shown_count){ job_state_name((enum job_state) i), counts[i] };
    return e;
}
_Static_assert(JOB_STATES < SNAPSHOT_COUNTS && OUTCOMES < SNAPSHOT_COUNTS,
               "counts end with a zero");

static enum err show_fleet(const struct hub *h, struct snapshot *s, double now)
{
    s->nodes = calloc(h->fleet.count + 1, sizeof(*s->nodes));
    s->work = calloc(h->schedule.lease_count + 1, sizeof(*s->work));
    if (!s->nodes || !s->work)
        return ERR_NOMEM;
    for (size_t i = 0; i < h->fleet.count; i++) {
        const struct fleet_worker *w = &h->fleet.workers[i];
        struct shown_node *out = &s->nodes[s->node_count++];
        *out = (struct shown_node){
            .memory = w->memory,
            .done = w->done,
            .failed = w->failed,
            .slots = w->slots,
            .held = w->held,
            .rate = w->rate,
            .here = !fleet_is_gone(w),
            .drained = w->drained,
            .quarantined = w->quarantined,
        };
        snprintf(out->name, sizeof(out->name), "%s", w->name);
        snprintf(out->device, sizeof(out->device), "%s", w->device);
        snprintf(out->state, sizeof(out->state), "%s", worker_state_name(w->state));
    }
    for (size_t i = 0; i < h->schedule.lease_count; i++) {
        const struct work_lease *l = &h->schedule.leases[i];
        const struct work_job *j = schedule_job(&h->schedule, l->job);
        if (j && l->worker != SCHEDULE_NOBODY)
            s->work[s->work_count++] =
                (struct shown_work){ l->worker, l->job, (int64_t) ((now - l->granted_s) * 1000),
                                     l->segment, j->segments[l->segment].cue };
    }
    return ERR_OK;
}

static void show_figures(struct hub *h, struct snapshot *s, double now)
{
    static const char *const states[] = {
        [WORK_BLOCKED] = "BLOCKED",       [WORK_READY] = "READY", [WORK_LEASED] = "LEASED",
        [WORK_RETRY_WAIT] = "RETRY_WAIT", [WORK_DONE] = "DONE",
    };
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        s->segments_in[i] = (struct shown_count){ states[i], h->schedule.lines.in_state[i] };
    for (int i = OUTCOME_ACCEPTED; i < OUTCOMES; i++)
        s->attempts[i - OUTCOME_ACCEPTED] =
            (struct shown_count){ outcome_name((enum outcome) i), h->figures.attempts[i] };
    s->at_ms = clock_unix_ms();
    s->up_s = now - h->started_s;
    s->epoch = ledger_epoch(h->ledger);
    s->disabled = h->queue.disabled;
    s->stopped = h->queue.stopped;
    s->paused = h->paused;
    s->music_s = h->figures.music_s;
    s->gpu_s = h->figures.gpu_s;
    s->dropped = h->dropped;
    s->children = h->children.most - children_free(&h->children);
    turn_minutes(h, now);
    memcpy(s->minutes, h->figures.minutes, sizeof(s->minutes));
}

// A ledger that cannot be read just now leaves the page as it is.
void hub_status_tick(struct hub *h, double now)
{
    if (!h->status || now < h->next_status_s)
        return;
    h->next_status_s = now + EVERY_S;
    struct snapshot *s = snapshot_create();
    enum err e = s ? show_ledger(h, s) : ERR_NOMEM;
    if (!e)
        e = show_fleet(h, s, now);
    if (e) {
        snapshot_release(&s);
        return;
    }
    show_figures(h, s, now);
    status_server_show(h->status, s);
}

enum err hub_status_open(struct hub *h)
{
    const bool asked = h->p.status != NULL;
    h->started_s = clock_seconds();
    h->figures.minute = (int64_t) (h->started_s / 60);
    if (asked && !strcmp(h->p.status, "none"))
        return ERR_OK;
    const enum err e = status_server_open(&h->status, asked ? h->p.status : STATUS_ADDRESS);
    if (!e)
        hub_status_tick(h, h->started_s);
    if (e != ERR_UNAVAILABLE || asked)
        return e;
    log_warn("going on without a status page; --status ADDRESS:PORT puts it elsewhere");
    return ERR_OK;
}
