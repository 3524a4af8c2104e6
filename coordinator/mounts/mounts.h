// mounts: which file systems answer. A call on one whose server is gone (NFS) may never come back: whoever has other
// things to do asks here first.
//
// Each question is put by a thread of its own, which is waited for a second at most. One that does not come back
// marks the root that its path lies under: there the answer is no, at once, until it is back. So a dead file system
// costs a second each time it dies, and a thread. One thread asks.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define MOUNTS_SILENT_S \
    5.0 // at least, so that one that is merely slow is not waited for all the time
#define MOUNTS_MOST 16

struct mount {
    char *root;
    pthread_t thread; // that has not come back
    double since_s;
};

struct mounts {        // zeroed: all answer
    double patience_s; // 0: a second
    struct mount silent[MOUNTS_MOST];
    size_t count;
};

// Does what holds `path` answer, whether there is such a file or not? `roots`, ending with NULL, is where paths
// should lie: the longest that the path is in, as it is written, stands for it; all others stand for each other.
// False as well while MOUNTS_MOST others do not answer. Waits as said above; what begins to be silent is logged.
bool mounts_answer(struct mounts *m, const char *const *roots, const char *path, double now);

// Where a path lies, links followed. MISSING: there is no such path, or it is in no root that is there now. SILENT: a
// file system does not answer, so nobody knows.
enum place { PLACE_MISSING, PLACE_ELSEWHERE, PLACE_MEDIA, PLACE_SILENT };

// Waits as mounts_answer() does.
enum place mounts_place(struct mounts *m, const char *const *roots, const char *path,
                        double now);

// What is back is asked again from here on; logged. Does not wait. Times are seconds of the monotonic clock.
void mounts_tick(struct mounts *m, double now);

void mounts_finish(struct mounts *m); // without waiting for anybody; a zeroed one is fine
