// ledger: the durable record of jobs, their segments and the attempts at those.
//
// The only room that knows SQLite. Every call that changes something is one
// transaction: when it returns ERR_OK the change is on the disk, when it returns
// anything else nothing has changed. No call reads the clock; `now_ms` (Unix time)
// is only kept for people to read. States, rules and invariants stand at the top of
// ledger.c.
//
// ERR_IO: the disk failed or is full, try again later. ERR_INPUT: there is no such
// job, or it is in no state for that; each logged unless it says otherwise.
// One thread per ledger; one process per file.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum job_state {
    JOB_SUBMITTED,
    JOB_PROBING,
    JOB_PLANNED,
    JOB_RUNNING,
    JOB_PAUSED,
    JOB_ASSEMBLING,
    JOB_HELD,
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_STATES,
};

enum segment_state {
    SEGMENT_BLOCKED,
    SEGMENT_READY,
    SEGMENT_LEASED,
    SEGMENT_RETRY_WAIT,
    SEGMENT_DONE,
    SEGMENT_FAILED,
    SEGMENT_CANCELLED,
    SEGMENT_STATES,
};

// How an attempt ended.
enum outcome {
    OUTCOME_LIVE,
    OUTCOME_ACCEPTED,
    OUTCOME_SUPERSEDED, // another attempt was accepted first
    OUTCOME_CANCELLED,  // the job does not want it any more
    OUTCOME_INPUT,      // from here on as the workers say it
    OUTCOME_OOM,
    OUTCOME_DEVICE_LOST,
    OUTCOME_LOST, // the worker was lost, or its lease ended
    OUTCOME_SHUTDOWN,
    OUTCOMES,
};

#define LEDGER_MOST_LOSSES 10
#define LEDGER_MOST_TROUBLES 10
#define LEDGER_MOST_SPOILT 3
#define LEDGER_TEXT_BYTES 4096
#define LEDGER_NAME_BYTES 128
#define LEDGER_SHA256_BYTES 65
#define LEDGER_LICENSE_BYTES 256

const char *job_state_name(enum job_state s); // "RUNNING"
const char *segment_state_name(enum segment_state s);
const char *outcome_name(enum outcome o); // "accepted"
bool job_state_is_over(enum job_state s); // DONE, FAILED, CANCELLED

struct ledger;

// Open or create the ledger at `path`. A file that another process has open is
// ERR_UNAVAILABLE; one that is damaged, or of a later version, is ERR_CONFIG, and
// the logged line says how to restore it. Counts the epoch up.
ERR_CHECKED enum err ledger_open(struct ledger **out, const char *path);
void ledger_close(struct ledger **l); // NULL inside is fine

// How often this ledger has been opened.
uint64_t ledger_epoch(const struct ledger *l);

// A model's facts, as the worker that has it says.
struct ledger_model {
    char sha256[LEDGER_SHA256_BYTES];
    uint32_t sample_rate, hop, max_duration_ms, image, codebooks;
    double frames_per_s, guidance;
    char license[LEDGER_LICENSE_BYTES]; // how its text begins; "": none was given
};
ERR_CHECKED enum err ledger_put_model(struct ledger *l, const struct ledger_model *m);
// If no job names it: *gone.
ERR_CHECKED enum err ledger_drop_model(struct ledger *l, const char *sha256, bool *gone);
// All models known, at most `room` of them; *count says how many there are.
ERR_CHECKED enum err ledger_models(struct ledger *l, struct ledger_model *out, size_t room,
                                   size_t *count);

// What an operator has said of a worker.
struct ledger_node {
    char name[LEDGER_NAME_BYTES];
    bool drained, quarantined;
};
ERR_CHECKED enum err ledger_put_node(struct ledger *l, const struct ledger_node *n);
ERR_CHECKED enum err
ledger_each_node(struct ledger *l, enum err (*visit)(void *user, const struct ledger_node *n),
                 void *user);

struct ledger_submission {
    const char *film, *output, *owner, *model, *identity;
    int64_t priority;
    const void *request;
    size_t request_bytes;
    bool force; // even when there is such a job
};

// A new job, SUBMITTED; or *existed and the one of the same identity that has
// neither failed nor been cancelled.
ERR_CHECKED enum err ledger_submit(struct ledger *l, const struct ledger_submission *s,
                                   int64_t now_ms, int64_t *job, bool *existed);

// The job that submitting this identity would find; 0: there is none.
ERR_CHECKED enum err ledger_find(struct ledger *l, const char *identity, int64_t *job);

// Was that film submitted for that output with an identity of that ending, whatever became of it?
ERR_CHECKED enum err ledger_had(struct ledger *l, const char *film, const char *output,
                                const char *ending, bool *had);
// The job that is not over and is to write `output`; 0: there is none.
ERR_CHECKED enum err ledger_writes(struct ledger *l, const char *output, int64_t *job);

struct ledger_job {
    int64_t id;
    enum job_state state;
    char film[LEDGER_TEXT_BYTES], output[LEDGER_TEXT_BYTES];
    char owner[LEDGER_NAME_BYTES], model[LEDGER_SHA256_BYTES];
    int64_t priority;
    int64_t duration_ms;
    uint32_t cues, segments, done;
    int64_t submitted_ms, ended_ms;
    char reason[2048];
};

// ERR_MISSING, without logging: no such job.
ERR_CHECKED enum err ledger_job(struct ledger *l, int64_t job, struct ledger_job *out);

// Jobs with a number above `after`, in order, at most `most`; `open`: only those that are
// not over. An error of `visit` ends
// the walk and is returned. Visitors, here and below, may not call the ledger.
ERR_CHECKED enum err
ledger_each_job(struct ledger *l, int64_t after, uint32_t most, bool open,
                enum err (*visit)(void *user, const struct ledger_job *job), void *user);

// The last of them, the latest submitted first.
ERR_CHECKED enum err
ledger_each_last(struct ledger *l, uint32_t most, bool open,
                 enum err (*visit)(void *user, const struct ledger_job *job), void *user);

// The first jobs that are not over, the earliest submitted first, at most `most`.
ERR_CHECKED enum err
ledger_each_open(struct ledger *l, uint32_t most,
                 enum err (*visit)(void *user, const struct ledger_job *job), void *user);

// The last jobs that are over, the latest submitted first, at most `most`.
ERR_CHECKED enum err
ledger_each_over(struct ledger *l, uint32_t most,
                 enum err (*visit)(void *user, const struct ledger_job *job), void *user);

// The highest number that a job has had, forgotten ones included; 0: none.
ERR_CHECKED enum err ledger_last_job(struct ledger *l, int64_t *job);

// The SUBMIT message of a job; the caller frees *out.
ERR_CHECKED enum err ledger_request(struct ledger *l, int64_t job, void **out, size_t *bytes);

// A job's way through its states, but for those that segments decide. `reason` may be
// NULL, which leaves none. Cancelling and failing end the live attempts and cancel what
// is not done.
ERR_CHECKED enum err ledger_move_job(struct ledger *l, int64_t job, enum job_state to,
                                     const char *reason, int64_t now_ms);
ERR_CHECKED enum err ledger_choose_model(struct ledger *l, int64_t job, const char *sha256);
ERR_CHECKED enum err ledger_prioritise(struct ledger *l, int64_t job, int64_t priority);

struct ledger_planned {
    uint32_t cue, place; // in film order; place counts from 0 in each cue
    int64_t audio_ms, remaining_ms;
};

// PROBING -> PLANNED: its segments come into being, the first of each cue READY.
ERR_CHECKED enum err ledger_plan(struct ledger *l, int64_t job, int64_t duration_ms,
                                 uint32_t cues, const struct ledger_planned *segments,
                                 uint32_t count);

struct ledger_segment {
    uint32_t segment, cue, place;
    enum segment_state state;
    int64_t audio_ms, remaining_ms;
    int64_t fence, reopened; // reopened: attempts up to this fence do not count any more
    uint32_t troubles, losses, spoilt;
};
ERR_CHECKED enum err
ledger_each_segment(struct ledger *l, int64_t job,
                    enum err (*visit)(void *user, const struct ledger_segment *s), void *user);

struct ledger_attempt {
    int64_t id, job, fence;
    uint32_t segment;
    char worker[LEDGER_NAME_BYTES];
    enum outcome outcome;
    int64_t leased_ms, ended_ms; // ended 0: live
    char detail[2048];           // why it came to nothing
};
// ERR_MISSING, without logging: no such attempt.
ERR_CHECKED enum err ledger_attempt(struct ledger *l, int64_t attempt,
                                    struct ledger_attempt *out);
ERR_CHECKED enum err
ledger_each_live(struct ledger *l,
                 enum err (*visit)(void *user, const struct ledger_attempt *a), void *user);

// The attempts at a job's segments above number `after`, in order, at most `most`.
ERR_CHECKED enum err
ledger_each_attempt(struct ledger *l, int64_t job, int64_t after, uint32_t most,
                    enum err (*visit)(void *user, const struct ledger_attempt *a), void *user);
// The last attempts that failed, of all jobs, the latest first.
ERR_CHECKED enum err
ledger_each_failure(struct ledger *l, uint32_t most,
                    enum err (*visit)(void *user, const struct ledger_attempt *a), void *user);

struct ledger_lease {
    int64_t job;
    uint32_t segment;
    const char *worker;
    int64_t attempt, fence; // filled in
};

// Lease READY segments, or LEASED ones a second time (speculation), all or none.
ERR_CHECKED enum err ledger_lease(struct ledger *l, struct ledger_lease *leases, size_t count,
                                  int64_t now_ms);

enum verdict { VERDICT_ACCEPTED, VERDICT_STALE, VERDICT_DUP };

// What accepting a result of this attempt would say now. Changes nothing.
ERR_CHECKED enum err ledger_judge(struct ledger *l, int64_t attempt, int64_t fence,
                                  enum verdict *out);

struct ledger_result {
    int64_t attempt, fence;
    double gpu_s;         // charged to the job's owner
    enum verdict verdict; // filled in, and what it is of; job 0: never leased here
    int64_t job;
    uint32_t segment;
};

// Results, already safe on disk, count, one after the other and in one transaction: the
// segment is DONE, its successor READY, other attempts at it superseded. Only those that get
// VERDICT_ACCEPTED change anything.
ERR_CHECKED enum err ledger_accept_all(struct ledger *l, struct ledger_result *results,
                                       size_t count, int64_t now_ms);

// One of them.
ERR_CHECKED enum err ledger_accept(struct ledger *l, int64_t attempt, int64_t fence,
                                   double gpu_s, int64_t now_ms, enum verdict *out);

// What ending an attempt led to.
struct ledger_ending {
    int64_t job;
    uint32_t segment;
    enum segment_state segment_state;
    enum job_state job_state;
};

// A live attempt came to nothing, for one of the reasons from OUTCOME_INPUT on. One that
// is not live any more changes nothing.
ERR_CHECKED enum err ledger_end(struct ledger *l, int64_t attempt, enum outcome why,
                                const char *detail, double gpu_s, int64_t now_ms,
                                struct ledger_ending *out);

// RETRY_WAIT -> READY.
ERR_CHECKED enum err ledger_release(struct ledger *l, int64_t job, uint32_t segment);

// ASSEMBLING -> RUNNING, RUNNING or PAUSED as before: accepted results of these segments turned
// out to be damaged or gone. They are composed again, and so is what continues them in their
// cues: READY or BLOCKED, and live attempts at that are CANCELLED. One to which that happened
// LEDGER_MOST_SPOILT times fails its job instead. ERR_INPUT, as above: none of them is DONE, or
// the job is in another state.
ERR_CHECKED enum err ledger_reopen(struct ledger *l, int64_t job, const uint32_t *segments,
                                   size_t count, int64_t now_ms);

// A failed or cancelled job once more, from where it was: what is DONE stays.
ERR_CHECKED enum err ledger_retry(struct ledger *l, int64_t job);

struct ledger_owner {
    char name[LEDGER_NAME_BYTES];
    double used_s; // GPU-seconds
};
ERR_CHECKED enum err
ledger_each_owner(struct ledger *l, enum err (*visit)(void *user, const struct ledger_owner *o),
                  void *user);

// Is it taking new jobs, is it giving out work?
struct ledger_queue {
    bool disabled, stopped;
};
ERR_CHECKED enum err ledger_queue(struct ledger *l, struct ledger_queue *out);
ERR_CHECKED enum err ledger_put_queue(struct ledger *l, const struct ledger_queue *q);

// Forgets jobs that were over before a time, with all that is known of them, at most `room`
// of them: ids[*count] says which. Their number is not used again.
ERR_CHECKED enum err ledger_prune(struct ledger *l, int64_t before_ms, int64_t *ids,
                                  size_t room, size_t *count);

// The jobs in each state.
ERR_CHECKED enum err ledger_count_jobs(struct ledger *l, uint64_t counts[JOB_STATES]);

// Is its file not under its name any more? What is written then is gone with this process. Logged.
bool ledger_is_gone(struct ledger *l);

// Every invariant over the whole ledger, and SQLite's own check of the file: ERR_CONFIG, as when that is gone. ERR_BUG
// logs the first that does not hold.
ERR_CHECKED enum err ledger_check(struct ledger *l);
// The invariants alone, of one job or (0) of all.
ERR_CHECKED enum err ledger_check_rules(struct ledger *l, int64_t job);

// Both checks of a file that no coordinator has open; it says the same afterwards. ERR_MISSING,
// ERR_UNAVAILABLE (one has it open), ERR_CONFIG (damaged, or of a later version), ERR_BUG (an
// invariant): logged. An older ledger is checked as it is.
ERR_CHECKED enum err ledger_check_file(const char *path);

// A copy that is whole, made while the ledger is in use. ERR_CREATE: `path` is there already,
// or cannot be made.
ERR_CHECKED enum err ledger_backup(struct ledger *l, const char *path);
