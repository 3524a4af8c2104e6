// children: work on films in processes of their own. FFmpeg reads hostile files: what
// it does to a process it may do to one that holds nothing.
//
// A child is this program again, told by its arguments what to do; it has bounded
// memory and time, no network, and nothing open but the pipe that takes what it
// says. It leaves its results as files; its exit status is child_status().
// One thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define CHILDREN_MOST 16
#define CHILD_MOST_ARGUMENTS 80
#define CHILD_TAIL_BYTES 1024

struct child {
    int pid;  // 0: none
    int said; // a descriptor to wait on; -1 once the child has closed it
    int64_t job;
    int what; // the caller's own
    // The caller's own, too: it hangs through no fault of others, and takes no place of `most`.
    bool aside;
    bool killed;                 // it has not ended yet for all that
    char tail[CHILD_TAIL_BYTES]; // the last of what it said
    size_t tail_bytes;
};

struct children {
    const char *program; // its path
    uint32_t most;       // at a time, CHILDREN_MOST at most
    uint64_t memory;     // bytes each
    uint32_t cpu_s;      // seconds each
    struct child running[CHILDREN_MOST];
};

uint32_t children_free(const struct children *c); // how many more may run

// `program --child ARGUMENTS...`; the list ends with NULL. ERR_IO logs.
ERR_CHECKED enum err children_start(struct children *c, int64_t job, int what,
                                    const char *const *arguments);

// Takes in what the children said, without waiting. A child that has ended is given to
// `ended` with what became of it: ERR_OK; the error of its exit status; ERR_INPUT when it
// crashed or went past its limits, with a sentence in `reason`. Its place is free by then.
void children_poll(struct children *c,
                   void (*ended)(void *user, int64_t job, int what, enum err e,
                                 const char *reason),
                   void *user);

// Ends those of a job (0: all), and forgets them. Waits until they have ended, for a second at most: one that a dead
// file system holds keeps its entry until children_poll() finds it gone, and no place of `most`.
void children_kill(struct children *c, int64_t job);

// In the child: how it tells this program what became of it: err_exit_code(), but for a full
// disk, which has the status of other failing ones there.
#define CHILD_FULL 40
int child_status(enum err e);

// In the child: the limits that hold from here on.
void child_confine(void);
