#include "coordinator/foreman/foreman.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/array.h"
#include "common/base/log.h"

#define LEASES_AT_ONCE 64
// How long a worker may take to say that a lease has come.
#define ACKNOWLEDGE_S 2.0

static enum work_state work_state_of(enum segment_state s)
{
    switch (s) {
    case SEGMENT_READY: return WORK_READY;
    case SEGMENT_LEASED: return WORK_LEASED;
    case SEGMENT_RETRY_WAIT: return WORK_RETRY_WAIT;
    case SEGMENT_DONE: return WORK_DONE;
    case SEGMENT_BLOCKED:
    case SEGMENT_FAILED:
    case SEGMENT_CANCELLED:
    case SEGMENT_STATES: break;
    }
    return WORK_BLOCKED;
}

// Jobs

struct mirror {
    struct work_segment *segments;
    size_t count, room;
};

static enum err mirror_segment(void *user, const struct ledger_segment *s)
{
    struct mirror *m = user;
    const enum err e =
        array_grow((void **) &m->segments, m->count, &m->room, sizeof(*m->segments));
    if (e)
        return e;
    m->segments[m->count++] = (struct work_segment){
        .cue = s->cue,
        .place = s->place,
        .audio_s = (double) s->audio_ms / 1000,
        .remaining_s = (double) s->remaining_ms / 1000,
        .state = work_state_of(s->state),
        .troubles = s->troubles,
    };
    return ERR_OK;
}

enum err foreman_mirror(const struct foreman *f, int64_t job, uint32_t count,
                        struct work_segment **out)
{
    struct mirror m = { 0 };
    *out = NULL;
    enum err e = ledger_each_segment(f->ledger, job, mirror_segment, &m);
    if (!e && m.count != count) {
        log_error(
            "job %lld has %zu segments in the ledger, and is to have %u: put back a copy that `underscore db backup` made",
            (long long) job, m.count, count);
        e = ERR_CONFIG;
    }
    if (e)
        free(m.segments);
    else
        *out = m.segments;
    return e;
}

// Whoever is at a segment (-1: at any of the job) is told that it is not wanted, and those
// leases are forgotten.
static void call_off(struct foreman *f, int64_t job, int64_t segment, enum work_state becomes,
                     double now)
{
    struct schedule *s = f->schedule;
    for (int64_t i; (i = schedule_lease_of(s, job, segment)) >= 0;) {
        const struct work_lease *l = &s->leases[i];
        if (l->worker != SCHEDULE_NOBODY)
            f->hooks->cancel(f->user, l->worker, l->attempt);
        schedule_end(s, f->fleet, l->attempt, becomes, now);
    }
}

enum err foreman_follow(struct foreman *f, const struct ledger_job *row, double now)
{
    enum err e = ERR_OK;
    switch (row->state) {
    case JOB_PLANNED:
    case JOB_RUNNING:
    case JOB_PAUSED:
        if (!schedule_job(f->schedule, row->id))
            e = f->hooks->activate(f->user, row, now);
        else
            schedule_order(f->schedule, row->id, row->state == JOB_PAUSED, row->priority);
        return e ? e : foreman_advance(f, row->id, now);
    case JOB_ASSEMBLING:
    case JOB_HELD:
    case JOB_DONE:
    case JOB_FAILED:
    case JOB_CANCELLED:
        call_off(f, row->id, -1, WORK_BLOCKED, now);
        schedule_remove(f->schedule, row->id);
        break;
    case JOB_SUBMITTED:
    case JOB_PROBING:
    case JOB_STATES: break;
    }
    return ERR_OK;
}

enum err foreman_advance(struct foreman *f, int64_t job, double now)
{
    const struct work_job *j = schedule_job(f->schedule, job);
    if (!j || j->paused || j->done < j->count)
        return ERR_OK;
    const enum err e = ledger_move_job(f->ledger, job, JOB_ASSEMBLING, NULL, f->wall_ms);
    return e ? e : f->hooks->changed(f->user, job, now);
}

enum err foreman_reopen(struct foreman *f, int64_t job, const uint32_t *segments, size_t count,
                        double now)
{
    const enum err e = ledger_reopen(f->ledger, job, segments, count, f->wall_ms);
    return e ? e : f->hooks->changed(f->user, job, now);
}

enum err foreman_tick(struct foreman *f, double now)
{
    enum err e = ERR_OK;
    int64_t job;
    uint32_t segment;
    while (!e && schedule_complete(f->schedule, &job))
        e = foreman_advance(f, job, now);
    while (!e && schedule_due(f->schedule, now, &job, &segment)) {
        e = ledger_release(f->ledger, job, segment);
        if (!e)
            schedule_released(f->schedule, job, segment);
    }
    return e;
}

// Loading

struct found {
    struct {
        int64_t id;
        enum job_state state;
    } * jobs;
    struct ledger_attempt *attempts;
    size_t job_count, job_room, attempt_count, attempt_room;
};

static enum err keep_owner(void *user, const struct ledger_owner *o)
{
    const struct foreman *f = user;
    size_t place;
    return schedule_owner(f->schedule, o->name, 1, o->used_s, &place);
}

static enum err keep_unfinished(void *user, const struct ledger_job *j)
{
    struct found *w = user;
    if (job_state_is_over(j->state) || j->state == JOB_HELD)
        return ERR_OK;
    const enum err e =
        array_grow((void **) &w->jobs, w->job_count, &w->job_room, sizeof(*w->jobs));
    if (!e) {
        w->jobs[w->job_count].id = j->id;
        w->jobs[w->job_count++].state = j->state;
    }
    return e;
}

static enum err keep_attempt(void *user, const struct ledger_attempt *a)
{
    struct found *w = user;
    const enum err e = array_grow((void **) &w->attempts, w->attempt_count, &w->attempt_room,
                                  sizeof(*w->attempts));
    if (!e)
        w->attempts[w->attempt_count++] = *a;
    return e;
}

static enum err restore(struct foreman *f, const struct ledger_attempt *a, double now)
{
    const double lease_s = f->schedule->lease_s;
    struct work_lease l = { .attempt = a->id,
                            .fence = a->fence,
                            .job = a->job,
                            .segment = a->segment,
                            .worker = SCHEDULE_NOBODY,
                            .granted_s = now,
                            .renewed_s = now,
                            .deadline_s = now + lease_s,
                            .takes_s = lease_s };
    bool goes_on = true, there = false;
    const struct work_job *j = schedule_job(f->schedule, a->job);
    if (!j || a->segment >= j->count || j->segments[a->segment].state == WORK_DONE)
        // Not any more: another attempt at it was just found to have its result here.
        return ERR_OK;
    snprintf(l.worker_name, sizeof(l.worker_name), "%s", a->worker);
    enum err e = schedule_restore(f->schedule, &l);
    if (!e)
        e = f->hooks->find_result(f->user, a, &goes_on, &there, now);
    if (e || !goes_on || !there)
        return e;
    // Safe on disk before the ledger heard of it: it counts.
    foreman_take(f, a->id, a->fence, a->job, a->segment);
    return foreman_settle(f, now);
}

enum err foreman_load(struct foreman *f, size_t *jobs, size_t *leases, double now)
{
    struct found w = { 0 };
    enum err e = ledger_each_owner(f->ledger, keep_owner, f);
    if (!e)
        e = ledger_each_job(f->ledger, 0, UINT32_MAX, true, keep_unfinished, &w);
    for (size_t i = 0; !e && i < w.job_count; i++)
        e = f->hooks->wake(f->user, w.jobs[i].id, w.jobs[i].state, now);
    if (!e)
        e = ledger_each_live(f->ledger, keep_attempt, &w);
    for (size_t i = 0; !e && i < w.attempt_count; i++)
        e = restore(f, &w.attempts[i], now);
    *jobs = w.job_count;
    *leases = w.attempt_count;
    free(w.jobs), free(w.attempts);
    return e;
}

// Workers

static bool holds(const struct wire_ids *held, int64_t attempt)
{
    for (uint32_t i = 0; i < held->count; i++)
        if (held->id[i] == (uint64_t) attempt)
            return true;
    return false;
}

static void add_id(struct wire_ids *ids, uint64_t id)
{
    if (ids->count < WIRE_MAX_IDS)
        ids->id[ids->count++] = id;
}

// One of its attempts that it does not have; -1: none.
static int64_t not_held(const struct foreman *f, size_t place, const struct wire_ids *held)
{
    const struct schedule *s = f->schedule;
    for (int64_t i = schedule_first_of(s, place); i >= 0; i = schedule_next_of(s, i))
        if (!holds(held, s->leases[i].attempt))
            return s->leases[i].attempt;
    for (int64_t i = schedule_first_of(s, SCHEDULE_NOBODY); i >= 0; i = schedule_next_of(s, i))
        if (!strcmp(s->leases[i].worker_name, f->fleet->workers[place].name) &&
            !holds(held, s->leases[i].attempt))
            return s->leases[i].attempt;
    return -1;
}

// A worker has begun anew, or left: what it had and does not have now is lost.
static void lose_what_is_not_held(struct foreman *f, size_t place, const struct wire_ids *held,
                                  double now)
{
    for (int64_t attempt; (attempt = not_held(f, place, held)) >= 0;)
        if (foreman_failed(f, attempt, OUTCOME_LOST, "its worker was started anew", now))
            return; // logged; the lease ends by itself
}

void foreman_hello(struct foreman *f, size_t place, const struct wire_ids *held, double now)
{
    for (uint32_t i = 0; i < held->count; i++) {
        struct work_lease *l = schedule_find(f->schedule, (int64_t) held->id[i]);
        if (l && !strcmp(l->worker_name, f->fleet->workers[place].name))
            schedule_adopt(f->schedule, f->fleet, l, place, now);
    }
    lose_what_is_not_held(f, place, held, now);
}

void foreman_beat(struct foreman *f, size_t place, uint64_t progress, double rate,
                  const struct wire_ids *held, struct wire_ids *cancel,
                  struct wire_ids *renewed, double now)
{
    const bool moved = fleet_beat(f->fleet, place, progress, rate, now);
    for (uint32_t i = 0; i < held->count; i++) {
        struct work_lease *l = schedule_find(f->schedule, (int64_t) held->id[i]);
        if (!l || l->worker != place) {
            add_id(cancel, held->id[i]);
        } else if (moved) {
            schedule_renew(l, now);
            add_id(renewed, held->id[i]);
        }
    }
}

void foreman_look_after(struct foreman *f, size_t place, const struct wire_ids *held,
                        double now)
{
    struct schedule *s = f->schedule;
    for (int64_t i = schedule_first_of(s, place); i >= 0; i = schedule_next_of(s, i)) {
        struct work_lease *l = &s->leases[i];
        if (holds(held, l->attempt)) {
            l->acknowledged = true;
        } else if (l->acknowledged) {
            if (foreman_failed(f, l->attempt, OUTCOME_LOST, "its worker has it no more", now))
                log_error("the ledger did not take that; the lease will end by itself");
            return; // the list has changed: the rest at the next beat
        } else if (now - l->sent_s > ACKNOWLEDGE_S) {
            f->hooks->lease(f->user, l);
            l->sent_s = now;
        }
    }
}

void foreman_acknowledged(struct foreman *f, size_t place, int64_t attempt)
{
    struct work_lease *l = schedule_find(f->schedule, attempt);
    if (l && l->worker == place)
        l->acknowledged = true;
}

void foreman_part_with(struct foreman *f, size_t place, double now)
{
    const struct wire_ids none = { 0 };
    fleet_goodbye(f->fleet, place);
    lose_what_is_not_held(f, place, &none, now);
}

// Its worker is there and has it: a GPU that never answers, a network that keeps from it what is large. It would
// take the next ones, too, until their jobs fail of that.
static void blame_idleness(struct foreman *f, const struct work_lease *l, double now)
{
    if (l->worker == SCHEDULE_NOBODY || !l->acknowledged)
        return;
    const struct fleet_worker *w = &f->fleet->workers[l->worker];
    if (fleet_hung(f->fleet, l->worker, l->granted_s, now))
        log_event(
            LOG_WARN, &(struct log_subject){ .worker = w->name },
            "worker %s: %u leases in a row ended while it was there; it gets nothing for %.0f s; look at its GPU",
            w->name, w->hangs, w->rests_s - now);
}

enum err foreman_lapse(struct foreman *f, double now)
{
    enum err e = ERR_OK;
    for (int64_t lost; !e && (lost = fleet_tick(f->fleet, now)) >= 0;) {
        log_event(LOG_WARN, &(struct log_subject){ .worker = f->fleet->workers[lost].name },
                  "worker %s is lost: nothing heard of it for %.0f s",
                  f->fleet->workers[lost].name, f->fleet->lease_s);
        for (int64_t a; !e && (a = schedule_of_worker(f->schedule, (size_t) lost)) >= 0;)
            e = foreman_failed(f, a, OUTCOME_LOST, "its worker was lost", now);
    }
    for (int64_t a; !e && (a = schedule_expired(f->schedule, now)) >= 0;) {
        const struct work_lease *l = schedule_find(f->schedule, a);
        const struct log_subject subject = { .job = l->job,
                                             .has_segment = true,
                                             .segment = l->segment,
                                             .worker = l->worker_name };
        log_event(LOG_WARN, &subject,
                  "segment %u of job %lld: its lease has ended, %s did not get on with it",
                  l->segment, (long long) l->job, l->worker_name);
        blame_idleness(f, l, now);
        e = foreman_failed(f, a, OUTCOME_LOST, "its lease ended", now);
    }
    return e;
}

// Giving out

// Decides as if each lease before had been granted; those are known by negative numbers
// until the ledger has them all, in one transaction.
static size_t decide(struct foreman *f, struct ledger_lease *leases, double now)
{
    size_t n = 0;
    struct decision d;
    while (n < LEASES_AT_ONCE && schedule_next(f->schedule, f->fleet, now, &d)) {
        if (schedule_lease(f->schedule, f->fleet, &d, -(int64_t) n - 1, 0, now))
            break;
        leases[n++] = (struct ledger_lease){
            .job = d.job,
            .segment = d.segment,
            .worker = f->fleet->workers[d.worker].name,
        };
    }
    return n;
}

enum err foreman_dispatch(struct foreman *f, double now)
{
    struct ledger_lease leases[LEASES_AT_ONCE];
    const size_t n = decide(f, leases, now);
    if (n == 0)
        return ERR_OK;
    const enum err e = ledger_lease(f->ledger, leases, n, f->wall_ms);
    for (size_t i = 0; i < n; i++) {
        const int64_t decided = -(int64_t) i - 1;
        struct work_lease *l = schedule_find(f->schedule, decided);
        if (e) {
            const bool others =
                schedule_job(f->schedule, l->job)->segments[l->segment].live > 1;
            schedule_end(f->schedule, f->fleet, decided, others ? WORK_LEASED : WORK_READY,
                         now);
        } else {
            schedule_grant(f->schedule, l, leases[i].attempt, leases[i].fence);
            f->hooks->lease(f->user, l);
        }
    }
    return e;
}

// Ending

static double gpu_time(const struct work_lease *l, double now)
{
    const double since = now - l->granted_s;
    return since < l->promised_s ? since : l->promised_s;
}

static void blame(struct foreman *f, const struct work_lease *l, enum outcome why, double now)
{
    const size_t place = l->worker;
    if (place == SCHEDULE_NOBODY || (why != OUTCOME_OOM && why != OUTCOME_DEVICE_LOST))
        return;
    if (!fleet_trouble(f->fleet, place, l->granted_s, now))
        return;
    log_event(
        LOG_WARN, &(struct log_subject){ .worker = f->fleet->workers[place].name },
        "worker %s: its GPU failed %d times in a row; it gets nothing more until it is released",
        f->fleet->workers[place].name, FLEET_MOST_TROUBLES);
    if (f->hooks->quarantined)
        f->hooks->quarantined(f->user, place);
}

enum err foreman_failed(struct foreman *f, int64_t attempt, enum outcome why,
                        const char *detail, double now)
{
    const struct work_lease *l = schedule_find(f->schedule, attempt);
    struct ledger_ending ending;
    if (!l)
        return ERR_OK;
    const double gpu_s = gpu_time(l, now);
    const enum err e = ledger_end(f->ledger, attempt, why, detail, gpu_s, f->wall_ms, &ending);
    if (e)
        return e;
    f->hooks->ended(f->user, why, 0, gpu_s, now);
    blame(f, l, why, now);
    schedule_end(f->schedule, f->fleet, attempt, work_state_of(ending.segment_state), now);
    return job_state_is_over(ending.job_state) ? f->hooks->changed(f->user, ending.job, now)
                                               : ERR_OK;
}

static enum err accepted(struct foreman *f, const struct ledger_result *r, double now)
{
    const struct work_lease *l = schedule_find(f->schedule, r->attempt);
    const struct work_job *j = schedule_job(f->schedule, r->job);
    if (l && l->worker != SCHEDULE_NOBODY)
        fleet_success(f->fleet, l->worker);
    f->hooks->ended(f->user, OUTCOME_ACCEPTED, j ? j->segments[r->segment].audio_s : 0,
                    r->gpu_s, now);
    schedule_end(f->schedule, f->fleet, r->attempt, WORK_DONE, now);
    call_off(f, r->job, r->segment, WORK_DONE, now);
    return foreman_advance(f, r->job, now);
}

enum err foreman_settle(struct foreman *f, double now)
{
    struct ledger_result results[FOREMAN_ARRIVALS];
    const size_t count = f->arrival_count;
    if (count == 0)
        return ERR_OK;
    f->arrival_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct work_lease *l = schedule_find(f->schedule, f->arrivals[i].attempt);
        results[i] = f->arrivals[i];
        results[i].gpu_s = l ? gpu_time(l, now) : 0;
    }
    enum err e = f->hooks->secure(f->user, count);
    if (!e)
        e = ledger_accept_all(f->ledger, results, count, f->wall_ms);
    const bool written = !e;
    for (size_t i = 0; i < count; i++) {
        f->hooks->settled(f->user, i, &results[i], written);
        if (!written || results[i].verdict != VERDICT_ACCEPTED)
            continue;
        const enum err one = accepted(f, &results[i], now);
        e = e ? e : one;
    }
    return !written && err_is_disk(e) ? ERR_OK : e; // a full disk: its worker offers it again
}

enum err foreman_lacks_prompt(struct foreman *f, int64_t attempt, double now)
{
    // Another attempt may have come back: then it is not needed yet.
    const enum err e = foreman_settle(f, now);
    const struct work_lease *l = schedule_find(f->schedule, attempt);
    if (e || !l)
        return e;
    const int64_t job = l->job;
    const uint32_t segment = l->segment, before = segment - 1;
    const enum err reopened = ledger_reopen(f->ledger, job, &before, 1, f->wall_ms);
    if (reopened)
        return reopened;
    call_off(f, job, segment, WORK_BLOCKED, now);
    schedule_reopened(f->schedule, job, before);
    return f->hooks->changed(f->user, job, now); // it may have failed of that
}

size_t foreman_take(struct foreman *f, int64_t attempt, int64_t fence, int64_t job,
                    uint32_t segment)
{
    f->arrivals[f->arrival_count] = (struct ledger_result){ .attempt = attempt,
                                                            .fence = fence,
                                                            .job = job,
                                                            .segment = segment };
    return f->arrival_count++;
}

static bool has_taken(const struct foreman *f, int64_t attempt)
{
    for (size_t i = 0; i < f->arrival_count; i++)
        if (f->arrivals[i].attempt == attempt)
            return true;
    return false;
}

// Two results of one segment must not be taken before one of them counts: the second would
// lie where the first belongs.
static bool must_settle(const struct foreman *f, int64_t job, uint32_t segment)
{
    for (size_t i = 0; i < f->arrival_count; i++)
        if (f->arrivals[i].job == job && f->arrivals[i].segment == segment)
            return true;
    return f->arrival_count == FOREMAN_ARRIVALS;
}

enum err foreman_offer(struct foreman *f, int64_t attempt, int64_t fence, int64_t job,
                       uint32_t segment, enum offer *out, double now)
{
    static const enum offer offers[] = {
        [VERDICT_ACCEPTED] = OFFER_TAKE,
        [VERDICT_STALE] = OFFER_STALE,
        [VERDICT_DUP] = OFFER_DUP,
    };
    enum verdict v = VERDICT_STALE;
    *out = OFFER_TWICE;
    if (has_taken(f, attempt))
        return ERR_OK;
    enum err e = must_settle(f, job, segment) ? foreman_settle(f, now) : ERR_OK;
    if (!e)
        e = ledger_judge(f->ledger, attempt, fence, &v);
    *out = offers[v];
    return e;
}
