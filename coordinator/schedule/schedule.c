#include "coordinator/schedule/schedule_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// After a GPU failed a segment: 1, 2, 4, ... seconds, half a minute at most.
#define RETRY_FIRST_S 1.0
#define RETRY_MOST_S 30.0
// How often it is asked whether something should be done twice, where that takes long.
#define AGAIN_EVERY_S 0.1
#define MANY_PAIRS 10000

void schedule_init(struct schedule *s, double lease_s)
{
    *s = (struct schedule){ .lease_s = lease_s, .of_nobody = -1 };
}

static void free_job(struct work_job *j)
{
    free(j->segments);
    free(j);
}

void schedule_finish(struct schedule *s)
{
    for (size_t i = 0; i < s->job_count; i++)
        free_job(s->jobs[i]);
    free(s->jobs);
    lines_finish(&s->lines);
    free(s->owners);
    free(s->leases);
    free(s->of_worker);
    id_map_finish(&s->attempts);
    *s = (struct schedule){ 0 };
}

enum err schedule_owner(struct schedule *s, const char *name, double weight, double used_s,
                        size_t *out)
{
    for (*out = 0; *out < s->owner_count; (*out)++)
        if (!strcmp(s->owners[*out].name, name))
            return ERR_OK;
    const enum err e =
        array_grow((void **) &s->owners, s->owner_count, &s->owner_room, sizeof(*s->owners));
    if (e)
        return e;
    struct work_owner *o = &s->owners[s->owner_count++];
    *o = (struct work_owner){ .weight = weight, .used_s = used_s };
    snprintf(o->name, sizeof(o->name), "%s", name);
    return ERR_OK;
}

// Where a job is, or would have to be.
static size_t place_of(const struct schedule *s, int64_t job)
{
    size_t low = 0, high = s->job_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (s->jobs[middle]->id < job)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct work_job *schedule_find_job(const struct schedule *s, int64_t job)
{
    const size_t i = place_of(s, job);
    return i < s->job_count && s->jobs[i]->id == job ? s->jobs[i] : NULL;
}

const struct work_job *schedule_job(const struct schedule *s, int64_t job)
{
    return schedule_find_job(s, job);
}

// Jobs

enum err schedule_add(struct schedule *s, const struct work_job *job)
{
    struct work_job *j = malloc(sizeof(*j));
    if (!j)
        return ERR_NOMEM;
    *j = *job;
    j->lease = -1;
    j->lease_count = 0;
    enum err e = array_grow((void **) &s->jobs, s->job_count, &s->job_room, sizeof(*s->jobs));
    if (!e)
        e = lines_join(&s->lines, j);
    if (e) {
        free(j);
        return e;
    }
    const size_t i = place_of(s, j->id);
    memmove(&s->jobs[i + 1], &s->jobs[i], (s->job_count++ - i) * sizeof(struct work_job *));
    s->jobs[i] = j;
    for (uint32_t k = 0; k < j->count; k++)
        if (j->segments[k].state == WORK_RETRY_WAIT)
            s->due_s = fmin(s->due_s, j->segments[k].retry_s);
    return ERR_OK;
}

void schedule_order(struct schedule *s, int64_t job, bool paused, int64_t priority)
{
    struct work_job *j = schedule_find_job(s, job);
    if (j && (j->paused != paused || j->priority != priority))
        lines_order(&s->lines, j, paused, priority);
}

bool schedule_complete(const struct schedule *s, int64_t *job)
{
    for (size_t i = 0; s->lines.complete > 0 && i < s->job_count; i++)
        if (!s->jobs[i]->paused && s->jobs[i]->done == s->jobs[i]->count) {
            *job = s->jobs[i]->id;
            return true;
        }
    return false;
}

void schedule_remove(struct schedule *s, int64_t job)
{
    struct work_job *j = schedule_find_job(s, job);
    if (!j)
        return;
    while (j->lease >= 0) {
        s->owners[j->owner].promised_s -= s->leases[j->lease].promised_s;
        schedule_drop_lease(s, j, j->lease);
    }
    lines_leave(&s->lines, j);
    const size_t i = place_of(s, job);
    memmove(&s->jobs[i], &s->jobs[i + 1], (--s->job_count - i) * sizeof(struct work_job *));
    free_job(j);
}

// Choosing

double schedule_rate(const struct fleet_worker *w)
{
    return w->rate > 0 ? w->rate : SCHEDULE_GUESS_RATE;
}

static double backlog_of(const struct fleet_worker *w)
{
    return w->backlog_s / schedule_rate(w);
}

static bool fits(const struct work_queue *q, const struct fleet_worker *w)
{
    return !strcmp(q->model, w->model) && !require_unmet(&q->require, w);
}

static double share_of(const struct work_owner *o)
{
    return (o->used_s + o->promised_s) / (o->weight > 0 ? o->weight : 1e-9);
}

// Is a better than b, of whatever owners?
static bool comes_first(const struct schedule *s, const struct work_job *a,
                        const struct work_job *b)
{
    if (a->owner == b->owner)
        return lines_goes_before(a, b);
    const double x = share_of(&s->owners[a->owner]), y = share_of(&s->owners[b->owner]);
    if (x < y || x > y)
        return x < y;
    return a->owner < b->owner;
}

// The first in line of all queues, or of those that a worker may compose for; NULL: none.
static const struct work_job *first_in_line(const struct schedule *s, enum work_line line,
                                            const struct fleet_worker *w)
{
    const struct work_job *best = NULL;
    for (size_t i = 0; i < s->lines.queue_count; i++) {
        const struct work_queue *q = &s->lines.queues[i];
        if (q->in_line[line] > 0 && (!best || comes_first(s, q->lines[line][0], best)) &&
            (!w || fits(q, w)))
            best = q->lines[line][0];
    }
    return best;
}

// When a lease should be done. Past its deadline it has no end that anyone would
// believe, nor when its worker is gone.
static double expected_end(const struct work_lease *l, double now)
{
    if (l->worker == SCHEDULE_NOBODY || now > l->deadline_s)
        return (double) INFINITY;
    return fmax(now, l->granted_s + l->takes_s);
}

// Of the leases that an idle worker would be done with sooner, the one that takes longest.
static const struct work_lease *lease_to_repeat(const struct schedule *s, size_t worker,
                                                const struct fleet_worker *w, double now)
{
    const struct work_lease *best = NULL;
    double best_end = 0;
    for (size_t i = 0; i < s->lease_count; i++) {
        const struct work_lease *l = &s->leases[i];
        const struct work_job *j = schedule_find_job(s, l->job);
        const struct work_segment *g = &j->segments[l->segment];
        if (j->paused || l->worker == worker || g->live != 1 || g->frames != FRAMES_THERE)
            continue;
        const double end = expected_end(l, now);
        if (now + g->audio_s / schedule_rate(w) < end && (!best || end > best_end) &&
            fits(&s->lines.queues[j->queue], w)) {
            best = l;
            best_end = end;
        }
    }
    return best;
}

bool schedule_waits(const struct schedule *s, const struct require *offer)
{
    bool waits = offer->count == 0 && s->lines.ready > 0;
    for (size_t i = 0; !waits && offer->count > 0 && i < s->job_count; i++) {
        const struct work_job *j = s->jobs[i];
        waits = !j->paused && j->ready > 0 && !require_unoffered(&j->require, offer);
    }
    return waits;
}

static bool is_asking(const struct fleet_worker *w)
{
    return w->want > 0 && fleet_may_work(w);
}

// Of the workers that ask and may compose something, the one whose backlog ends first.
static bool choose_ready(const struct schedule *s, const struct fleet *f, struct decision *out)
{
    const struct work_job *best = NULL;
    double backlog = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct fleet_worker *w = &f->workers[i];
        if (!is_asking(w) || (best && backlog_of(w) >= backlog))
            continue;
        const struct work_job *j = first_in_line(s, LINE_WORKER, w);
        if (!j)
            continue;
        best = j;
        backlog = backlog_of(w);
        out->worker = i;
    }
    if (!best)
        return false;
    out->job = best->id;
    out->segment = lines_longest(best, LINE_WORKER);
    out->again = false;
    return true;
}

static bool choose_again(const struct schedule *s, const struct fleet *f, double now,
                         struct decision *out)
{
    for (size_t i = 0; s->lease_count > 0 && i < f->count; i++) {
        const struct fleet_worker *w = &f->workers[i];
        const struct work_lease *l =
            is_asking(w) && w->held == 0 ? lease_to_repeat(s, i, w, now) : NULL;
        if (!l)
            continue;
        *out = (struct decision){ .job = l->job,
                                  .segment = l->segment,
                                  .worker = i,
                                  .again = true };
        return true;
    }
    return false;
}

bool schedule_next(struct schedule *s, const struct fleet *f, double now, struct decision *out)
{
    // What is READY but not chosen waits for its pictures, or for other workers.
    if (s->lines.ready > 0)
        return choose_ready(s, f, out);
    // Each idle worker looks at each lease: where those are many, not at every turn.
    const bool many = s->lease_count * f->count > MANY_PAIRS;
    if (many && now < s->again_s)
        return false;
    const bool found = choose_again(s, f, now, out);
    if (!found)
        s->again_s = now + AGAIN_EVERY_S;
    return found;
}

// Leases

static void set_segment(struct schedule *s, struct work_job *j, uint32_t segment,
                        enum work_state to)
{
    lines_begin_change(&s->lines, j, segment);
    j->segments[segment].state = to;
    lines_end_change(&s->lines, j, segment);
}

enum err schedule_lease(struct schedule *s, struct fleet *f, const struct decision *d,
                        int64_t attempt, int64_t fence, double now)
{
    struct work_job *j = schedule_find_job(s, d->job);
    struct fleet_worker *w = &f->workers[d->worker];
    struct work_segment *g = &j->segments[d->segment];
    const double takes = (w->backlog_s + g->audio_s) / schedule_rate(w);
    struct work_lease lease = {
        .attempt = attempt,
        .fence = fence,
        .job = d->job,
        .segment = d->segment,
        .worker = d->worker,
        .granted_s = now,
        .renewed_s = now,
        .sent_s = now,
        .takes_s = takes,
        .deadline_s = now + fmax(s->lease_s, SCHEDULE_DEADLINE * takes),
        .promised_s = g->audio_s / schedule_rate(w),
    };
    snprintf(lease.worker_name, sizeof(lease.worker_name), "%s", w->name);
    const enum err e = schedule_add_lease(s, j, &lease);
    if (e)
        return e;
    set_segment(s, j, d->segment, WORK_LEASED);
    g->live++;
    s->owners[j->owner].promised_s += lease.promised_s;
    w->want--;
    w->held++;
    w->backlog_s += g->audio_s;
    return ERR_OK;
}

enum err schedule_restore(struct schedule *s, const struct work_lease *lease)
{
    struct work_job *j = schedule_find_job(s, lease->job);
    if (!j || lease->segment >= j->count)
        return ERR_BUG;
    const enum err e = schedule_add_lease(s, j, lease);
    if (!e)
        j->segments[lease->segment].live++;
    return e;
}

void schedule_adopt(struct schedule *s, struct fleet *f, struct work_lease *lease,
                    size_t worker, double now)
{
    const struct work_job *j = schedule_find_job(s, lease->job);
    lease->renewed_s = now;
    lease->acknowledged = true;
    if (lease->worker == worker || schedule_know_worker(s, worker))
        return; // without memory it stays nobody's, and ends by itself
    const double audio_s = j->segments[lease->segment].audio_s;
    if (lease->worker != SCHEDULE_NOBODY) {
        f->workers[lease->worker].held--;
        f->workers[lease->worker].backlog_s -= audio_s;
    }
    const int64_t i = lease - s->leases;
    schedule_unchain(s, i);
    lease->worker = worker;
    schedule_chain(s, i);
    f->workers[worker].held++;
    f->workers[worker].backlog_s += audio_s;
}

// The worker and the owner are rid of it.
static void settle(struct schedule *s, struct fleet *f, const struct work_job *j,
                   const struct work_lease *l, double now)
{
    struct work_owner *o = &s->owners[j->owner];
    o->promised_s = fmax(0, o->promised_s - l->promised_s);
    o->used_s += fmin(l->promised_s, now - l->granted_s);
    if (l->worker == SCHEDULE_NOBODY)
        return;
    struct fleet_worker *w = &f->workers[l->worker];
    w->held -= w->held > 0;
    w->backlog_s = w->held ? fmax(0, w->backlog_s - j->segments[l->segment].audio_s) : 0;
}

static double wait_after(uint32_t troubles)
{
    return fmin(RETRY_MOST_S, ldexp(RETRY_FIRST_S, (int) troubles));
}

void schedule_end(struct schedule *s, struct fleet *f, int64_t attempt, enum work_state state,
                  double now)
{
    const struct work_lease *l = schedule_find(s, attempt);
    if (!l)
        return;
    struct work_job *j = schedule_find_job(s, l->job);
    const uint32_t segment = l->segment;
    struct work_segment *g = &j->segments[segment];
    settle(s, f, j, l, now);
    g->live -= g->live > 0;
    schedule_drop_lease(s, j, l - s->leases);
    if (g->state == WORK_DONE)
        return;
    if (state == WORK_RETRY_WAIT) {
        g->retry_s = now + wait_after(g->troubles);
        g->troubles++;
        s->due_s = s->lines.in_state[WORK_RETRY_WAIT] ? fmin(s->due_s, g->retry_s) : g->retry_s;
    }
    set_segment(s, j, segment, state);
    if (state == WORK_DONE && segment + 1 < j->count && j->segments[segment + 1].place > 0 &&
        j->segments[segment + 1].state == WORK_BLOCKED)
        set_segment(s, j, segment + 1, WORK_READY);
}

void schedule_reopened(struct schedule *s, int64_t job, uint32_t segment)
{
    struct work_job *j = schedule_find_job(s, job);
    if (!j || j->segments[segment].state != WORK_DONE)
        return;
    if (segment + 1 < j->count && j->segments[segment + 1].place > 0)
        set_segment(s, j, segment + 1, WORK_BLOCKED);
    schedule_frames(s, job, segment, FRAMES_ABSENT);
    j->segments[segment].troubles = 0;
    set_segment(s, j, segment, WORK_READY);
}

void schedule_renew(struct work_lease *lease, double now)
{
    lease->renewed_s = now;
}

int64_t schedule_expired(struct schedule *s, double now)
{
    if (s->lease_count == 0 || now - s->oldest_s <= s->lease_s)
        return -1;
    double oldest = now;
    for (size_t i = 0; i < s->lease_count; i++) {
        if (now - s->leases[i].renewed_s > s->lease_s)
            return s->leases[i].attempt;
        oldest = fmin(oldest, s->leases[i].renewed_s);
    }
    s->oldest_s = oldest;
    return -1;
}

bool schedule_due(struct schedule *s, double now, int64_t *job, uint32_t *segment)
{
    if (s->lines.in_state[WORK_RETRY_WAIT] == 0 || now < s->due_s)
        return false;
    double next = (double) INFINITY;
    for (size_t i = 0; i < s->job_count; i++) {
        const struct work_job *j = s->jobs[i];
        for (uint32_t k = 0; j->waiting > 0 && k < j->count; k++) {
            if (j->segments[k].state != WORK_RETRY_WAIT)
                continue;
            if (now >= j->segments[k].retry_s) {
                *job = j->id;
                *segment = k;
                return true;
            }
            next = fmin(next, j->segments[k].retry_s);
        }
    }
    s->due_s = next;
    return false;
}

void schedule_released(struct schedule *s, int64_t job, uint32_t segment)
{
    struct work_job *j = schedule_find_job(s, job);
    if (j && j->segments[segment].state == WORK_RETRY_WAIT)
        set_segment(s, j, segment, WORK_READY);
}

// Pictures

bool schedule_wants_frames(const struct schedule *s, uint32_t ahead, int64_t *job,
                           uint32_t *segment)
{
    if (s->lines.pictures >= ahead)
        return false;
    enum work_line line = LINE_PICTURES;
    const struct work_job *j = first_in_line(s, line, NULL);
    if (!j)
        j = first_in_line(s, line = LINE_FOLLOWER, NULL);
    if (!j)
        return false;
    *job = j->id;
    *segment = lines_longest(j, line);
    return true;
}

void schedule_frames(struct schedule *s, int64_t job, uint32_t segment, enum work_frames frames)
{
    struct work_job *j = schedule_find_job(s, job);
    if (!j)
        return;
    lines_begin_change(&s->lines, j, segment);
    j->segments[segment].frames = frames;
    lines_end_change(&s->lines, j, segment);
}
