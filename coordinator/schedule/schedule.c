#include "coordinator/schedule/schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// After a GPU failed a segment: 1, 2, 4, ... seconds, half a minute at most.
#define RETRY_FIRST_S 1.0
#define RETRY_MOST_S 30.0

void schedule_init(struct schedule *s, double lease_s)
{
    *s = (struct schedule){ .lease_s = lease_s };
}

void schedule_finish(struct schedule *s)
{
    for (size_t i = 0; i < s->job_count; i++)
        free(s->jobs[i].segments);
    free(s->jobs);
    free(s->owners);
    free(s->leases);
    *s = (struct schedule){ 0 };
}

// Room for one more.
static enum err grow(void **items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return ERR_OK;
    const size_t wanted = *room ? 2 * *room : 16;
    void *more = realloc(*items, wanted * bytes);
    if (!more)
        return ERR_NOMEM;
    *items = more;
    *room = wanted;
    return ERR_OK;
}

enum err schedule_owner(struct schedule *s, const char *name, double weight, double used_s, size_t *out)
{
    for (*out = 0; *out < s->owner_count; (*out)++)
        if (!strcmp(s->owners[*out].name, name))
            return ERR_OK;
    const enum err e = grow((void **) &s->owners, s->owner_count, &s->owner_room, sizeof(*s->owners));
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
        if (s->jobs[middle].id < job)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct work_job *schedule_job(const struct schedule *s, int64_t job)
{
    const size_t i = place_of(s, job);
    return i < s->job_count && s->jobs[i].id == job ? &s->jobs[i] : NULL;
}

static void count_states(struct work_job *j)
{
    j->done = j->ready = j->waiting = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        j->done += j->segments[i].state == WORK_DONE;
        j->ready += j->segments[i].state == WORK_READY;
        j->waiting += j->segments[i].state == WORK_RETRY_WAIT;
    }
}

enum err schedule_add(struct schedule *s, const struct work_job *job)
{
    const enum err e = grow((void **) &s->jobs, s->job_count, &s->job_room, sizeof(*s->jobs));
    if (e)
        return e;
    const size_t i = place_of(s, job->id);
    memmove(&s->jobs[i + 1], &s->jobs[i], (s->job_count - i) * sizeof(*s->jobs));
    s->jobs[i] = *job;
    s->job_count++;
    count_states(&s->jobs[i]);
    return ERR_OK;
}

static void drop_lease(struct schedule *s, size_t i)
{
    s->leases[i] = s->leases[--s->lease_count];
}

void schedule_remove(struct schedule *s, int64_t job)
{
    struct work_job *j = schedule_job(s, job);
    if (!j)
        return;
    for (size_t i = s->lease_count; i-- > 0;)
        if (s->leases[i].job == job) {
            s->owners[j->owner].promised_s -= s->leases[i].promised_s;
            drop_lease(s, i);
        }
    free(j->segments);
    const size_t i = (size_t) (j - s->jobs);
    memmove(j, j + 1, (s->job_count - i - 1) * sizeof(*j));
    s->job_count--;
}

// Choosing

static double rate_of(const struct fleet_worker *w)
{
    return w->rate > 0 ? w->rate : SCHEDULE_GUESS_RATE;
}

static double backlog_of(const struct fleet_worker *w)
{
    return w->backlog_s / rate_of(w);
}

static bool fits(const struct work_job *j, const struct fleet_worker *w)
{
    return !j->paused && !strcmp(j->model, w->model) && !require_unmet(&j->require, w);
}

static double share_of(const struct work_owner *o)
{
    return (o->used_s + o->promised_s) / (o->weight > 0 ? o->weight : 1e-9);
}

// Its READY segment of the longest cue whose pictures are there; -1: none.
static int64_t ready_segment(const struct work_job *j)
{
    int64_t best = -1;
    if (j->ready == 0)
        return -1;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct work_segment *g = &j->segments[i];
        if (g->state == WORK_READY && g->frames == FRAMES_THERE &&
            (best < 0 || g->remaining_s > j->segments[best].remaining_s))
            best = i;
    }
    return best;
}

// Is a better than b, both having something for the worker?
static bool comes_first(const struct schedule *s, const struct work_job *a, const struct work_job *b)
{
    if (a->owner != b->owner) {
        const double x = share_of(&s->owners[a->owner]), y = share_of(&s->owners[b->owner]);
        if (x < y || x > y)
            return x < y;
        return a->owner < b->owner;
    }
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

static bool choose_ready(const struct schedule *s, const struct fleet_worker *w, struct decision *out)
{
    const struct work_job *best = NULL;
    int64_t segment = -1;
    for (size_t i = 0; i < s->job_count; i++) {
        const struct work_job *j = &s->jobs[i];
        if (j->ready == 0 || !fits(j, w) || (best && !comes_first(s, j, best)))
            continue;
        const int64_t ready = ready_segment(j);
        if (ready < 0)
            continue;
        best = j;
        segment = ready;
    }
    if (!best)
        return false;
    out->job = best->id;
    out->segment = (uint32_t) segment;
    out->again = false;
    return true;
}

// When a lease should be done. Past its deadline it has no end that anyone would
// believe, nor when its worker is gone.
static double expected_end(const struct work_lease *l, double now)
{
    if (l->worker == SCHEDULE_NOBODY || now > l->deadline_s)
        return (double) INFINITY;
    return fmax(now, l->granted_s + l->takes_s);
}

static bool choose_again(const struct schedule *s, const struct fleet *f, size_t worker, double now,
                         struct decision *out)
{
    const struct fleet_worker *w = &f->workers[worker];
    const struct work_lease *best = NULL;
    double best_end = 0;
    if (w->held > 0)
        return false; // it is not idle
    for (size_t i = 0; i < s->lease_count; i++) {
        const struct work_lease *l = &s->leases[i];
        const struct work_job *j = schedule_job(s, l->job);
        if (!j || !fits(j, w) || l->worker == worker)
            continue;
        const struct work_segment *g = &j->segments[l->segment];
        if (g->live != 1 || g->frames != FRAMES_THERE)
            continue;
        const double end = expected_end(l, now);
        if (now + g->audio_s / rate_of(w) < end && (!best || end > best_end)) {
            best = l;
            best_end = end;
        }
    }
    if (!best)
        return false;
    out->job = best->job;
    out->segment = best->segment;
    out->again = true;
    return true;
}

// The next worker in order of backlog after `last` (-1: the first).
static int64_t next_worker(const struct fleet *f, int64_t last)
{
    int64_t best = -1;
    for (size_t i = 0; i < f->count; i++) {
        const struct fleet_worker *w = &f->workers[i];
        if (w->want == 0 || !fleet_may_work(w))
            continue;
        const double b = backlog_of(w);
        const double l = last < 0 ? -1 : backlog_of(&f->workers[last]);
        const bool after_last = last < 0 || b > l || (!(b < l) && (int64_t) i > last);
        if (after_last && (best < 0 || b < backlog_of(&f->workers[best])))
            best = (int64_t) i;
    }
    return best;
}

bool schedule_waits(const struct schedule *s)
{
    for (size_t i = 0; i < s->job_count; i++)
        if (s->jobs[i].ready > 0 && !s->jobs[i].paused)
            return true;
    return false;
}

bool schedule_next(const struct schedule *s, const struct fleet *f, double now, struct decision *out)
{
    for (int64_t w = next_worker(f, -1); w >= 0; w = next_worker(f, w)) {
        out->worker = (size_t) w;
        if (choose_ready(s, &f->workers[w], out))
            return true;
    }
    for (size_t i = 0; i < s->job_count; i++)
        if (s->jobs[i].ready > 0 && !s->jobs[i].paused)
            return false; // its pictures are on their way
    for (int64_t w = next_worker(f, -1); w >= 0; w = next_worker(f, w)) {
        out->worker = (size_t) w;
        if (choose_again(s, f, (size_t) w, now, out))
            return true;
    }
    return false;
}

// Leases

static enum err add_lease(struct schedule *s, const struct work_lease *lease)
{
    const enum err e = grow((void **) &s->leases, s->lease_count, &s->lease_room, sizeof(*s->leases));
    if (!e)
        s->leases[s->lease_count++] = *lease;
    return e;
}

static void set_segment(struct work_job *j, uint32_t segment, enum work_state to)
{
    struct work_segment *g = &j->segments[segment];
    j->ready -= g->state == WORK_READY;
    j->waiting -= g->state == WORK_RETRY_WAIT;
    j->done -= g->state == WORK_DONE;
    g->state = to;
    j->ready += to == WORK_READY;
    j->waiting += to == WORK_RETRY_WAIT;
    j->done += to == WORK_DONE;
}

enum err schedule_lease(struct schedule *s, struct fleet *f, const struct decision *d, int64_t attempt, int64_t fence,
                        double now)
{
    struct work_job *j = schedule_job(s, d->job);
    struct fleet_worker *w = &f->workers[d->worker];
    const struct work_segment *g = &j->segments[d->segment];
    const double takes = (w->backlog_s + g->audio_s) / rate_of(w);
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
        .promised_s = g->audio_s / rate_of(w),
    };
    snprintf(lease.worker_name, sizeof(lease.worker_name), "%s", w->name);
    const enum err e = add_lease(s, &lease);
    if (e)
        return e;
    set_segment(j, d->segment, WORK_LEASED);
    j->segments[d->segment].live++;
    s->owners[j->owner].promised_s += lease.promised_s;
    w->want--;
    w->held++;
    w->backlog_s += g->audio_s;
    return ERR_OK;
}

enum err schedule_restore(struct schedule *s, const struct work_lease *lease)
{
    struct work_job *j = schedule_job(s, lease->job);
    if (!j || lease->segment >= j->count)
        return ERR_BUG;
    const enum err e = add_lease(s, lease);
    if (!e)
        j->segments[lease->segment].live++;
    return e;
}

struct work_lease *schedule_find(const struct schedule *s, int64_t attempt)
{
    for (size_t i = 0; i < s->lease_count; i++)
        if (s->leases[i].attempt == attempt)
            return &s->leases[i];
    return NULL;
}

void schedule_adopt(struct schedule *s, struct fleet *f, struct work_lease *lease, size_t worker, double now)
{
    const struct work_job *j = schedule_job(s, lease->job);
    lease->renewed_s = now;
    lease->acknowledged = true;
    if (lease->worker == worker || !j)
        return;
    const double audio_s = j->segments[lease->segment].audio_s;
    if (lease->worker != SCHEDULE_NOBODY) {
        f->workers[lease->worker].held--;
        f->workers[lease->worker].backlog_s -= audio_s;
    }
    lease->worker = worker;
    f->workers[worker].held++;
    f->workers[worker].backlog_s += audio_s;
}

// The worker and the owner are rid of it.
static void settle(struct schedule *s, struct fleet *f, const struct work_job *j, const struct work_lease *l,
                   double now)
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

void schedule_end(struct schedule *s, struct fleet *f, int64_t attempt, enum work_state state, double now)
{
    struct work_lease *l = schedule_find(s, attempt);
    struct work_job *j = l ? schedule_job(s, l->job) : NULL;
    if (!j)
        return;
    struct work_segment *g = &j->segments[l->segment];
    settle(s, f, j, l, now);
    g->live -= g->live > 0;
    const uint32_t segment = l->segment;
    drop_lease(s, (size_t) (l - s->leases));
    if (g->state == WORK_DONE)
        return;
    if (state == WORK_RETRY_WAIT) {
        g->retry_s = now + fmin(RETRY_MOST_S, ldexp(RETRY_FIRST_S, (int) g->troubles));
        g->troubles++;
    }
    set_segment(j, segment, state);
    if (state == WORK_DONE && segment + 1 < j->count && j->segments[segment + 1].place > 0 &&
        j->segments[segment + 1].state == WORK_BLOCKED)
        set_segment(j, segment + 1, WORK_READY);
}

void schedule_renew(struct work_lease *lease, double now)
{
    lease->renewed_s = now;
}

int64_t schedule_expired(const struct schedule *s, double now)
{
    for (size_t i = 0; i < s->lease_count; i++)
        if (now - s->leases[i].renewed_s > s->lease_s)
            return s->leases[i].attempt;
    return -1;
}

int64_t schedule_of_worker(const struct schedule *s, size_t worker)
{
    for (size_t i = 0; i < s->lease_count; i++)
        if (s->leases[i].worker == worker)
            return s->leases[i].attempt;
    return -1;
}

bool schedule_due(const struct schedule *s, double now, int64_t *job, uint32_t *segment)
{
    for (size_t i = 0; i < s->job_count; i++) {
        const struct work_job *j = &s->jobs[i];
        for (uint32_t k = 0; j->waiting > 0 && k < j->count; k++)
            if (j->segments[k].state == WORK_RETRY_WAIT && now >= j->segments[k].retry_s) {
                *job = j->id;
                *segment = k;
                return true;
            }
    }
    return false;
}

void schedule_released(struct schedule *s, int64_t job, uint32_t segment)
{
    struct work_job *j = schedule_job(s, job);
    if (j && j->segments[segment].state == WORK_RETRY_WAIT)
        set_segment(j, segment, WORK_READY);
}

// Pictures

static bool follows_work(const struct work_job *j, uint32_t i)
{
    return j->segments[i].state == WORK_BLOCKED && i > 0 && j->segments[i - 1].state == WORK_LEASED;
}

static uint32_t pictures_ahead(const struct schedule *s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->job_count; i++)
        for (uint32_t k = 0; k < s->jobs[i].count; k++) {
            const struct work_segment *g = &s->jobs[i].segments[k];
            n += g->frames != FRAMES_ABSENT && g->state != WORK_LEASED && g->state != WORK_DONE;
        }
    return n;
}

bool schedule_wants_frames(const struct schedule *s, uint32_t ahead, int64_t *job, uint32_t *segment)
{
    const struct work_job *best = NULL;
    bool best_ready = false;
    if (pictures_ahead(s) >= ahead)
        return false;
    for (size_t i = 0; i < s->job_count; i++) {
        const struct work_job *j = &s->jobs[i];
        int64_t wanted = -1;
        bool ready = false;
        for (uint32_t k = 0; !j->paused && k < j->count; k++) {
            const struct work_segment *g = &j->segments[k];
            if (g->frames != FRAMES_ABSENT || (g->state != WORK_READY && !follows_work(j, k)))
                continue;
            const bool is_ready = g->state == WORK_READY;
            if (wanted < 0 || (is_ready && !ready) ||
                (is_ready == ready && g->remaining_s > j->segments[wanted].remaining_s)) {
                wanted = k;
                ready = is_ready;
            }
        }
        if (wanted < 0 || (best && (best_ready != ready ? best_ready : !comes_first(s, j, best))))
            continue;
        best = j;
        best_ready = ready;
        *job = j->id;
        *segment = (uint32_t) wanted;
    }
    return best != NULL;
}

// What is left

double schedule_left(const struct schedule *s, const struct fleet *f, int64_t job)
{
    const struct work_job *j = schedule_job(s, job);
    double rate = 0, each = 0, left = 0, longest = 0, of_cue = 0;
    for (size_t i = 0; j && i < s->lease_count; i++) {
        const struct work_lease *l = &s->leases[i];
        if (l->job != job || l->worker == SCHEDULE_NOBODY)
            continue;
        const struct fleet_worker *w = &f->workers[l->worker];
        const double one = rate_of(w) / fmax(1, w->held); // they share it
        rate += one;
        each = fmax(each, one);
    }
    if (rate <= 0)
        return -1;
    for (uint32_t i = 0; i < j->count; i++) {
        const double one = j->segments[i].state != WORK_DONE ? j->segments[i].audio_s : 0;
        of_cue = j->segments[i].place == 0 ? one : of_cue + one;
        longest = fmax(longest, of_cue);
        left += one;
    }
    return fmax(left / rate, longest / each);
}

// Explaining

struct reasons {
    uint32_t running, blocked, retrying, pictures, free_worker;
    uint32_t able, asking; // workers that may compose it, and those of them with room
};

bool schedule_excludes(const struct work_job *j, const struct fleet_worker *w, char *out, size_t room)
{
    const struct require_term *unmet = require_unmet(&j->require, w);
    char text[256];
    if (w->state == WORKER_LOST || w->state == WORKER_OFFLINE)
        snprintf(out, room, "is not here (%s)", worker_state_name(w->state));
    else if (!*w->model)
        snprintf(out, room, "has no model yet");
    else if (strcmp(j->model, w->model) != 0)
        snprintf(out, room, "has another model");
    else if (unmet) {
        require_say(unmet, w, text, sizeof(text));
        snprintf(out, room, "does not meet %s", text);
    } else if (w->quarantined)
        snprintf(out, room, "is in quarantine");
    else if (w->drained)
        snprintf(out, room, "is drained");
    else if (!fleet_may_work(w))
        snprintf(out, room, "has not been heard of enough (%s)", worker_state_name(w->state));
    else
        return false;
    return true;
}

static struct reasons count_reasons(const struct work_job *j, const struct fleet *f)
{
    struct reasons r = { 0 };
    for (uint32_t i = 0; i < j->count; i++) {
        const struct work_segment *g = &j->segments[i];
        r.running += g->state == WORK_LEASED;
        r.blocked += g->state == WORK_BLOCKED;
        r.retrying += g->state == WORK_RETRY_WAIT;
        r.pictures += g->state == WORK_READY && g->frames != FRAMES_THERE;
        r.free_worker += g->state == WORK_READY && g->frames == FRAMES_THERE;
    }
    for (size_t i = 0; i < f->count; i++) {
        char why[512];
        const bool able = !schedule_excludes(j, &f->workers[i], why, sizeof(why));
        r.able += able;
        r.asking += able && f->workers[i].want > 0;
    }
    return r;
}

void schedule_explain(const struct schedule *s, const struct fleet *f, int64_t job, double now, char *out, size_t room)
{
    const struct work_job *j = schedule_job(s, job);
    (void) now;
    if (!j) {
        snprintf(out, room, "none of its segments waits for a worker");
        return;
    }
    const struct reasons r = count_reasons(j, f);
    size_t n = (size_t) snprintf(out, room, "%u of %u segments are done, %u are being composed", j->done, j->count,
                                 r.running);
    if (j->paused) {
        snprintf(out + n, room - n, "; the rest waits because the job is paused");
        return;
    }
    const struct { uint32_t count; const char *why; } parts[] = {
        { r.blocked, "continue a segment that is not done yet" },
        { r.retrying, "will be tried again shortly after a GPU failed them" },
        { r.pictures, "wait for their pictures to be read from the film" },
        { r.free_worker, r.able == 0    ? "wait because no worker may compose them"
                         : r.asking == 0 ? "wait for a worker with room"
                                         : "are next, after work of other jobs or owners" },
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].count && n < room)
            n += (size_t) snprintf(out + n, room - n, "; %u %s", parts[i].count, parts[i].why);
}
