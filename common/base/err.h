// err: what went wrong, in the only terms the callers act on.
//
// A function that can fail returns `enum err`; results go through out
// pointers. Whoever first sees a failure logs it, with the detail only it
// knows, and returns the code; everyone above just passes it up.
#pragma once

#include <stdbool.h>

enum err {
    ERR_OK = 0,
    ERR_USAGE,       // the command line makes no sense
    ERR_INPUT,       // the film, model, plan or message itself is bad
    ERR_MISSING,     // an input does not exist or cannot be read
    ERR_UNAVAILABLE, // something the machine should have is not there: a GPU, a driver
    ERR_BUG,         // we broke our own promise
    ERR_CREATE,      // an output cannot be created
    ERR_IO,          // reading or writing failed half-way
    ERR_NOMEM,       // host memory
    ERR_DEVICE_MEM,  // device memory
    ERR_DEVICE,      // the GPU was lost or refused
    ERR_CONFIG,      // a configuration file is wrong
    ERR_STOP,        // shutdown was asked for
    ERR_FULL,        // a disk or a quota has no room left: it goes on when there is some
    ERR_COUNT,
};

// Short lower-case phrase for logs. Static storage; never NULL.
const char *err_text(enum err e);

// True if the same work may succeed on another worker or at another time.
// The scheduler retries on true and fails the job on false.
bool err_is_transient(enum err e);

// A disk that does not take what it is given, for lack of room or otherwise.
bool err_is_disk(enum err e);

// The process exit status for `e`, after sysexits.h; ERR_STOP is 130, as a
// shell reports an interrupt.
int err_exit_code(enum err e);

#define ERR_CHECKED __attribute__((warn_unused_result))
