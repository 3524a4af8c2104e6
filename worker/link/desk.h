// desk: where the thread that talks to the coordinator and the one that composes hand
// work to each other.
//
// The talking thread puts tasks whose inputs are here on the desk; the composing one
// takes them in that order, many at a time, and puts them back with their results
// written to the outbox. Any thread may call anything here; a task that is COMPOSING is
// touched by the composing thread alone, but for `abandoned`.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "worker/composer/composer.h"
#include "worker/link/task.h"

struct desk_params {
    // Used by the composing thread alone from desk_start() to desk_join().
    struct composer *composer;
    const char *outbox;   // the folder results are written to
    double columns_per_s; // of the codec's sound
};

struct desk {
    struct desk_params p;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool started;
    struct task *tasks; // all of the worker's; `next` is guarded by the lock
    int wake;           // an eventfd: something is SPOOLED, or has gone wrong
    bool closing;       // no more work comes
    enum err error;     // why the composing thread ended; ERR_OK while it runs
    bool ended;
    atomic_bool stop;           // the work under way is not to be finished
    atomic_bool paused;         // the disk is full: no more work is wanted
    atomic_uint_fast64_t steps; // how often the composer looked up: it gets on
    double busy_s, columns;     // what the rate is made of
};

ERR_CHECKED enum err desk_start(struct desk *d, const struct desk_params *p);

// Ends the composing thread: after what it has, or at once when `stop` is set.
void desk_close(struct desk *d);
void desk_join(struct desk *d); // waits for it, frees the tasks; a zeroed one is fine

void desk_lock(struct desk *d);
void desk_unlock(struct desk *d);
void desk_ready(struct desk *d); // under the lock: a task has become WAITING

// Under the lock.
void desk_add(struct desk *d, struct task *t);
void desk_drop(struct desk *d, struct task *t); // not one that is COMPOSING
struct task *desk_find(const struct desk *d, uint64_t attempt);

// Seconds of music a second, so far; 0: nothing is known.
double desk_rate(struct desk *d);

// "OUTBOX/ATTEMPT-FENCE.safetensors". The caller frees.
char *desk_result_path(const char *outbox, uint64_t attempt, uint64_t fence);
