// publish: the parts of a whole job become the film that was asked for.
//
// Runs in a child process (children.h) over the folder of the job (spool.h). The film is
// written beside its place under a name of the job's own; `delivered` then says which
// file that is, before it gets its final name: so a job that was interrupted in between
// knows its own film again, and never takes somebody else's for it.
#pragma once

#include <stdint.h>

#include "common/base/err.h"

// ERR_INPUT, among others: parts are not there, or were damaged and have been put aside.
// ERR_CREATE: something is at the output that this job did not put there, and it was not
// told to overwrite; or the place cannot be written. Otherwise as deliver_parts(). Logs.
ERR_CHECKED enum err publish(const char *folder, int64_t job);

// Of one that was killed and is not to be done again: what it has left beside `output`.
void publish_forget(const char *output, int64_t job);
