// sim: a whole farm in one thread, on a simulated clock and network.
//
// What decides is real: ledger (SQLite, in memory), fleet, schedule and foreman, driven as
// the hub drives them. What is simulated: time, the messages between coordinator and workers
// (lost, late, twice, out of order), the workers, the child processes, the disk under the
// parts, the operator, and who is killed when. All of it follows from a seed, so that a run
// can be had again.
//
// A run is a storm, in which everything goes wrong that can, and a calm, in which everything
// must come to its end. Whatever is found wrong is said once, by sim_wrong(), and ends the
// run.
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coordinator/foreman/foreman.h"

#define SIM_WORKERS 6
#define SIM_JOBS 4
#define SIM_SEGMENTS 16
#define SIM_TASKS 12
#define SIM_LEASE_S 10.0
#define SIM_BEAT_S 2.0

enum sim_type {
    // From workers.
    SIM_HELLO,
    SIM_BEAT,
    SIM_PULL,
    SIM_LEASE_ACK,
    SIM_FAILED,
    SIM_RESULT,
    SIM_GOODBYE,
    SIM_WELCOME,
    SIM_LEASE,
    SIM_BEAT_ACK,
    SIM_CANCEL,
    SIM_ACCEPTED,
    SIM_STALE,
    SIM_DUP,
    SIM_NOSPACE,
};

struct sim_ids {
    uint32_t count;
    uint64_t id[SIM_TASKS];
};

struct sim_message {
    enum sim_type type;
    size_t worker;        // whose, or to whom
    uint64_t incarnation; // of that worker
    int64_t attempt, fence, job;
    uint32_t segment, want;
    enum outcome why;
    uint64_t progress;
    bool rehello, terminate, quiet, sound; // sound: a result that is one
    struct sim_ids held, cancel, renewed;
};

enum sim_kind {
    SIM_TO_COORDINATOR,
    SIM_TO_WORKER, // a message arrives
    SIM_TICK,      // of a worker
    SIM_TURN,      // of the coordinator
    SIM_PLANNED,
    SIM_PICTURES,
    SIM_PUBLISHED, // a child process has ended
    SIM_FAULT,     // the next thing to go wrong
    SIM_START,
    SIM_COORDINATOR_START, // of a worker, of the coordinator
    SIM_WAKE,              // of a worker that was stopped
};

struct sim_event {
    double at;
    uint64_t order; // of those at one time
    enum sim_kind kind;
    uint64_t what;             // a worker, a job
    uint32_t segment, message; // into messages
};

enum sim_task_state { TASK_WAITS, TASK_COMPOSES, TASK_IS_SPOOLED };

struct sim_task {
    int64_t attempt, fence, job;
    uint32_t segment;
    enum sim_task_state state;
    double left_s; // of music to compose
    double renewed_s, sent_s, not_before_s;
};

struct sim_worker {
    char name[24], model[8];
    uint64_t memory;
    double speed;   // seconds of music a second
    unsigned fails; // percent of what it composes
    uint32_t slots, ahead;
    bool up, stopped, welcome, quiet, draining;
    uint64_t incarnation;
    uint32_t wanted, chain; // chain: of ticks, the one that counts
    double wake_s;          // when it goes on, if it is stopped
    double ticked_s, next_beat_s, next_hello_s, beat_sent_s;
    double progress;
    struct sim_task tasks[SIM_TASKS]; // those that are spooled outlive it
    uint32_t task_count;
    // What the checks know of it:
    unsigned in_a_row; // device failures that the coordinator has heard of, since it started
    double troubled_s; // when the last of them was
    bool drained, quarantined;
};

struct sim_segment {
    uint32_t cue, place;
    int64_t audio_ms;
    bool poison; // it fails everywhere
    // What the checks know of it:
    int64_t fence, accepted; // the last one; the attempt that was accepted; 0: none
    int64_t reopened;        // attempts up to this fence do not count any more
    int64_t on_disk;         // whose result is its part; 0: none
};

struct sim_job {
    int64_t id;
    char model[8];
    uint64_t memory; // asked for
    uint32_t count;
    struct sim_segment segments[SIM_SEGMENTS];
    bool cancelled; // somebody has, once
    bool damaged;   // of what was accepted something was, once
};

// The ledger's file, in memory; opened once for many runs, and now and then anew.
struct sim_disk {
    sqlite3 *keeper; // keeps it while the ledger is closed
    struct ledger *ledger;
};

struct sim {
    uint64_t seed, random;
    double now, storm_s, end_s;
    bool trace, is_wrong;
    struct sim_event *events; // a heap
    size_t event_count, event_room;
    uint64_t ordered;
    struct sim_message *messages;
    uint32_t *free_messages;
    uint32_t message_room, free_count;
    unsigned lose, twice; // per thousand
    double late_s;
    double turn_s; // how long messages may wait for the coordinator's turn
    // The coordinator
    struct sim_disk *disk;
    struct foreman foreman; // ledger NULL: it is not running
    struct fleet fleet;
    struct schedule schedule;
    bool queue_stopped, turn_is_due;
    unsigned kill_in;         // commits; 0: not
    bool kill_before, killed; // before the commit or after it
    int64_t changes;          // rows that the ledger has changed, when it was looked at
    bool changed[SIM_JOBS], has_started; // since then
    int64_t changed_attempts[64];
    size_t changed_attempt_count;
    int64_t last_attempt;
    size_t routes[SIM_WORKERS]; // by place in the fleet: which worker
    struct sim_worker workers[SIM_WORKERS];
    size_t worker_count;
    struct sim_job jobs[SIM_JOBS];
    size_t job_count;
    // What has happened
    uint64_t incarnations, leases, accepts, restarts, checks;
};

// sim_clock.c
double sim_unit(struct sim *s); // [0, 1)
uint64_t sim_below(struct sim *s, uint64_t n);
bool sim_chance(struct sim *s, unsigned per_thousand);
void sim_at(struct sim *s, double after_s, enum sim_kind kind, uint64_t what, uint32_t segment);
bool sim_next(struct sim *s, struct sim_event *out);
void sim_send_later(struct sim *s, double after_s, enum sim_kind kind,
                    const struct sim_message *m);
// On its way, in as many copies and as late as the network makes it.
void sim_send(struct sim *s, enum sim_kind kind, const struct sim_message *m);
struct sim_message sim_receive(struct sim *s, uint32_t message);
void sim_clock_finish(struct sim *s);
__attribute__((format(printf, 2, 3))) void sim_trace(struct sim *s, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_wrong(struct sim *s, const char *format, ...);

// sim_worker.c
void sim_worker_start(struct sim *s, size_t worker);
void sim_worker_kill(struct sim *s, size_t worker, double down_s);
void sim_worker_tick(struct sim *s, size_t worker, uint32_t chain);
void sim_worker_stop(struct sim *s, size_t worker, double for_s); // SIGSTOP, and SIGCONT
void sim_worker_wake(struct sim *s, size_t worker);
void sim_worker_message(struct sim *s, const struct sim_message *m);
void sim_worker_drain(struct sim *s, size_t worker); // SIGTERM

// sim_coordinator.c
void sim_coordinator_start(struct sim *s);
void sim_coordinator_stop(struct sim *s);
void sim_coordinator_message(struct sim *s, const struct sim_message *m);
void sim_coordinator_turn(struct sim *s);
void sim_coordinator_child(struct sim *s, const struct sim_event *e);
ERR_CHECKED enum err sim_disk_clear(struct sim_disk *d);
void sim_disk_finish(struct sim_disk *d);
void sim_submit(struct sim *s, struct sim_job *j);
void sim_order(struct sim *s);     // one of the operator's, at random
void sim_make_good(struct sim *s); // and those that let everything go on

// sim_check.c
void sim_check_lease(struct sim *s, const struct work_lease *l, size_t worker);
// Of a worker that has just said what it holds: that, and nothing else, is its.
void sim_check_held(struct sim *s, size_t place, const struct wire_ids *held);
void sim_check_start(struct sim *s); // of the coordinator
void sim_check_step(struct sim *s);
void sim_check_end(struct sim *s);
struct sim_job *sim_job(struct sim *s, int64_t job);
