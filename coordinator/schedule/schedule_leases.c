// The schedule's leases: in no order, each in the chain of its worker and in that of its job,
// and found by its attempt.
#include "coordinator/schedule/schedule_internal.h"

#include <math.h>

static int64_t *first_of(struct schedule *s, size_t worker)
{
    return worker == SCHEDULE_NOBODY ? &s->of_nobody : &s->of_worker[worker];
}

enum err schedule_know_worker(struct schedule *s, size_t worker)
{
    while (worker != SCHEDULE_NOBODY && worker >= s->of_worker_room) {
        const size_t before = s->of_worker_room;
        const enum err e = array_grow((void **) &s->of_worker, before, &s->of_worker_room,
                                      sizeof(*s->of_worker));
        if (e)
            return e;
        for (size_t i = before; i < s->of_worker_room; i++)
            s->of_worker[i] = -1;
    }
    return ERR_OK;
}

// The last of its worker's: that works off what came first.
void schedule_chain(struct schedule *s, int64_t lease)
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

void schedule_unchain(struct schedule *s, int64_t lease)
{
    const struct work_lease *l = &s->leases[lease];
    *(l->previous_of_worker < 0 ? first_of(s, l->worker)
                                : &s->leases[l->previous_of_worker].next_of_worker) =
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
    *(l->previous_of_job < 0 ? &j->lease : &s->leases[l->previous_of_job].next_of_job) =
        l->next_of_job;
    if (l->next_of_job >= 0)
        s->leases[l->next_of_job].previous_of_job = l->previous_of_job;
    j->lease_count--;
}

// Whoever points at it is told of its new place.
static void move_lease(struct schedule *s, int64_t from, int64_t to)
{
    const struct work_lease *l = &s->leases[to];
    s->leases[to] = s->leases[from];
    *(l->previous_of_worker < 0 ? first_of(s, l->worker)
                                : &s->leases[l->previous_of_worker].next_of_worker) = to;
    if (l->next_of_worker >= 0)
        s->leases[l->next_of_worker].previous_of_worker = to;
    *(l->previous_of_job < 0 ? &schedule_find_job(s, l->job)->lease
                             : &s->leases[l->previous_of_job].next_of_job) = to;
    if (l->next_of_job >= 0)
        s->leases[l->next_of_job].previous_of_job = to;
    id_map_put(&s->attempts, (uint64_t) l->attempt, (size_t) to);
}

void schedule_drop_lease(struct schedule *s, struct work_job *j, int64_t lease)
{
    schedule_unchain(s, lease);
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
    const struct work_job *j = schedule_find_job(s, job);
    int64_t i = j ? j->lease : -1;
    while (i >= 0 && segment >= 0 && s->leases[i].segment != segment)
        i = s->leases[i].next_of_job;
    return i;
}

uint32_t schedule_running(const struct schedule *s, int64_t job)
{
    const struct work_job *j = schedule_find_job(s, job);
    return j ? j->lease_count : 0;
}

enum err schedule_add_lease(struct schedule *s, struct work_job *j,
                            const struct work_lease *lease)
{
    enum err e =
        array_grow((void **) &s->leases, s->lease_count, &s->lease_room, sizeof(*s->leases));
    if (!e)
        e = id_map_reserve(&s->attempts, s->lease_count + 1);
    if (!e)
        e = schedule_know_worker(s, lease->worker);
    if (e)
        return e;
    const int64_t i = (int64_t) s->lease_count++;
    s->leases[i] = *lease;
    s->oldest_s = i ? fmin(s->oldest_s, lease->renewed_s) : lease->renewed_s;
    id_map_put(&s->attempts, (uint64_t) lease->attempt, (size_t) i);
    schedule_chain(s, i);
    chain_to_job(s, j, i);
    return ERR_OK;
}

struct work_lease *schedule_find(const struct schedule *s, int64_t attempt)
{
    const int64_t i = id_map_find(&s->attempts, (uint64_t) attempt);
    return i < 0 ? NULL : &s->leases[i];
}

int64_t schedule_of_worker(const struct schedule *s, size_t worker)
{
    const int64_t i = schedule_first_of(s, worker);
    return i < 0 ? -1 : s->leases[i].attempt;
}

void schedule_grant(struct schedule *s, struct work_lease *lease, int64_t attempt,
                    int64_t fence)
{
    id_map_remove(&s->attempts, (uint64_t) lease->attempt);
    lease->attempt = attempt;
    lease->fence = fence;
    id_map_put(&s->attempts, (uint64_t) attempt, (size_t) (lease - s->leases));
}
