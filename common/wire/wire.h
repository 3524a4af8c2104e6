// wire: what coordinator, workers and clients say to each other: every message as
// a C struct, to bytes and back.
//
// A message is one msgpack map: the envelope {v, type, seq, incarnation, epoch} and
// the fields of its type, each exactly once, and nothing else. Whatever does not
// fit (an unknown type or field, one missing or doubled, of another type, out of its
// range, a byte too many or too few) is ERR_INPUT: nobody guesses. Two ports carry
// them, so that a heartbeat never queues behind sound:
//
//   control, at most WIRE_CONTROL_BYTES a message
//     worker       HELLO -> WELCOME | REJECT          who it is, what it can
//                  PULL -> LEASE..., LEASE_ACK        how many segments it has room for
//                  BEAT -> BEAT_ACK                   alive and getting on; what to drop
//                  <- CANCEL, CANCELLED ->            one segment is not wanted any more
//                  FAILED, GOODBYE
//                  <- USE                             one that has no model is to have this one
//     client       SUBMIT -> SUBMITTED | REJECT
//                  LIST -> JOBS..., LISTED            a page of jobs, many in each message
//                  SHOW -> JOB | REJECT
//                  NODES -> NODE and its WORK, ..., LISTED   a page of workers
//                  LOGS -> EVENT..., LISTED           a page of a job's attempts
//                  QUEUE -> QUEUE_IS                  and first changes it, if asked to
//                  LEDGER -> LEDGER_DONE | REJECT     check, back up, prune
//                  NODE_ORDER -> OBEYED | REJECT      drain, undrain, quarantine, release
//                  EXPLAIN -> LINE..., LISTED         why what waits is not running
//                  ORDER -> OBEYED | REJECT           cancel, pause, resume, retry, priority
//                  CONFIG -> LINE..., LISTED | REJECT what is in force, or a reload
//   bulk, at most WIRE_BULK_BYTES a message
//     inputs       FETCH -> CHUNK | STALE             a worker asks piece by piece, at most
//                                                     WIRE_CREDIT pieces ahead
//     models       FETCH_MODEL -> CHUNK | STALE       likewise; of attempt 0
//     results      OPEN -> CREDIT | STALE | DUP | NOSPACE
//                  CHUNK -> CREDIT | CORRUPT          as many as there is credit for
//                  COMMIT -> ACCEPTED | STALE | DUP | CORRUPT | NOSPACE
//
// Pure; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define WIRE_VERSION 4
#define WIRE_CONTROL_BYTES (64u << 10)
#define WIRE_CHUNK_BYTES (256u << 10)
#define WIRE_BULK_BYTES (WIRE_CHUNK_BYTES + 1024u)
#define WIRE_CREDIT 10

#define WIRE_NAME_BYTES 128 // closing zeros included
#define WIRE_PATH_BYTES 4096
#define WIRE_TEXT_BYTES 2048
#define WIRE_KEY_BYTES 512
#define WIRE_REQUIRE_BYTES 512
#define WIRE_SHA256_BYTES 65
#define WIRE_LICENSE_BYTES 256
#define WIRE_MAX_IDS 512
#define WIRE_MAX_WANT 256
#define WIRE_MAX_JOBS 20000         // a page
#define WIRE_ROWS_BYTES (60u << 10) // of a JOBS

// By who speaks to whom.
// clang-format off
enum wire_type {
    WIRE_HELLO, WIRE_WELCOME, WIRE_REJECT,
    WIRE_PULL, WIRE_LEASE, WIRE_LEASE_ACK,
    WIRE_BEAT, WIRE_BEAT_ACK,
    WIRE_CANCEL, WIRE_CANCELLED,
    WIRE_FAILED, WIRE_GOODBYE, WIRE_USE,
    WIRE_SUBMIT, WIRE_SUBMITTED,
    WIRE_LIST, WIRE_JOBS, WIRE_SHOW, WIRE_JOB, WIRE_NODES, WIRE_NODE, WIRE_WORK, WIRE_EXPLAIN, WIRE_LINE, WIRE_LISTED,
    WIRE_LOGS, WIRE_EVENT, WIRE_QUEUE, WIRE_QUEUE_IS, WIRE_LEDGER, WIRE_LEDGER_DONE,
    WIRE_ORDER, WIRE_NODE_ORDER, WIRE_OBEYED,
    WIRE_CONFIG,
    WIRE_FETCH, WIRE_FETCH_MODEL,
    WIRE_OPEN, WIRE_CREDITS, WIRE_CHUNK, WIRE_COMMIT,
    WIRE_ACCEPTED, WIRE_STALE, WIRE_DUP, WIRE_CORRUPT, WIRE_NOSPACE,
    WIRE_TYPES,
};

// Why a segment failed, in the only terms the coordinator acts on.
enum wire_failure {
    WIRE_FAIL_INPUT,       // the segment itself: it fails everywhere
    WIRE_FAIL_OOM,         // the GPU's memory
    WIRE_FAIL_DEVICE_LOST, // the GPU, or the worker's disk
    WIRE_FAIL_LOST,        // the worker came to nothing
    WIRE_FAIL_SHUTDOWN,    // the worker was told to leave
    WIRE_FAILURES,
};

enum wire_beat_order { WIRE_RUN, WIRE_QUIET, WIRE_TERMINATE, WIRE_BEAT_ORDERS };
enum wire_job_order { WIRE_JOB_CANCEL, WIRE_JOB_PAUSE, WIRE_JOB_RESUME, WIRE_JOB_RETRY, WIRE_JOB_PRIORITY, WIRE_JOB_ORDERS };
enum wire_config { WIRE_CONFIG_CHECK, WIRE_CONFIG_DUMP, WIRE_CONFIG_RELOAD, WIRE_CONFIG_ORDERS };
enum wire_node_order { WIRE_NODE_DRAIN, WIRE_NODE_UNDRAIN, WIRE_NODE_QUARANTINE, WIRE_NODE_RELEASE, WIRE_NODE_ORDERS };
enum wire_queue_order { WIRE_QUEUE_SHOW, WIRE_QUEUE_ENABLE, WIRE_QUEUE_DISABLE, WIRE_QUEUE_START, WIRE_QUEUE_STOP,
                        WIRE_QUEUE_ORDERS };
enum wire_ledger_order { WIRE_LEDGER_CHECK, WIRE_LEDGER_BACKUP, WIRE_LEDGER_PRUNE, WIRE_LEDGER_ORDERS };
enum wire_what { WIRE_FRAMES, WIRE_PROMPT, WIRE_RESULT, WIRE_MODEL, WIRE_WHATS };
// clang-format on

struct wire_ids {
    uint32_t count;
    uint64_t id[WIRE_MAX_IDS];
};

// Bytes of the message that was decoded, or the sender's own.
struct wire_bytes {
    const uint8_t *data;
    uint32_t bytes;
};

// The facts of a model that a plan and its inputs rest on.
struct wire_model {
    char sha256[WIRE_SHA256_BYTES]; // of the model file
    uint32_t sample_rate, hop;
    uint32_t max_duration_ms;
    double frames_per_s;
    uint32_t image; // pixels along a side
    uint32_t codebooks;
    double guidance;                  // the checkpoint's own
    char license[WIRE_LICENSE_BYTES]; // how its text begins; "": none was given
};

struct wire_hello {
    char name[WIRE_NAME_BYTES]; // node and GPU: the same after a restart
    char device[WIRE_NAME_BYTES], vendor[WIRE_NAME_BYTES], driver[WIRE_NAME_BYTES];
    uint64_t memory; // bytes the device has
    char software[WIRE_NAME_BYTES];
    struct wire_model model; // of one that has none yet: all empty
    // Hashes of models that it could have at once, each followed by a space.
    char has[WIRE_TEXT_BYTES];
    uint32_t slots;       // segments it composes side by side
    double rate;          // seconds of music a second, as measured; 0: not yet
    struct wire_ids held; // attempts it is still at, or has the result of
};

struct wire_lease {
    uint64_t attempt, fence;
    uint64_t job;
    uint32_t segment;
    uint32_t columns, prompt_columns; // the prompt's are among the columns
    uint32_t frame_count;
    uint32_t lease_ms; // from receipt; every renewal starts it anew
    uint64_t seed;
    double temperature, top_p, guidance;
    uint32_t top_k;
    char key[WIRE_KEY_BYTES]; // what the part must say it was made of
};

// What a client wants of a film. Times in ms, -1: the default for the model.
struct wire_submit {
    char film[WIRE_PATH_BYTES], output[WIRE_PATH_BYTES]; // absolute
    char owner[WIRE_NAME_BYTES];
    int64_t priority;
    char model[WIRE_SHA256_BYTES];    // "": the only one the farm has
    bool force;                       // even if there is such a job
    char require[WIRE_REQUIRE_BYTES]; // of the workers, "vram>=8G,vendor=amd"; "": nothing
    int64_t segment_ms, overlap_ms, crossfade_ms, min_cue_ms, max_cue_ms;
    bool cut; // at scene changes
    uint64_t seed;
    double scene_threshold;
    double temperature, top_p, guidance; // guidance < 0: the checkpoint's own
    uint32_t top_k;
    bool replace_audio, keep_loudness, overwrite;
    double target_lufs, ceiling_dbtp;
    uint32_t bitrate;
    // Of each "": the default.
    char codec[WIRE_NAME_BYTES], title[WIRE_NAME_BYTES], language[WIRE_NAME_BYTES];
};

struct wire_job {
    uint64_t job;
    char state[WIRE_NAME_BYTES];
    char film[WIRE_PATH_BYTES], output[WIRE_PATH_BYTES];
    char owner[WIRE_NAME_BYTES];
    int64_t priority;
    uint32_t segments, done, running, cues;
    int64_t submitted_ms, ended_ms; // Unix time; ended 0: not yet
    int64_t duration_ms;            // of the film; 0: not known yet
    int64_t left_ms;                // until it is composed, at the present rate; -1: not known
    bool over;                      // DONE, FAILED or CANCELLED
    bool failed;
    char reason[WIRE_TEXT_BYTES];
    // In a JOB alone, not in the rows of JOBS:
    char model[WIRE_SHA256_BYTES], license[WIRE_LICENSE_BYTES]; // "": not known yet, or none
};

struct wire_node {
    char name[WIRE_NAME_BYTES], device[WIRE_NAME_BYTES], state[WIRE_NAME_BYTES];
    char vendor[WIRE_NAME_BYTES], driver[WIRE_NAME_BYTES], software[WIRE_NAME_BYTES];
    char model[WIRE_SHA256_BYTES];
    uint64_t memory;
    uint32_t slots, held;
    double rate;
    uint64_t done, failed;
    uint32_t troubles; // failures of its GPU in a row
    bool drained, quarantined;
};

// A segment that a node has.
struct wire_work {
    char node[WIRE_NAME_BYTES];
    char film[WIRE_PATH_BYTES];
    uint64_t job, attempt;
    uint32_t segment, cue;
    int64_t audio_ms, for_ms; // of music to compose; since when it has it
};

// An attempt at a segment of a job.
struct wire_event {
    uint64_t attempt;
    uint32_t segment;
    char worker[WIRE_NAME_BYTES], outcome[WIRE_NAME_BYTES]; // "accepted"; "live": not over
    int64_t leased_ms, ended_ms;                            // Unix time; ended 0: not yet
    char detail[WIRE_TEXT_BYTES];
};

struct wire_message {
    enum wire_type type;
    uint64_t seq;         // the sender's count
    uint64_t incarnation; // the sender's start, at random
    uint64_t epoch;       // the coordinator's start, counted
    // clang-format off
    union {
        struct wire_hello hello;
        struct { uint32_t beat_ms, lease_ms; } welcome;
        struct { char reason[WIRE_TEXT_BYTES]; } reject;
        struct { uint32_t want; } pull;
        struct wire_lease lease;
        struct { uint64_t attempt; } lease_ack;
        struct { uint64_t progress; double rate; struct wire_ids held; } beat;
        struct { uint32_t order; struct wire_ids cancel, renewed; bool rehello; } beat_ack;
        struct { uint64_t attempt; } cancel, cancelled;
        struct { uint64_t attempt, fence; uint32_t failure; char log_tail[WIRE_TEXT_BYTES]; } failed;
        struct { char reason[WIRE_TEXT_BYTES]; } goodbye;
        struct { char model[WIRE_SHA256_BYTES]; uint64_t bytes; } use; // bytes 0: it has said that it has it
        struct wire_submit submit;
        struct { uint64_t job; bool existed; } submitted;
        // Jobs above a number, oldest first; or the last ones, newest first. open: not those that are over.
        struct { uint64_t after; uint32_t most; bool open, last; } list;
        struct { struct wire_bytes rows; } jobs; // see wire_add_row()
        struct { uint64_t job; } show, explain, obeyed;
        struct wire_job job;
        struct { char name[WIRE_NAME_BYTES]; bool work; uint32_t after; } nodes; // name "": all but so many first ones
        struct wire_node node;
        struct wire_work work;
        struct { uint64_t job, after; uint32_t most; } logs; // attempts above that number
        struct wire_event event;
        struct { uint32_t what; } queue;
        struct { bool disabled, stopped; } queue_is;
        struct { uint32_t what; int64_t before_ms; } ledger; // prune: what ended before
        struct { char path[WIRE_PATH_BYTES]; uint32_t count; bool more; } ledger_done;
        struct { char name[WIRE_NAME_BYTES]; uint32_t what; } node_order;
        struct { char text[WIRE_TEXT_BYTES]; } line;
        struct { bool more; uint64_t count; } listed; // count: after the last jobs, of all such jobs
        struct { uint64_t job; uint32_t what; int64_t value; } order;
        struct { uint32_t what; } config;
        struct { uint64_t attempt; uint32_t what; uint64_t off; } fetch;
        struct { char model[WIRE_SHA256_BYTES]; uint64_t off; } fetch_model;
        struct { uint64_t attempt, fence, bytes; } open;
        struct { uint64_t attempt; uint32_t chunks; } credits;
        struct {
            uint64_t attempt;
            uint32_t what;
            uint64_t off;
            uint32_t crc32c; // of the data
            struct wire_bytes data;
        } chunk;
        struct { uint64_t attempt, fence, bytes; uint32_t crc32c; } commit; // of the whole
        struct { uint64_t attempt; } accepted, stale, dup;
        struct { uint64_t attempt, from; } corrupt; // send again from there
        struct { uint64_t attempt; uint32_t retry_after_ms; } nospace;
    };
    // clang-format on
};

// "HELLO".
const char *wire_type_name(enum wire_type t);
const char *wire_failure_name(enum wire_failure f);

// Which port a message belongs to, and the most bytes it may have there.
bool wire_is_bulk(enum wire_type t);
size_t wire_most_bytes(enum wire_type t);

// Before the first message of a process that moves many chunks: lets glibc keep the memory of
// those on their way. Otherwise it hands each back to the kernel, and faults the next one in.
void wire_keep_memory(void);

// A message to bytes the caller frees. ERR_BUG: something of ours is out of range,
// logged. ERR_NOMEM.
ERR_CHECKED enum err wire_encode(uint8_t **out, size_t *bytes, const struct wire_message *m);

// ERR_INPUT, without logging, unless all of it is in order: `*why` is then a
// short static text. Texts are copied, bytes stay where they are in `data`.
// A message of another version is "another version", and nothing of it is looked at.
ERR_CHECKED enum err wire_decode(struct wire_message *out, const void *data, size_t bytes,
                                 const char **why);
#define WIRE_OTHER_VERSION "another version of the protocol"

// How the reason of a REJECT ends that says nothing against the question: it may be put again later.
#define WIRE_LATER "; try again when it does"
bool wire_is_later(const char *reason);

// The rows of a JOBS: jobs one after the other, each a msgpack array of the values of a JOB in
// their order. Appends one to the `*bytes` of `rows`; false: there is no room for it. Any
// sound one fits where there is none yet.
bool wire_add_row(uint8_t rows[WIRE_ROWS_BYTES], uint32_t *bytes, const struct wire_job *j);
// Takes the first off the rows; there must be one. ERR_INPUT, without logging, as wire_decode().
ERR_CHECKED enum err wire_take_row(struct wire_job *out, struct wire_bytes *rows);
