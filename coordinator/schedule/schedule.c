#include "coordinator/schedule/schedule.h"

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
    for (size_t i = 0; i < s->queue_count; i++)
        for (int k = 0; k < WORK_LINES; k++)
            free(s->queues[i].lines[k]);
    free(s->jobs);
    free(s->queues);
    free(s->owners);
    free(s->leases);
    free(s->of_worker);
    id_map_finish(&s->attempts);
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
        if (s->jobs[middle]->id < job)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct work_job *find_job(const struct schedule *s, int64_t job)
{
    const size_t i = place_of(s, job);
    return i < s->job_count && s->jobs[i]->id == job ? s->jobs[i] : NULL;
}

const struct work_job *schedule_job(const struct schedule *s, int64_t job)
{
    return find_job(s, job);
}

// Lines

// Of one owner's jobs: which goes first?
static bool goes_before(const struct work_job *a, const struct work_job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

static size_t place_in_line(const struct work_queue *q, int line, const struct work_job *j)
{
    size_t low = 0, high = q->in_line[line];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (goes_before(q->lines[line][middle], j))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void leave_line(struct work_queue *q, int line, struct work_job *j)
{
    const size_t i = place_in_line(q, line, j);
    memmove(&q->lines[line][i], &q->lines[line][i + 1], (--q->in_line[line] - i) * sizeof(struct work_job *));
    j->in_line[line] = false;
}

static void join_line(struct work_queue *q, int line, struct work_job *j)
{
    const size_t i = place_in_line(q, line, j);
    memmove(&q->lines[line][i + 1], &q->lines[line][i], (q->in_line[line]++ - i) * sizeof(struct work_job *));
    q->lines[line][i] = j;
    j->in_line[line] = true;
}

static void line_up(struct schedule *s, struct work_job *j)
{
    for (int line = 0; line < WORK_LINES; line++) {
        const bool belongs = !j->paused && j->lines[line] > 0;
        if (belongs && !j->in_line[line])
            join_line(&s->queues[j->queue], line, j);
        else if (!belongs && j->in_line[line])
            leave_line(&s->queues[j->queue], line, j);
    }
}

static bool is_alike(const struct work_queue *q, const struct work_job *j)
{
    if (q->owner != j->owner || strcmp(q->model, j->model) != 0 || q->require.count != j->require.count)
        return false;
    for (uint32_t i = 0; i < j->require.count; i++) {
        const struct require_term *a = &q->require.terms[i], *b = &j->require.terms[i];
        if (a->fact != b->fact || a->op != b->op || strcmp(a->value, b->value) != 0)
            return false;
    }
    return true;
}

// The queue of a job, one that has become empty if there is none.
static enum err find_queue(struct schedule *s, const struct work_job *j, size_t *out)
{
    size_t empty = s->queue_count;
    for (*out = 0; *out < s->queue_count; (*out)++) {
        if (is_alike(&s->queues[*out], j))
            return ERR_OK;
        if (s->queues[*out].job_count == 0)
            empty = *out;
    }
    if (empty == s->queue_count) {
        const enum err e = grow((void **) &s->queues, s->queue_count, &s->queue_room, sizeof(*s->queues));
        if (e)
            return e;
        s->queues[s->queue_count++] = (struct work_queue){ 0 };
    }
    *out = empty;
    struct work_queue *q = &s->queues[empty];
    q->owner = j->owner;
    q->require = j->require;
    memcpy(q->model, j->model, sizeof(q->model));
    return ERR_OK;
}

// Later it must not fail: each line takes all of the queue's jobs.
static enum err make_room(struct work_queue *q)
{
    if (q->job_count < q->room)
        return ERR_OK;
    const size_t wanted = q->room ? 2 * q->room : 16;
    for (int line = 0; line < WORK_LINES; line++) {
        struct work_job **more = realloc(q->lines[line], wanted * sizeof(struct work_job *));
        if (!more)
            return ERR_NOMEM;
        q->lines[line] = more;
    }
    q->room = wanted;
    return ERR_OK;
}

// Counting: what one segment, and what one job, adds to the sums

static bool follows_work(const struct work_job *j, uint32_t i)
{
    return j->segments[i].state == WORK_BLOCKED && i > 0 && j->segments[i - 1].state == WORK_LEASED;
}

// Sums of 0 and 1, without branches: an analyzer would follow each of them, four times a change.
static void count_segment(struct schedule *s, struct work_job *j, uint32_t i, bool add)
{
    if (i >= j->count)
        return;
    const struct work_segment *g = &j->segments[i];
    const uint64_t one = add ? 1 : UINT64_MAX; // unsigned sums come back to what they were
    const uint32_t few = (uint32_t) one;
    const bool is_ready = g->state == WORK_READY, is_done = g->state == WORK_DONE, none = g->frames == FRAMES_ABSENT;
    s->in_state[g->state] += one;
    s->pictures += one * (!none & (g->state != WORK_LEASED) & !is_done);
    j->done += few * is_done;
    j->ready += few * is_ready;
    j->waiting += few * (g->state == WORK_RETRY_WAIT);
    j->lines[LINE_WORKER] += few * (is_ready & (g->frames == FRAMES_THERE));
    j->lines[LINE_PICTURES] += few * (is_ready & none);
    j->lines[LINE_FOLLOWER] += few * (none & follows_work(j, i));
}

static void count_job(struct schedule *s, const struct work_job *j, bool add)
{
    const uint64_t one = add ? 1 : UINT64_MAX;
    s->ready += one * !j->paused * j->ready;
    s->complete += one * (!j->paused & (j->done == j->count));
}

// Between these two a segment may be changed: it counts for itself and for the next one.
static void begin_change(struct schedule *s, struct work_job *j, uint32_t segment)
{
    count_job(s, j, false);
    count_segment(s, j, segment, false);
    count_segment(s, j, segment + 1, false);
}

static void end_change(struct schedule *s, struct work_job *j, uint32_t segment)
{
    count_segment(s, j, segment, true);
    count_segment(s, j, segment + 1, true);
    count_job(s, j, true);
    line_up(s, j);
}

// Jobs

enum err schedule_add(struct schedule *s, const struct work_job *job)
{
    struct work_job *j = malloc(sizeof(*j));
    if (!j)
        return ERR_NOMEM;
    *j = *job;
    j->done = j->ready = j->waiting = j->lease_count = 0;
    j->lease = -1;
    for (int line = 0; line < WORK_LINES; line++) {
        j->lines[line] = 0;
        j->in_line[line] = false;
    }
    enum err e = grow((void **) &s->jobs, s->job_count, &s->job_room, sizeof(*s->jobs));
    if (!e)
        e = find_queue(s, j, &j->queue);
    if (!e)
        e = make_room(&s->queues[j->queue]);
    if (e) {
        free(j);
        return e;
    }
    s->queues[j->queue].job_count++;
    const size_t i = place_of(s, j->id);
    memmove(&s->jobs[i + 1], &s->jobs[i], (s->job_count++ - i) * sizeof(struct work_job *));
    s->jobs[i] = j;
    for (uint32_t k = 0; k < j->count; k++) {
        count_segment(s, j, k, true);
        if (j->segments[k].state == WORK_RETRY_WAIT)
            s->due_s = fmin(s->due_s, j->segments[k].retry_s);
    }
    count_job(s, j, true);
    line_up(s, j);
    return ERR_OK;
}

void schedule_order(struct schedule *s, int64_t job, bool paused, int64_t priority)
{
    struct work_job *j = find_job(s, job);
    if (!j || (j->paused == paused && j->priority == priority))
        return;
    count_job(s, j, false);
    j->paused = true;
    line_up(s, j); // out of all lines: its place in them may be another
    j->paused = paused;
    j->priority = priority;
    count_job(s, j, true);
    line_up(s, j);
}

bool schedule_complete(const struct schedule *s, int64_t *job)
{
    for (size_t i = 0; s->complete > 0 && i < s->job_count; i++)
        if (!s->jobs[i]->paused && s->jobs[i]->done == s->jobs[i]->count) {
            *job = s->jobs[i]->id;
            return true;
        }
    return false;
}

// Chains of leases

static int64_t *first_of(struct schedule *s, size_t worker)
{
    return worker == SCHEDULE_NOBODY ? &s->of_nobody : &s->of_worker[worker];
}

static enum err know_worker(struct schedule *s, size_t worker)
{
    while (worker != SCHEDULE_NOBODY && worker >= s->of_worker_room) {
        const size_t before = s->of_worker_room;
        const enum err e = grow((void **) &s->of_worker, before, &s->of_worker_room, sizeof(*s->of_worker));
        if (e)
            return e;
        for (size_t i = before; i < s->of_worker_room; i++)
            s->of_worker[i] = -1;
    }
    return ERR_OK;
}

// The last of its worker's: that works off what came first.
static void chain_to_worker(struct schedule *s, int64_t lease)
{
    int64_t *end = first_of(s, s->leases[lease].worker), last = -1;
    while (*end >= 0) {
        last = *end;
        end = &s->leases[last].next_of_worker;
    }
    *end = lease;
    s->leases[lease].previous_of_worker = last;
    s->leases[lease].next_of_worker = -1;
}

static void unchain_from_worker(struct schedule *s, int64_t lease)
{
    const struct work_lease *l = &s->leases[lease];
    *(l->previous_of_worker < 0 ? first_of(s, l->worker) : &s->leases[l->previous_of_worker].next_of_worker) =
        l->next_of_worker;
    if (l->next_of_worker >= 0)
        s->leases[l->next_of_worker].previous_of_worker = l->previous_of_worker;
}

static void chain_to_job(struct schedule *s, struct work_job *j, int64_t lease)
{
    s->leases[lease].previous_of_job = -1;
    s->leases[lease].next_of_job = j->lease;
    if (j->lease >= 0)
        s->leases[j->lease].previous_of_job = lease;
    j->lease = lease;
    j->lease_count++;
}

static void unchain_from_job(struct schedule *s, struct work_job *j, int64_t lease)
{
    const struct work_lease *l = &s->leases[lease];
    *(l->previous_of_job < 0 ? &j->lease : &s->leases[l->previous_of_job].next_of_job) = l->next_of_job;
    if (l->next_of_job >= 0)
        s->leases[l->next_of_job].previous_of_job = l->previous_of_job;
    j->lease_count--;
}

// Whoever points at it is told of its new place.
static void move_lease(struct schedule *s, int64_t from, int64_t to)
{
    const struct work_lease *l = &s->leases[to];
    s->leases[to] = s->leases[from];
    *(l->previous_of_worker < 0 ? first_of(s, l->worker) : &s->leases[l->previous_of_worker].next_of_worker) = to;
    if (l->next_of_worker >= 0)
        s->leases[l->next_of_worker].previous_of_worker = to;
    *(l->previous_of_job < 0 ? &find_job(s, l->job)->lease : &s->leases[l->previous_of_job].next_of_job) = to;
    if (l->next_of_job >= 0)
        s->leases[l->next_of_job].previous_of_job = to;
    id_map_put(&s->attempts, (uint64_t) l->attempt, (size_t) to);
}

static void drop_lease(struct schedule *s, struct work_job *j, int64_t lease)
{
    unchain_from_worker(s, lease);
    unchain_from_job(s, j, lease);
    id_map_remove(&s->attempts, (uint64_t) s->leases[lease].attempt);
    const int64_t last = (int64_t) --s->lease_count;
    if (lease != last)
        move_lease(s, last, lease);
}

int64_t schedule_first_of(const struct schedule *s, size_t worker)
{
    if (worker == SCHEDULE_NOBODY)
        return s->of_nobody;
    return worker < s->of_worker_room ? s->of_worker[worker] : -1;
}

int64_t schedule_next_of(const struct schedule *s, int64_t lease)
{
    return s->leases[lease].next_of_worker;
}

int64_t schedule_lease_of(const struct schedule *s, int64_t job, int64_t segment)
{
    const struct work_job *j = find_job(s, job);
    int64_t i = j ? j->lease : -1;
    while (i >= 0 && segment >= 0 && s->leases[i].segment != segment)
        i = s->leases[i].next_of_job;
    return i;
}

uint32_t schedule_running(const struct schedule *s, int64_t job)
{
    const struct work_job *j = find_job(s, job);
    return j ? j->lease_count : 0;
}

void schedule_remove(struct schedule *s, int64_t job)
{
    struct work_job *j = find_job(s, job);
    if (!j)
        return;
    while (j->lease >= 0) {
        s->owners[j->owner].promised_s -= s->leases[j->lease].promised_s;
        drop_lease(s, j, j->lease);
    }
    count_job(s, j, false);
    for (uint32_t i = 0; i < j->count; i++)
        count_segment(s, j, i, false);
    j->paused = true;
    line_up(s, j);
    s->queues[j->queue].job_count--;
    const size_t i = place_of(s, job);
    memmove(&s->jobs[i], &s->jobs[i + 1], (--s->job_count - i) * sizeof(struct work_job *));
    free_job(j);
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

static bool fits(const struct work_queue *q, const struct fleet_worker *w)
{
    return !strcmp(q->model, w->model) && !require_unmet(&q->require, w);
}

static double share_of(const struct work_owner *o)
{
    return (o->used_s + o->promised_s) / (o->weight > 0 ? o->weight : 1e-9);
}

// Is it one that its job stands in that line with?
static bool is_in_line(const struct work_job *j, uint32_t i, enum work_line line)
{
    const struct work_segment *g = &j->segments[i];
    if (line == LINE_FOLLOWER)
        return g->frames == FRAMES_ABSENT && follows_work(j, i);
    return g->state == WORK_READY && g->frames == (line == LINE_WORKER ? FRAMES_THERE : FRAMES_ABSENT);
}

// Of those, the one with the most of its cue to come.
static uint32_t longest_in_line(const struct work_job *j, enum work_line line)
{
    int64_t best = -1;
    for (uint32_t i = 0; i < j->count; i++)
        if (is_in_line(j, i, line) && (best < 0 || j->segments[i].remaining_s > j->segments[best].remaining_s))
            best = i;
    return (uint32_t) best;
}

// Is a better than b, of whatever owners?
static bool comes_first(const struct schedule *s, const struct work_job *a, const struct work_job *b)
{
    if (a->owner == b->owner)
        return goes_before(a, b);
    const double x = share_of(&s->owners[a->owner]), y = share_of(&s->owners[b->owner]);
    if (x < y || x > y)
        return x < y;
    return a->owner < b->owner;
}

// The first in line of all queues, or of those that a worker may compose for; NULL: none.
static const struct work_job *first_in_line(const struct schedule *s, enum work_line line, const struct fleet_worker *w)
{
    const struct work_job *best = NULL;
    for (size_t i = 0; i < s->queue_count; i++) {
        const struct work_queue *q = &s->queues[i];
        if (q->in_line[line] > 0 && (!best || comes_first(s, q->lines[line][0], best)) && (!w || fits(q, w)))
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
static const struct work_lease *lease_to_repeat(const struct schedule *s, size_t worker, const struct fleet_worker *w,
                                                double now)
{
    const struct work_lease *best = NULL;
    double best_end = 0;
    for (size_t i = 0; i < s->lease_count; i++) {
        const struct work_lease *l = &s->leases[i];
        const struct work_job *j = find_job(s, l->job);
        const struct work_segment *g = &j->segments[l->segment];
        if (j->paused || l->worker == worker || g->live != 1 || g->frames != FRAMES_THERE)
            continue;
        const double end = expected_end(l, now);
        if (now + g->audio_s / rate_of(w) < end && (!best || end > best_end) && fits(&s->queues[j->queue], w)) {
            best = l;
            best_end = end;
        }
    }
    return best;
}

bool schedule_waits(const struct schedule *s)
{
    return s->ready > 0;
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
    out->segment = longest_in_line(best, LINE_WORKER);
    out->again = false;
    return true;
}

static bool choose_again(const struct schedule *s, const struct fleet *f, double now, struct decision *out)
{
    for (size_t i = 0; s->lease_count > 0 && i < f->count; i++) {
        const struct fleet_worker *w = &f->workers[i];
        const struct work_lease *l = is_asking(w) && w->held == 0 ? lease_to_repeat(s, i, w, now) : NULL;
        if (!l)
            continue;
        *out = (struct decision){ .job = l->job, .segment = l->segment, .worker = i, .again = true };
        return true;
    }
    return false;
}

bool schedule_next(struct schedule *s, const struct fleet *f, double now, struct decision *out)
{
    if (s->ready > 0) // what is READY but not chosen waits for its pictures, or for other workers
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

static enum err add_lease(struct schedule *s, struct work_job *j, const struct work_lease *lease)
{
    enum err e = grow((void **) &s->leases, s->lease_count, &s->lease_room, sizeof(*s->leases));
    if (!e)
        e = id_map_reserve(&s->attempts, s->lease_count + 1);
    if (!e)
        e = know_worker(s, lease->worker);
    if (e)
        return e;
    const int64_t i = (int64_t) s->lease_count++;
    s->leases[i] = *lease;
    s->oldest_s = i ? fmin(s->oldest_s, lease->renewed_s) : lease->renewed_s;
    id_map_put(&s->attempts, (uint64_t) lease->attempt, (size_t) i);
    chain_to_worker(s, i);
    chain_to_job(s, j, i);
    return ERR_OK;
}

static void set_segment(struct schedule *s, struct work_job *j, uint32_t segment, enum work_state to)
{
    begin_change(s, j, segment);
    j->segments[segment].state = to;
    end_change(s, j, segment);
}

enum err schedule_lease(struct schedule *s, struct fleet *f, const struct decision *d, int64_t attempt, int64_t fence,
                        double now)
{
    struct work_job *j = find_job(s, d->job);
    struct fleet_worker *w = &f->workers[d->worker];
    struct work_segment *g = &j->segments[d->segment];
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
    const enum err e = add_lease(s, j, &lease);
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

void schedule_grant(struct schedule *s, struct work_lease *lease, int64_t attempt, int64_t fence)
{
    id_map_remove(&s->attempts, (uint64_t) lease->attempt);
    lease->attempt = attempt;
    lease->fence = fence;
    id_map_put(&s->attempts, (uint64_t) attempt, (size_t) (lease - s->leases));
}

enum err schedule_restore(struct schedule *s, const struct work_lease *lease)
{
    struct work_job *j = find_job(s, lease->job);
    if (!j || lease->segment >= j->count)
        return ERR_BUG;
    const enum err e = add_lease(s, j, lease);
    if (!e)
        j->segments[lease->segment].live++;
    return e;
}

struct work_lease *schedule_find(const struct schedule *s, int64_t attempt)
{
    const int64_t i = id_map_find(&s->attempts, (uint64_t) attempt);
    return i < 0 ? NULL : &s->leases[i];
}

void schedule_adopt(struct schedule *s, struct fleet *f, struct work_lease *lease, size_t worker, double now)
{
    const struct work_job *j = find_job(s, lease->job);
    lease->renewed_s = now;
    lease->acknowledged = true;
    if (lease->worker == worker || know_worker(s, worker))
        return; // without memory it stays nobody's, and ends by itself
    const double audio_s = j->segments[lease->segment].audio_s;
    if (lease->worker != SCHEDULE_NOBODY) {
        f->workers[lease->worker].held--;
        f->workers[lease->worker].backlog_s -= audio_s;
    }
    const int64_t i = lease - s->leases;
    unchain_from_worker(s, i);
    lease->worker = worker;
    chain_to_worker(s, i);
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

static double wait_after(uint32_t troubles)
{
    return fmin(RETRY_MOST_S, ldexp(RETRY_FIRST_S, (int) troubles));
}

void schedule_end(struct schedule *s, struct fleet *f, int64_t attempt, enum work_state state, double now)
{
    const struct work_lease *l = schedule_find(s, attempt);
    if (!l)
        return;
    struct work_job *j = find_job(s, l->job);
    const uint32_t segment = l->segment;
    struct work_segment *g = &j->segments[segment];
    settle(s, f, j, l, now);
    g->live -= g->live > 0;
    drop_lease(s, j, l - s->leases);
    if (g->state == WORK_DONE)
        return;
    if (state == WORK_RETRY_WAIT) {
        g->retry_s = now + wait_after(g->troubles);
        g->troubles++;
        s->due_s = s->in_state[WORK_RETRY_WAIT] ? fmin(s->due_s, g->retry_s) : g->retry_s;
    }
    set_segment(s, j, segment, state);
    if (state == WORK_DONE && segment + 1 < j->count && j->segments[segment + 1].place > 0 &&
        j->segments[segment + 1].state == WORK_BLOCKED)
        set_segment(s, j, segment + 1, WORK_READY);
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

int64_t schedule_of_worker(const struct schedule *s, size_t worker)
{
    const int64_t i = schedule_first_of(s, worker);
    return i < 0 ? -1 : s->leases[i].attempt;
}

bool schedule_due(struct schedule *s, double now, int64_t *job, uint32_t *segment)
{
    if (s->in_state[WORK_RETRY_WAIT] == 0 || now < s->due_s)
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
    struct work_job *j = find_job(s, job);
    if (j && j->segments[segment].state == WORK_RETRY_WAIT)
        set_segment(s, j, segment, WORK_READY);
}

// Pictures

bool schedule_wants_frames(const struct schedule *s, uint32_t ahead, int64_t *job, uint32_t *segment)
{
    if (s->pictures >= ahead)
        return false;
    enum work_line line = LINE_PICTURES;
    const struct work_job *j = first_in_line(s, line, NULL);
    if (!j)
        j = first_in_line(s, line = LINE_FOLLOWER, NULL);
    if (!j)
        return false;
    *job = j->id;
    *segment = longest_in_line(j, line);
    return true;
}

void schedule_frames(struct schedule *s, int64_t job, uint32_t segment, enum work_frames frames)
{
    struct work_job *j = find_job(s, job);
    if (!j)
        return;
    begin_change(s, j, segment);
    j->segments[segment].frames = frames;
    end_change(s, j, segment);
}

// What is left

double schedule_left(const struct schedule *s, const struct fleet *f, int64_t job)
{
    const struct work_job *j = schedule_job(s, job);
    double rate = 0, each = 0, left = 0, longest = 0, of_cue = 0;
    for (int64_t i = j ? j->lease : -1; i >= 0; i = s->leases[i].next_of_job) {
        const struct work_lease *l = &s->leases[i];
        if (l->worker == SCHEDULE_NOBODY)
            continue;
        const struct fleet_worker *w = &f->workers[l->worker];
        const double one = rate_of(w) / fmax(1, w->held); // they share it
        rate += one;
        each = fmax(each, one);
    }
    if (!j || rate <= 0)
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

// Checking

struct sums {
    uint64_t in_state[WORK_STATES], ready, complete, pictures;
};

static const char *check_job(const struct schedule *s, const struct work_job *j, struct sums *sums)
{
    uint32_t lines[WORK_LINES] = { 0 }, live = 0, leases = 0, done = 0, ready = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct work_segment *g = &j->segments[i];
        sums->in_state[g->state]++;
        sums->pictures += g->frames != FRAMES_ABSENT && g->state != WORK_LEASED && g->state != WORK_DONE;
        live += g->live;
        done += g->state == WORK_DONE;
        ready += g->state == WORK_READY;
        for (int line = 0; line < WORK_LINES; line++)
            lines[line] += is_in_line(j, i, (enum work_line) line);
    }
    sums->ready += j->paused ? 0 : ready;
    sums->complete += !j->paused && done == j->count;
    for (int64_t i = j->lease; i >= 0; i = s->leases[i].next_of_job)
        if (s->leases[i].job != j->id || leases++ > s->lease_count)
            return "a job's chain of leases";
    for (int line = 0; line < WORK_LINES; line++) {
        const struct work_queue *q = &s->queues[j->queue];
        const size_t place = place_in_line(q, line, j);
        const bool stands = place < q->in_line[line] && q->lines[line][place] == j;
        if (lines[line] != j->lines[line] || stands != (lines[line] > 0 && !j->paused) || stands != j->in_line[line])
            return "a job's place in line";
    }
    return live != leases || leases != j->lease_count || done != j->done || ready != j->ready ? "a job's counts" : NULL;
}

// Of one worker's chain: as many leases as it holds, all of them its own.
static const char *check_chain(const struct schedule *s, const struct fleet *f, size_t worker, size_t *chained)
{
    size_t held = 0;
    for (int64_t i = schedule_first_of(s, worker); i >= 0; i = schedule_next_of(s, i), held++)
        if (s->leases[i].worker != worker || held > s->lease_count)
            return "a worker's chain of leases";
    *chained += held;
    return worker != SCHEDULE_NOBODY && held != f->workers[worker].held ? "what a worker holds" : NULL;
}

static const char *check_leases(const struct schedule *s, const struct fleet *f)
{
    size_t chained = 0;
    const char *what = check_chain(s, f, SCHEDULE_NOBODY, &chained);
    for (size_t w = 0; !what && w < f->count; w++)
        what = check_chain(s, f, w, &chained);
    for (size_t i = 0; !what && i < s->lease_count; i++)
        if (id_map_find(&s->attempts, (uint64_t) s->leases[i].attempt) != (int64_t) i ||
            s->leases[i].renewed_s < s->oldest_s)
            what = "a lease";
    return what || (chained == s->lease_count && s->attempts.count == chained) ? what : "the number of leases";
}

const char *schedule_check(const struct schedule *s, const struct fleet *f)
{
    struct sums sums = { 0 };
    for (size_t i = 0; i < s->job_count; i++) {
        const char *what = check_job(s, s->jobs[i], &sums);
        if (what)
            return what;
    }
    for (int k = 0; k < WORK_STATES; k++)
        if (sums.in_state[k] != s->in_state[k])
            return "the segments in a state";
    if (sums.ready != s->ready || sums.complete != s->complete || sums.pictures != s->pictures)
        return "a sum over all jobs";
    return check_leases(s, f);
}
