// start_worker: a worker that goes on after the MPI job has ended.
//
// It is no child of mpirun's: its death ends nobody else, and mpirun does not wait for it. A
// batch system that ends what a job leaves behind ends it with the job (conf/slurm/ has what
// is right there). Not thread-safe.
#pragma once

#include "common/base/err.h"

struct start_worker_params {
    const char *program;  // a path, or a name to be looked for
    const char *model;    // its --model
    char *const *options; // what follows; ends with NULL. {rank} and {local} become the numbers
    int rank, local;      // of all, and on this node
    const char *log;      // what it says is added there; {rank} and {local} as well
};

// ERR_CREATE, ERR_MISSING: it could not be started, logged. That it started says nothing of
// how it fares: its log does.
ERR_CHECKED enum err start_worker(const struct start_worker_params *p);

// `text` with the numbers in place of {rank} and {local}; the caller frees. NULL: no memory.
char *with_numbers(const char *text, int rank, int local);
