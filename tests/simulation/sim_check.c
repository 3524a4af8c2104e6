// What must hold, whatever happens: asked of the ledger and the schedule, and of what the
// simulation has seen with its own eyes.
#include "tests/simulation/sim.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/ledger/ledger_internal.h"

// Of a new lease.
void sim_check_lease(struct sim *s, const struct work_lease *l, size_t worker)
{
    const struct sim_worker *w = &s->workers[worker];
    struct sim_job *j = sim_job(s, l->job);
    struct sim_segment *g = &j->segments[l->segment];
    const struct work_job *work = schedule_job(&s->schedule, l->job);
    const char *what = NULL;
    if (l->attempt <= s->last_attempt)
        what = "has the number of an earlier one";
    else if (l->fence <= g->fence)
        what = "has a fence that is no higher than the last";
    else if (g->accepted)
        what = "is of a segment that is done";
    else if (g->place > 0 && !j->segments[l->segment - 1].accepted)
        what = "is of a segment whose predecessor is not done";
    else if (strcmp(j->model, w->model) != 0)
        what = "is for a worker with another model";
    else if (w->memory < j->memory)
        what = "is for a worker that does not meet the requirement";
    else if (w->drained || w->quarantined)
        what = "is for a worker that is drained or in quarantine";
    else if (w->in_a_row >= FLEET_MOST_TROUBLES)
        what = "is for a GPU that failed three times in a row";
    else if (work->paused || s->queue_stopped)
        what = "was given out though the job or the queue is stopped";
    else if (work->segments[l->segment].live > 2)
        what = "is the third at its segment";
    if (what)
        sim_wrong(s, "the lease %lld of segment %u of job %lld to %s %s",
                  (long long) l->attempt, l->segment, (long long) l->job, w->name, what);
    s->last_attempt = l->attempt;
    g->fence = l->fence;
    s->leases++;
}

static bool holds(const struct wire_ids *held, int64_t attempt)
{
    for (uint32_t i = 0; i < held->count; i++)
        if (held->id[i] == (uint64_t) attempt)
            return true;
    return false;
}

void sim_check_held(struct sim *s, size_t place, const struct wire_ids *held)
{
    for (size_t i = 0; i < s->schedule.lease_count; i++) {
        const struct work_lease *l = &s->schedule.leases[i];
        if (strcmp(l->worker_name, s->fleet.workers[place].name) != 0)
            continue;
        if (l->worker != place)
            sim_wrong(s, "attempt %lld was not given back to %s", (long long) l->attempt,
                      l->worker_name);
        if (!holds(held, l->attempt))
            sim_wrong(s, "attempt %lld stays with %s, which does not have it",
                      (long long) l->attempt, l->worker_name);
    }
}

void sim_check_start(struct sim *s)
{
    for (size_t i = 0; i < s->schedule.lease_count; i++) {
        const struct work_lease *l = &s->schedule.leases[i];
        if (sim_job(s, l->job)->segments[l->segment].on_disk)
            sim_wrong(
                s, "segment %u of job %lld is to be composed again, though its part is there",
                l->segment, (long long) l->job);
    }
}

struct comparison {
    struct sim *s;
    const struct work_job *work;
    struct sim_job *job;
    bool over;
};

static enum err compare(void *user, const struct ledger_segment *g)
{
    static const enum work_state states[SEGMENT_STATES] = {
        [SEGMENT_BLOCKED] = WORK_BLOCKED, [SEGMENT_READY] = WORK_READY,
        [SEGMENT_LEASED] = WORK_LEASED,   [SEGMENT_RETRY_WAIT] = WORK_RETRY_WAIT,
        [SEGMENT_DONE] = WORK_DONE,
    };
    struct comparison *c = user;
    const struct sim_segment *own = &c->job->segments[g->segment];
    if (g->reopened != own->reopened)
        sim_wrong(c->s, "segment %u of job %lld was reopened by nobody", g->segment,
                  (long long) c->job->id);
    if (c->work && c->work->segments[g->segment].state != states[g->state])
        sim_wrong(c->s, "segment %u of job %lld is %s in the ledger, and not in the schedule",
                  g->segment, (long long) c->job->id, segment_state_name(g->state));
    if ((g->state == SEGMENT_DONE) != (own->accepted != 0))
        sim_wrong(c->s, "segment %u of job %lld is %s, and %s result was accepted", g->segment,
                  (long long) c->job->id, segment_state_name(g->state),
                  own->accepted ? "a" : "no");
    if (g->fence < own->fence)
        sim_wrong(c->s, "the fence of segment %u of job %lld has fallen", g->segment,
                  (long long) c->job->id);
    if (g->state == SEGMENT_FAILED && !own->poison && g->troubles < LEDGER_MOST_TROUBLES &&
        g->losses < LEDGER_MOST_LOSSES && g->spoilt < LEDGER_MOST_SPOILT)
        sim_wrong(c->s, "segment %u of job %lld has failed without a reason", g->segment,
                  (long long) c->job->id);
    return ERR_OK;
}

struct found {
    struct sim *s;
    struct sim_job *job;
};

// What was accepted does not count any more only where its part, or one before it in its cue, was damaged.
static enum err find_reopened(void *user, const struct ledger_segment *g)
{
    const struct found *f = user;
    struct sim_segment *own = &f->job->segments[g->segment];
    if (g->reopened == own->reopened)
        return ERR_OK;
    if (!f->job->damaged || g->reopened < own->reopened || g->state == SEGMENT_DONE)
        sim_wrong(f->s, "segment %u of job %lld was reopened wrongly", g->segment,
                  (long long) f->job->id);
    own->reopened = g->reopened;
    own->accepted = 0;
    return ERR_OK;
}

// What was accepted by a commit that nobody lived to tell of.
static enum err find_accepted(void *user, const struct ledger_attempt *a)
{
    struct sim *s = user;
    struct sim_segment *g = &sim_job(s, a->job)->segments[a->segment];
    if (a->fence <= g->reopened)
        return ERR_OK;
    if (a->outcome == OUTCOME_ACCEPTED && !g->accepted)
        g->accepted = a->id;
    if (a->outcome == OUTCOME_ACCEPTED && g->accepted != a->id)
        sim_wrong(s, "segment %u of job %lld was accepted twice", a->segment,
                  (long long) a->job);
    if (a->fence > g->fence)
        g->fence = a->fence;
    if (a->id > s->last_attempt)
        s->last_attempt = a->id;
    return ERR_OK;
}

static void check_job(struct sim *s, struct sim_job *j)
{
    struct comparison c = { s, schedule_job(&s->schedule, j->id), j, false };
    enum err e = ledger_check_rules(s->foreman.ledger, j->id);
    if (e)
        sim_wrong(s, "an invariant of the ledger is broken");
    e = ledger_each_segment(s->foreman.ledger, j->id, compare, &c);
    if (e)
        sim_wrong(s, "the ledger cannot be read: %s", err_text(e));
}

static void find_changed(struct sim *s)
{
    struct ledger_attempt a;
    while (s->changed_attempt_count > 0)
        if (!ledger_attempt(s->foreman.ledger, s->changed_attempts[--s->changed_attempt_count],
                            &a))
            s->changed[sim_job(s, a.job) - s->jobs] = true;
}

void sim_check_step(struct sim *s)
{
    const int64_t changes = sqlite3_total_changes64(s->foreman.ledger->sql.db);
    if ((changes == s->changes && !s->has_started) || s->is_wrong)
        return;
    const char *what = schedule_check(&s->schedule, &s->fleet);
    if (what)
        sim_wrong(s, "the schedule does not agree with itself: %s", what);
    s->changes = changes;
    s->checks++;
    find_changed(s);
    for (size_t i = 0; i < s->job_count; i++) {
        if (!s->jobs[i].id)
            continue;
        if ((s->has_started || s->changed[i]) &&
            ledger_each_segment(s->foreman.ledger, s->jobs[i].id, find_reopened,
                                &(struct found){ s, &s->jobs[i] }))
            sim_wrong(s, "the segments cannot be read");
        if (s->has_started && ledger_each_attempt(s->foreman.ledger, s->jobs[i].id, 0,
                                                  UINT32_MAX, find_accepted, s))
            sim_wrong(s, "the attempts cannot be read");
        if (s->has_started || s->changed[i])
            check_job(s, &s->jobs[i]);
        s->changed[i] = false;
    }
    s->has_started = false;
}

struct counts {
    const struct sim_job *job;
    uint32_t of[SIM_SEGMENTS];
};

static enum err count_accepted(void *user, const struct ledger_attempt *a)
{
    struct counts *c = user;
    c->of[a->segment] +=
        a->outcome == OUTCOME_ACCEPTED && a->fence > c->job->segments[a->segment].reopened;
    return ERR_OK;
}

static void check_over(struct sim *s, struct sim_job *j)
{
    struct counts counts = { j, { 0 } };
    struct ledger_job *row = malloc(sizeof(*row));
    if (!row || ledger_job(s->foreman.ledger, j->id, row) ||
        ledger_each_attempt(s->foreman.ledger, j->id, 0, UINT32_MAX, count_accepted, &counts)) {
        sim_wrong(s, "job %lld cannot be read", (long long) j->id);
        free(row);
        return;
    }
    if (!job_state_is_over(row->state))
        sim_wrong(s, "job %lld is still %s: %u of %u segments are done", (long long) j->id,
                  job_state_name(row->state), row->done, row->segments);
    if (row->state == JOB_CANCELLED && !j->cancelled)
        sim_wrong(s, "job %lld is cancelled, and nobody has", (long long) j->id);
    for (uint32_t i = 0; i < j->count; i++)
        if (counts.of[i] > 1 || (row->state == JOB_DONE && counts.of[i] != 1))
            sim_wrong(s, "segment %u of job %lld was accepted %u times", i, (long long) j->id,
                      counts.of[i]);
    for (uint32_t i = 0; i < j->count; i++)
        if (row->state == JOB_DONE && !j->segments[i].on_disk)
            sim_wrong(s, "segment %u of job %lld is done, and there is no part", i,
                      (long long) j->id);
    free(row);
}

void sim_check_end(struct sim *s)
{
    for (size_t i = 0; i < s->job_count && !s->is_wrong; i++)
        check_over(s, &s->jobs[i]);
    if (!s->is_wrong && ledger_check(s->foreman.ledger))
        sim_wrong(s, "the ledger is not in order at the end");
    if (!s->is_wrong && s->schedule.lease_count)
        sim_wrong(s, "%zu leases are left over", s->schedule.lease_count);
}
