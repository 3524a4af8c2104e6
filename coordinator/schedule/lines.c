#include "coordinator/schedule/lines.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/array.h"

void lines_finish(struct lines *l)
{
    for (size_t i = 0; i < l->queue_count; i++)
        for (int k = 0; k < WORK_LINES; k++)
            free(l->queues[i].lines[k]);
    free(l->queues);
    *l = (struct lines){ 0 };
}

bool lines_goes_before(const struct work_job *a, const struct work_job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

static size_t place_in_line(const struct work_queue *q, int line, const struct work_job *j)
{
    size_t low = 0, high = q->in_line[line];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (lines_goes_before(q->lines[line][middle], j))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void leave_line(struct work_queue *q, int line, struct work_job *j)
{
    const size_t i = place_in_line(q, line, j);
    memmove(&q->lines[line][i], &q->lines[line][i + 1],
            (--q->in_line[line] - i) * sizeof(struct work_job *));
    j->in_line[line] = false;
}

static void join_line(struct work_queue *q, int line, struct work_job *j)
{
    const size_t i = place_in_line(q, line, j);
    memmove(&q->lines[line][i + 1], &q->lines[line][i],
            (q->in_line[line]++ - i) * sizeof(struct work_job *));
    q->lines[line][i] = j;
    j->in_line[line] = true;
}

static void line_up(struct lines *l, struct work_job *j)
{
    for (int line = 0; line < WORK_LINES; line++) {
        const bool belongs = !j->paused && j->lines[line] > 0;
        if (belongs && !j->in_line[line])
            join_line(&l->queues[j->queue], line, j);
        else if (!belongs && j->in_line[line])
            leave_line(&l->queues[j->queue], line, j);
    }
}

static bool is_alike(const struct work_queue *q, const struct work_job *j)
{
    if (q->owner != j->owner || strcmp(q->model, j->model) != 0 ||
        q->require.count != j->require.count)
        return false;
    for (uint32_t i = 0; i < j->require.count; i++) {
        const struct require_term *a = &q->require.terms[i], *b = &j->require.terms[i];
        if (a->fact != b->fact || a->op != b->op || strcmp(a->value, b->value) != 0)
            return false;
    }
    return true;
}

// The queue of a job, one that has become empty if there is none.
static enum err find_queue(struct lines *l, const struct work_job *j, size_t *out)
{
    size_t empty = l->queue_count;
    for (*out = 0; *out < l->queue_count; (*out)++) {
        if (is_alike(&l->queues[*out], j))
            return ERR_OK;
        if (l->queues[*out].job_count == 0)
            empty = *out;
    }
    if (empty == l->queue_count) {
        const enum err e = array_grow((void **) &l->queues, l->queue_count, &l->queue_room,
                                      sizeof(*l->queues));
        if (e)
            return e;
        l->queues[l->queue_count++] = (struct work_queue){ 0 };
    }
    *out = empty;
    struct work_queue *q = &l->queues[empty];
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
    return j->segments[i].state == WORK_BLOCKED && i > 0 &&
           j->segments[i - 1].state == WORK_LEASED;
}

static bool has_asked(const struct work_segment *g)
{
    return (g->frames == FRAMES_ASKED) | (g->frames == FRAMES_THERE);
}

// Sums of 0 and 1, without branches: an analyzer would follow each of them, four times a change.
static void count_segment(struct lines *l, struct work_job *j, uint32_t i, bool add)
{
    if (i >= j->count)
        return;
    const struct work_segment *g = &j->segments[i];
    const uint64_t one = add ? 1 : UINT64_MAX; // unsigned sums come back to what they were
    const uint32_t few = (uint32_t) one;
    const bool is_ready = g->state == WORK_READY, is_done = g->state == WORK_DONE,
               none = g->frames == FRAMES_ABSENT;
    l->in_state[g->state] += one;
    l->pictures += one * (has_asked(g) & (g->state != WORK_LEASED) & !is_done);
    j->done += few * is_done;
    j->ready += few * is_ready;
    j->waiting += few * (g->state == WORK_RETRY_WAIT);
    j->lines[LINE_WORKER] += few * (is_ready & (g->frames == FRAMES_THERE));
    j->lines[LINE_PICTURES] += few * (is_ready & none);
    j->lines[LINE_FOLLOWER] += few * (none & follows_work(j, i));
}

static void count_job(struct lines *l, const struct work_job *j, bool add)
{
    const uint64_t one = add ? 1 : UINT64_MAX;
    l->ready += one * !j->paused * j->ready;
    l->complete += one * (!j->paused & (j->done == j->count));
}

void lines_begin_change(struct lines *l, struct work_job *j, uint32_t segment)
{
    count_job(l, j, false);
    count_segment(l, j, segment, false);
    count_segment(l, j, segment + 1, false);
}

void lines_end_change(struct lines *l, struct work_job *j, uint32_t segment)
{
    count_segment(l, j, segment, true);
    count_segment(l, j, segment + 1, true);
    count_job(l, j, true);
    line_up(l, j);
}

// Jobs

enum err lines_join(struct lines *l, struct work_job *j)
{
    j->done = j->ready = j->waiting = 0;
    for (int line = 0; line < WORK_LINES; line++) {
        j->lines[line] = 0;
        j->in_line[line] = false;
    }
    enum err e = find_queue(l, j, &j->queue);
    if (!e)
        e = make_room(&l->queues[j->queue]);
    if (e)
        return e;
    l->queues[j->queue].job_count++;
    for (uint32_t i = 0; i < j->count; i++)
        count_segment(l, j, i, true);
    count_job(l, j, true);
    line_up(l, j);
    return ERR_OK;
}

void lines_leave(struct lines *l, struct work_job *j)
{
    count_job(l, j, false);
    for (uint32_t i = 0; i < j->count; i++)
        count_segment(l, j, i, false);
    j->paused = true;
    line_up(l, j);
    l->queues[j->queue].job_count--;
}

void lines_order(struct lines *l, struct work_job *j, bool paused, int64_t priority)
{
    count_job(l, j, false);
    j->paused = true;
    line_up(l, j); // out of all lines: its place in them may be another
    j->paused = paused;
    j->priority = priority;
    count_job(l, j, true);
    line_up(l, j);
}

// Segments

// Is it one that its job stands in that line with?
static bool is_in_line(const struct work_job *j, uint32_t i, enum work_line line)
{
    const struct work_segment *g = &j->segments[i];
    if (line == LINE_FOLLOWER)
        return g->frames == FRAMES_ABSENT && follows_work(j, i);
    return g->state == WORK_READY &&
           g->frames == (line == LINE_WORKER ? FRAMES_THERE : FRAMES_ABSENT);
}

uint32_t lines_longest(const struct work_job *j, enum work_line line)
{
    int64_t best = -1;
    for (uint32_t i = 0; i < j->count; i++)
        if (is_in_line(j, i, line) &&
            (best < 0 || j->segments[i].remaining_s > j->segments[best].remaining_s))
            best = i;
    return (uint32_t) best;
}

const char *lines_check(const struct lines *l, const struct work_job *j, struct lines *sums)
{
    uint32_t lines[WORK_LINES] = { 0 }, done = 0, ready = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct work_segment *g = &j->segments[i];
        sums->in_state[g->state]++;
        sums->pictures += has_asked(g) && g->state != WORK_LEASED && g->state != WORK_DONE;
        done += g->state == WORK_DONE;
        ready += g->state == WORK_READY;
        for (int line = 0; line < WORK_LINES; line++)
            lines[line] += is_in_line(j, i, (enum work_line) line);
    }
    sums->ready += j->paused ? 0 : ready;
    sums->complete += !j->paused && done == j->count;
    for (int line = 0; line < WORK_LINES; line++) {
        const struct work_queue *q = &l->queues[j->queue];
        const size_t place = place_in_line(q, line, j);
        const bool stands = place < q->in_line[line] && q->lines[line][place] == j;
        if (lines[line] != j->lines[line] || stands != (lines[line] > 0 && !j->paused) ||
            stands != j->in_line[line])
            return "a job's place in line";
    }
    return done != j->done || ready != j->ready ? "a job's counts" : NULL;
}
