// watch: folders in which films appear, and which of them are there whole: a film counts
// when its size and time have not changed for a while. Reads names and stats; submits
// nothing. Time is an argument. One thread; a scan blocks as long as reading a folder does.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/base/err.h"

#define WATCH_MOST_FILES 100000

struct watched_file {
    char *path;
    int64_t bytes;
    struct timespec changed; // Unix time
    double since_s;          // when it was first seen so
    bool there, taken;
    bool waits; // the caller's: it could not be submitted yet
};

struct watch {
    struct watched_file *files; // by name, those that came in a scan under way after the others
    size_t count, sorted, room;
    size_t left_out; // at the last scan: there were too many
};

// What is in the folders now: files of formats that hold films, whose names do not begin
// with a dot; no folders in them, no links. A folder that cannot be read is logged and has
// nothing; what it had begins anew. One that does not answer, as `answers` says (NULL: all do), has what it had.
// `folders` ends with NULL. ERR_NOMEM. Of films beyond WATCH_MOST_FILES it is logged that they are left out.
ERR_CHECKED enum err watch_scan(struct watch *w, const char *const *folders,
                                bool (*answers)(void *user, const char *folder), void *user,
                                double now);
void watch_finish(struct watch *w); // a zeroed one is fine

// A film that has been as it is for `settle_s`, once, unless the caller takes its `taken` back; NULL:
// none (any more). Valid until the next scan. One that changes afterwards is another.
struct watched_file *watch_take(struct watch *w, double settle_s, double now);
