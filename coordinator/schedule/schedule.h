// schedule: what is to be composed next, and by whom.
//
// A mirror of what the ledger says of the jobs under way, with the leases, kept in
// memory by whoever owns it; schedule_next() is a pure function of it, the fleet and
// the time. In this order:
//
//   worker   of those that asked, the one whose backlog ends first
//   owner    the one that has had the least of the GPUs' time for its weight
//   job      the highest priority, then the oldest: films are finished, not all begun
//   segment  the longest cue still to come: it decides when the film is done
//
// When nothing is READY anywhere, a segment already under way is given out a second
// time (speculation), but only one whose lease is past its deadline, or that an idle
// worker would finish sooner; the first result counts.
//
// What each call looks at grows with the workers and with one job's segments, but not with
// the jobs: see lines.h. So change what is in here by calls only.
//
// Times are seconds of the monotonic clock. One thread per schedule.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/id_map.h"
#include "coordinator/fleet/fleet.h"
#include "coordinator/schedule/lines.h"

#define SCHEDULE_DEADLINE 3.0   // times what it should take
#define SCHEDULE_GUESS_RATE 0.5 // of a worker nobody has measured

struct work_owner {
    char name[128];
    double weight, used_s, promised_s; // promised: of leases under way
};

struct work_lease {
    int64_t attempt, fence;
    int64_t job;
    uint32_t segment;
    size_t worker; // into the fleet; SCHEDULE_NOBODY after a restart, until it is back
    char worker_name[128];
    double granted_s, renewed_s, deadline_s;
    double takes_s;    // what it should take, the worker's backlog included
    double promised_s; // of GPU time, charged to the owner
    bool acknowledged; // its worker has said that it has it
    double sent_s;
    // Places of its neighbours in `leases`; -1: none.
    int64_t next_of_worker, previous_of_worker, next_of_job, previous_of_job;
};
#define SCHEDULE_NOBODY ((size_t) -1)

struct schedule {
    struct work_job **jobs; // by id
    size_t job_count, job_room;
    struct lines lines; // that they stand in
    struct work_owner *owners;
    size_t owner_count, owner_room;
    struct work_lease *leases; // in no order
    size_t lease_count, lease_room;
    struct id_map attempts; // to leases
    int64_t *of_worker;     // the first lease of each; then, of nobody's
    size_t of_worker_room;
    int64_t of_nobody;
    double lease_s;
    // No lease was renewed before, nothing is due, nothing done twice.
    double oldest_s, due_s, again_s;
};

void schedule_init(struct schedule *s, double lease_s);
void schedule_finish(struct schedule *s);

// ERR_NOMEM. An owner that is there already keeps what it has used.
ERR_CHECKED enum err schedule_owner(struct schedule *s, const char *name, double weight,
                                    double used_s, size_t *out);

// A job with `count` segments, which schedule takes over (from malloc) on success. Ids
// may come in any order.
ERR_CHECKED enum err schedule_add(struct schedule *s, const struct work_job *job);
void schedule_remove(struct schedule *s, int64_t job);                      // and its leases
const struct work_job *schedule_job(const struct schedule *s, int64_t job); // NULL: not here
void schedule_order(struct schedule *s, int64_t job, bool paused, int64_t priority);
// A job, not paused, all of whose segments are DONE. False: there is none.
bool schedule_complete(const struct schedule *s, int64_t *job);

struct decision {
    int64_t job;
    uint32_t segment;
    size_t worker;
    bool again; // speculation
};

// False: nothing can be given out now.
bool schedule_next(struct schedule *s, const struct fleet *f, double now, struct decision *out);

// Is there anything that could be given out, were there a worker for it with room, which has
// what is offered? An offer of nothing: one that could have anything.
bool schedule_waits(const struct schedule *s, const struct require *offer);

// What the decisions become. schedule_lease() counts the worker's `want` down.
ERR_CHECKED enum err schedule_lease(struct schedule *s, struct fleet *f,
                                    const struct decision *d, int64_t attempt, int64_t fence,
                                    double now);
// The lease's numbers, when the ledger has given them.
void schedule_grant(struct schedule *s, struct work_lease *lease, int64_t attempt,
                    int64_t fence);
// A lease that the ledger has from before a restart. ERR_BUG: of no job or segment here.
ERR_CHECKED enum err schedule_restore(struct schedule *s, const struct work_lease *lease);
// The lease of that attempt; NULL: it has none that is live.
struct work_lease *schedule_find(const struct schedule *s, int64_t attempt);
// Places in `leases`, -1: no more. Of a worker, or SCHEDULE_NOBODY; one of a job's segment
// (-1: of any of its segments).
int64_t schedule_first_of(const struct schedule *s, size_t worker);
int64_t schedule_next_of(const struct schedule *s, int64_t lease);
int64_t schedule_lease_of(const struct schedule *s, int64_t job, int64_t segment);
uint32_t schedule_running(const struct schedule *s, int64_t job); // its leases
// A worker is back that has this attempt: it is its again.
void schedule_adopt(struct schedule *s, struct fleet *f, struct work_lease *lease,
                    size_t worker, double now);

// An attempt has ended; the segment becomes `state`. Its successor becomes READY when
// that is WORK_DONE. Other leases of the segment stay until they are ended too.
void schedule_end(struct schedule *s, struct fleet *f, int64_t attempt, enum work_state state,
                  double now);

// Its worker has it and has got on.
void schedule_renew(struct work_lease *lease, double now);

// A lease that is over by now, or -1; and the lapse of one that a LOST worker had.
int64_t schedule_expired(struct schedule *s, double now);
int64_t schedule_of_worker(const struct schedule *s, size_t worker); // any attempt of it, or -1

// What was DONE is to be composed again: READY, without pictures. Nobody is at its successor.
void schedule_reopened(struct schedule *s, int64_t job, uint32_t segment);

// A RETRY_WAIT segment whose time has come.
bool schedule_due(struct schedule *s, double now, int64_t *job, uint32_t *segment);
void schedule_released(struct schedule *s, int64_t job, uint32_t segment);

// The next segment of a job whose pictures should be got ready: READY first, then what
// follows what is under way; nothing when `ahead` are there or asked for and not leased.
bool schedule_wants_frames(const struct schedule *s, uint32_t ahead, int64_t *job,
                           uint32_t *segment);
void schedule_frames(struct schedule *s, int64_t job, uint32_t segment,
                     enum work_frames frames);

// Seconds until all of a job is composed, were it to go on as now: what is left of it, at
// the rate of the workers that are at it, but no sooner than its longest cue allows; < 0:
// nobody is at it.
double schedule_left(const struct schedule *s, const struct fleet *f, int64_t job);

// Why a worker may not compose a job, as a clause; false: it may.
bool schedule_excludes(const struct work_job *j, const struct fleet_worker *w, char *out,
                       size_t room);

// Why what waits of a job is not running, in one sentence. `held`: why nothing of any job is given out
// now, "wait because ..."; NULL: it is.
void schedule_explain(const struct schedule *s, const struct fleet *f, int64_t job,
                      const char *held, char *out, size_t room);

// Does all that is counted and linked in here agree with what it stands for? For tests: looks
// at everything. NULL, or what does not, as a static text.
const char *schedule_check(const struct schedule *s, const struct fleet *f);
