// snapshot: what a coordinator shows of itself, as it was at one moment.
//
// Filled in by the hub's thread, then never changed: whoever has a reference may read it,
// in any thread. Texts are as they came, whatever bytes they hold.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SNAPSHOT_NAME_BYTES 128
#define SNAPSHOT_TEXT_BYTES 2048
#define SNAPSHOT_MINUTES 60 // of history

enum shown_state { SHOWN_WAITS, SHOWN_RUNS, SHOWN_DONE, SHOWN_STATES };

struct shown_segment {
    int64_t start_ms, end_ms; // in the film
    uint32_t cue;
    enum shown_state state;
};

struct shown_job {
    int64_t id;
    char *film; // owned
    char owner[SNAPSHOT_NAME_BYTES], state[SNAPSHOT_NAME_BYTES], reason[SNAPSHOT_TEXT_BYTES];
    uint32_t segments, done, running;
    int64_t priority, duration_ms, submitted_ms, ended_ms; // ended 0: not over
    int64_t left_ms;                                       // -1: not known
    bool failed;
    struct shown_segment *timeline; // owned; in film order
    uint32_t timeline_count;
};

struct shown_node {
    char name[SNAPSHOT_NAME_BYTES], device[SNAPSHOT_NAME_BYTES], state[SNAPSHOT_NAME_BYTES];
    uint64_t memory, done, failed;
    uint32_t slots, held;
    double rate;
    bool here, drained, quarantined;
};

struct shown_work {
    size_t node; // into nodes
    int64_t job, for_ms;
    uint32_t segment, cue;
};

struct shown_failure {
    int64_t at_ms, job;
    uint32_t segment;
    char worker[SNAPSHOT_NAME_BYTES];
    const char *outcome; // static
    char detail[SNAPSHOT_TEXT_BYTES];
};

// A number of things by what they are: "RUNNING".
struct shown_count {
    const char *name; // static
    uint64_t count;
};
#define SNAPSHOT_COUNTS 16

struct snapshot {
    atomic_uint references;
    int64_t at_ms; // Unix time
    double up_s;
    uint64_t epoch;
    bool disabled, stopped; // the queue
    bool paused;            // the disk does not take what has to be kept

    struct shown_job *jobs; // not over, by number; then the last that ended
    size_t job_count;
    struct shown_node *nodes;
    size_t node_count;
    struct shown_work *work;
    size_t work_count;
    struct shown_failure *failures; // the latest first
    size_t failure_count;

    struct shown_count jobs_in[SNAPSHOT_COUNTS];     // by state; all there are
    struct shown_count segments_in[SNAPSHOT_COUNTS]; // by state; of jobs under way
    struct shown_count attempts[SNAPSHOT_COUNTS];    // by outcome; since the start
    double music_s, gpu_s;                           // composed and accepted since the start
    uint64_t dropped;                                // messages
    uint32_t children;
    // Music accepted in each minute; the last is the present one.
    double minutes[SNAPSHOT_MINUTES];
};

// With one reference, that of the caller; NULL: out of memory.
struct snapshot *snapshot_create(void);
struct snapshot *snapshot_take(struct snapshot *s); // one more
void snapshot_release(struct snapshot **s);         // NULL inside is fine
