// Does all that the schedule counts and links agree with what it stands for?
#include "coordinator/schedule/schedule_internal.h"

static const char *check_job(const struct schedule *s, const struct work_job *j,
                             struct lines *sums)
{
    uint32_t live = 0, leases = 0;
    for (uint32_t i = 0; i < j->count; i++)
        live += j->segments[i].live;
    for (int64_t i = j->lease; i >= 0; i = s->leases[i].next_of_job)
        if (s->leases[i].job != j->id || leases++ > s->lease_count)
            return "a job's chain of leases";
    return live != leases || leases != j->lease_count ? "a job's leases"
                                                      : lines_check(&s->lines, j, sums);
}

// Of one worker's chain: as many leases as it holds, all of them its own.
static const char *check_chain(const struct schedule *s, const struct fleet *f, size_t worker,
                               size_t *chained)
{
    size_t held = 0;
    for (int64_t i = schedule_first_of(s, worker); i >= 0; i = schedule_next_of(s, i), held++)
        if (s->leases[i].worker != worker || held > s->lease_count)
            return "a worker's chain of leases";
    *chained += held;
    return worker != SCHEDULE_NOBODY && held != f->workers[worker].held ? "what a worker holds"
                                                                        : NULL;
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
    return what || (chained == s->lease_count && s->attempts.count == chained)
               ? what
               : "the number of leases";
}

const char *schedule_check(const struct schedule *s, const struct fleet *f)
{
    struct lines sums = { 0 };
    for (size_t i = 0; i < s->job_count; i++) {
        const char *what = check_job(s, s->jobs[i], &sums);
        if (what)
            return what;
    }
    for (int k = 0; k < WORK_STATES; k++)
        if (sums.in_state[k] != s->lines.in_state[k])
            return "the segments in a state";
    if (sums.ready != s->lines.ready || sums.complete != s->lines.complete ||
        sums.pictures != s->lines.pictures)
        return "a sum over all jobs";
    return check_leases(s, f);
}
