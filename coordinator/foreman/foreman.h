// foreman: what ledger, fleet and schedule decide together: who gets what, and what
// becomes of it.
//
// The ledger hears of everything first; when it has it on disk, the two in memory follow,
// and then whoever else must know, through the hooks. Without sockets, files and clocks:
// the hub drives it with real ones, tests/simulation with simulated ones.
//
// Times are seconds of the monotonic clock; `wall_ms`, Unix time, is for people to read.
// One thread. An error leaves what was not written down as it was: again later.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/wire.h"
#include "coordinator/fleet/fleet.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/schedule/schedule.h"

struct foreman_hooks {
    // Its worker is to be told of this lease; again, when it may not have heard.
    void (*lease)(void *user, const struct work_lease *l);
    // The worker at that place is to be told that this is not wanted any more.
    void (*cancel)(void *user, size_t place, int64_t attempt);
    // An attempt has ended; `music_s`: what came of it.
    void (*ended)(void *user, enum outcome why, double music_s, double gpu_s, double now);
    // A GPU has just been put into quarantine.
    void (*quarantined)(void *user, size_t place);
    // A job has work to do and is not in the schedule yet: schedule_add().
    enum err (*activate)(void *user, const struct ledger_job *row, double now);
    // Its state in the ledger has changed: foreman_follow(), and what else there is to it.
    enum err (*changed)(void *user, int64_t job, double now);
    // The results that were taken, so many, are to be in their places and safe on disk now.
    enum err (*secure)(void *user, size_t count);
    // A result that was taken, the `index`th since the last time, counts or does not; not
    // `written`: it could not be written down, and is to be offered again.
    void (*settled)(void *user, size_t index, const struct ledger_result *r, bool written);
    // After a start: a job that is not over, as the ledger has it.
    enum err (*wake)(void *user, int64_t job, enum job_state state, double now);
    // And a live attempt, of a job that is in the schedule: is its result on disk? False in
    // *goes_on: the job has failed.
    enum err (*find_result)(void *user, const struct ledger_attempt *a, bool *goes_on,
                            bool *there, double now);
};

#define FOREMAN_ARRIVALS 256

struct foreman {
    struct ledger *ledger;
    struct fleet *fleet;
    struct schedule *schedule;
    const struct foreman_hooks *hooks;
    void *user;
    int64_t wall_ms;                                 // kept by the owner
    struct ledger_result arrivals[FOREMAN_ARRIVALS]; // taken and not settled yet
    size_t arrival_count;
};

// Takes up what the ledger has: owners, jobs, leases; for those, their workers have a lease
// time to come back. *jobs and *leases: how many.
ERR_CHECKED enum err foreman_load(struct foreman *f, size_t *jobs, size_t *leases, double now);

// Jobs

// The segments of a planned job as the ledger has them, `count` of them, without pictures;
// the caller frees. ERR_CONFIG: the ledger has others.
ERR_CHECKED enum err foreman_mirror(const struct foreman *f, int64_t job, uint32_t count,
                                    struct work_segment **out);

// What is in memory of a job follows what the ledger says: it is activated, paused, put
// elsewhere in its row, or gone with all its leases.
ERR_CHECKED enum err foreman_follow(struct foreman *f, const struct ledger_job *row,
                                    double now);

// Its last segment may be done: on to ASSEMBLING.
ERR_CHECKED enum err foreman_advance(struct foreman *f, int64_t job, double now);

// An ASSEMBLING job's results of these segments are damaged or gone: as ledger_reopen().
ERR_CHECKED enum err foreman_reopen(struct foreman *f, int64_t job, const uint32_t *segments,
                                    size_t count, double now);

// Segments that may be tried again by now, jobs that the ledger did not let on before.
ERR_CHECKED enum err foreman_tick(struct foreman *f, double now);

// Workers, by their place in the fleet

// It has said hello and what it has: that is its again, the rest it had is lost.
void foreman_hello(struct foreman *f, size_t place, const struct wire_ids *held, double now);
// It is alive. `cancel` and `renewed` are added to: which of `held` it is to drop, which
// leases begin anew.
void foreman_beat(struct foreman *f, size_t place, uint64_t progress, double rate,
                  const struct wire_ids *held, struct wire_ids *cancel,
                  struct wire_ids *renewed, double now);
// After its beat was answered: leases that never came are said again, those that it had and
// has no more are lost.
void foreman_look_after(struct foreman *f, size_t place, const struct wire_ids *held,
                        double now);
void foreman_acknowledged(struct foreman *f, size_t place, int64_t attempt);
void foreman_part_with(struct foreman *f, size_t place, double now); // it has left
// Workers not heard of and leases not renewed for too long.
ERR_CHECKED enum err foreman_lapse(struct foreman *f, double now);

// Attempts

// What can be given out now is.
ERR_CHECKED enum err foreman_dispatch(struct foreman *f, double now);
// A result of that segment (job 0: not known) is here, whole, and not in its place yet.
enum offer {
    OFFER_TAKE,  // foreman_take() it; hooks->secure() puts it there
    OFFER_TWICE, // it has been taken: hooks->settled() will answer it
    OFFER_STALE,
    OFFER_DUP,
};
ERR_CHECKED enum err foreman_offer(struct foreman *f, int64_t attempt, int64_t fence,
                                   int64_t job, uint32_t segment, enum offer *out, double now);
// Its index until it is settled.
size_t foreman_take(struct foreman *f, int64_t attempt, int64_t fence, int64_t job,
                    uint32_t segment);
// What was taken counts, in one transaction. At the end of every turn.
ERR_CHECKED enum err foreman_settle(struct foreman *f, double now);
// A live attempt came to nothing; one that is not live any more changes nothing.
ERR_CHECKED enum err foreman_failed(struct foreman *f, int64_t attempt, enum outcome why,
                                    const char *detail, double now);
// The result that a live attempt is to go on from is damaged or gone: it is composed again, and
// then the attempt's segment anew. As ledger_reopen().
ERR_CHECKED enum err foreman_lacks_prompt(struct foreman *f, int64_t attempt, double now);
