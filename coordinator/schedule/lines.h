// lines: jobs under way, as they stand in line for what they can be given.
//
// A job can wait for a worker, for pictures, or for pictures of what comes next; it stands in
// a line for each of these that one of its segments waits for. A line belongs to a queue: the
// jobs of one owner that the same workers may compose, the highest priority first, then the
// oldest. So whoever gives out looks at the first of each queue, however many jobs there are.
//
// The lines own no jobs. A job's segments, its priority and whether it is paused are changed
// between lines_begin_change() and lines_end_change() or by lines_order(), and all that is
// counted follows. One thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/schedule/require.h"

// As in the ledger, for what is under way.
enum work_state {
    WORK_BLOCKED,
    WORK_READY,
    WORK_LEASED,
    WORK_RETRY_WAIT,
    WORK_DONE,
    WORK_STATES
};
enum work_frames {
    FRAMES_ABSENT,
    FRAMES_ASKED,
    FRAMES_THERE,
    FRAMES_LATER, // absent, and not to be asked for now
};
// What a job can stand in line for.
enum work_line {
    LINE_WORKER,   // a READY segment with its pictures
    LINE_PICTURES, // a READY segment without
    LINE_FOLLOWER, // one without that will be READY when its predecessor, under way, is done
    WORK_LINES,
};

struct work_segment {
    uint32_t cue, place;
    double audio_s, remaining_s;
    enum work_state state;
    enum work_frames frames;
    uint32_t live; // leases
    uint32_t troubles;
    double retry_s; // RETRY_WAIT: when to try again
};

struct work_job {
    int64_t id;
    int64_t priority;
    size_t owner; // into owners
    char model[65];
    struct require require;
    bool paused;
    uint32_t count, done, ready, waiting; // segments: all, DONE, READY, RETRY_WAIT
    struct work_segment *segments;
    // The lines' own:
    uint32_t lines[WORK_LINES]; // segments that it stands in line with
    bool in_line[WORK_LINES];
    size_t queue; // into queues
    // The schedule's own:
    int64_t lease; // its first, of lease_count; -1: none
    uint32_t lease_count;
};

// The jobs of one owner that the same workers may compose.
struct work_queue {
    size_t owner;
    char model[65];
    struct require require;
    size_t job_count, room;              // all of them, and how many each line has room for
    struct work_job **lines[WORK_LINES]; // those with something in it: the first goes first
    size_t in_line[WORK_LINES];
};

struct lines {
    struct work_queue *queues;
    size_t queue_count, queue_room;
    uint64_t in_state[WORK_STATES]; // segments
    uint64_t ready;                 // in jobs that are not paused
    uint64_t complete;              // jobs with all DONE that are not paused
    uint64_t pictures;              // that are there or asked for, of what is not under way
};

void lines_finish(struct lines *l); // a zeroed one is fine

// Counts a job's segments and lines it up. ERR_NOMEM: it stands nowhere, and is not counted.
ERR_CHECKED enum err lines_join(struct lines *l, struct work_job *j);
void lines_leave(struct lines *l, struct work_job *j);
void lines_order(struct lines *l, struct work_job *j, bool paused, int64_t priority);

// Around every change to a segment: it counts for itself and for the next one.
void lines_begin_change(struct lines *l, struct work_job *j, uint32_t segment);
void lines_end_change(struct lines *l, struct work_job *j, uint32_t segment);

// Of two jobs of one owner: does `a` go first?
bool lines_goes_before(const struct work_job *a, const struct work_job *b);

// Of the segments that a job stands in that line with, the one with the most of its cue to
// come; there must be one.
uint32_t lines_longest(const struct work_job *j, enum work_line line);

// For schedule_check(): does all that is counted here of one job agree with its segments? What
// it adds to the sums is added to *sums. NULL, or what does not, as a static text.
const char *lines_check(const struct lines *l, const struct work_job *j, struct lines *sums);
