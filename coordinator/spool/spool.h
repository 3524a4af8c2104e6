// spool: the files of the jobs under way, below the coordinator's directory.
//
//   jobs/ID/request      the SUBMIT message, for the child processes
//   jobs/ID/plan.json    its plan
//   jobs/ID/identity     film_identity() of the film as it was planned
//   jobs/ID/frames/N     pictures of segment N: raw RGB, [count][side][side][3]
//   jobs/ID/parts/       finished segments, as `underscore compose` leaves them
//   jobs/ID/delivered    which file was delivered: see publish.h
//
// A result comes in piece by piece under a temporary name and is renamed to its part
// when all of it is there, fits the plan and says that it was made of the right things.
// One thread per spool; blocks on the disk.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/timeline/plan.h"

struct spool {
    char *directory;
    uint64_t receptions; // how many there have been
};

// ERR_CREATE when the directory cannot be made. Removes what an interrupted coordinator
// left half received.
ERR_CHECKED enum err spool_open(struct spool *s, const char *directory);
void spool_close(struct spool *s); // a zeroed one is fine

// "DIR/jobs/ID" or, with a name, "DIR/jobs/ID/NAME". The caller frees; NULL when out of
// memory.
char *spool_path(const struct spool *s, int64_t job, const char *name);

// Make a job's folders and write its request.
ERR_CHECKED enum err spool_begin(const struct spool *s, int64_t job, const void *request,
                                 size_t bytes);

// The jobs that have a folder, in no order: the caller frees *out. ERR_NOMEM.
ERR_CHECKED enum err spool_jobs(const struct spool *s, int64_t **out, size_t *count);

// Its parts, pictures and the rest.
void spool_remove(const struct spool *s, int64_t job);

char *spool_frames_path(const struct spool *s, int64_t job, uint32_t segment);
bool spool_has_frames(const struct spool *s, int64_t job, uint32_t segment, uint64_t bytes);
bool spool_has_any_frames(const struct spool *s, int64_t job);
bool spool_has_plan(const struct spool *s, int64_t job);
void spool_drop_frames(const struct spool *s, int64_t job, uint32_t segment);

// Up to `room` bytes of a file from `off` on. ERR_MISSING, ERR_IO; logs.
ERR_CHECKED enum err spool_read(const char *path, uint64_t off, void *out, size_t room,
                                size_t *got);

// The last columns of a segment's predecessor, from its part: [K][prompt_columns], the
// caller frees. ERR_INPUT: that part is damaged, and is put aside; ERR_MISSING: it is gone.
// A part of the segment itself, of which the ledger never heard, is removed then.
ERR_CHECKED enum err spool_prompt(const struct spool *s, int64_t job, const struct plan *p,
                                  uint32_t segment, int32_t **out, size_t *bytes);

// The segments without a part, in order, into `out` (one place for each in the plan); says how
// many. What continues them was prompted by them: those parts are removed.
uint32_t spool_lacks(const struct spool *s, int64_t job, const struct plan *p, uint32_t *out);

// A result on its way in.
struct incoming {
    char *path; // temporary
    int fd;     // -1: none
    uint64_t bytes, received;
    uint32_t crc32c; // of what was received
};

// Each has a file of its own, whatever else is coming in, or has come and has no other name yet.
ERR_CHECKED enum err incoming_open(struct incoming *in, struct spool *s, int64_t job,
                                   uint64_t bytes);
// ERR_IO: logs; a full disk too.
ERR_CHECKED enum err incoming_add(struct incoming *in, const void *data, size_t bytes);
void incoming_discard(struct incoming *in); // a zeroed one is fine

// A result that is whole and sound, and where it belongs. Zeroed: none.
struct spool_move {
    char *from, *to;
};

// All is there: look at it. ERR_INPUT: it is not the part that the plan and `key` ask for, or
// is not sound all through; logged, discarded. Else *out is for spool_put() or spool_forget().
ERR_CHECKED enum err incoming_finish(struct incoming *in, const struct spool *s, int64_t job,
                                     const struct plan *p, uint32_t segment, const char *key,
                                     struct spool_move *out);

// Makes results the parts of their segments, safe on disk when it returns ERR_OK. Several
// together cost little more than one. ERR_IO: logged; some may be there, none need be. The
// moves are zeroed.
ERR_CHECKED enum err spool_put(const struct spool *s, struct spool_move *moves, size_t count);
void spool_forget(struct spool_move *m); // and removes the result

// incoming_finish() and spool_put() of one.
ERR_CHECKED enum err incoming_commit(struct incoming *in, const struct spool *s, int64_t job,
                                     const struct plan *p, uint32_t segment, const char *key);
