// hub: the coordinator at work: one loop over two sockets and the child processes.
//
// Everything that happens is a message, a child that has ended, or time that has
// passed; each is worked off to its end before the next. What must not be lost is in
// the ledger and the spool before anybody is told of it, so that the hub may die at any
// instruction and the next one goes on.
//
// One thread. hub_run() blocks.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/err.h"

#define HUB_CONTROL "tcp://127.0.0.1:7480"
#define HUB_BULK "tcp://127.0.0.1:7481"

struct hub_params {
    const char *control, *bulk; // where to listen, as ZeroMQ writes it
    const char *status;         // where the status page is, ADDRESS:PORT; "none"; NULL: STATUS_ADDRESS, if that is free
    const char *directory;      // of ledger.db and the spool; made when it is not there
    const char *const *media;   // folders that films and outputs must lie in; ends with NULL
    const char *program;        // this program's own path, for the child processes
    double beat_s, lease_s;
    uint32_t children;          // films looked at side by side
    uint64_t child_memory;      // bytes each
    uint32_t child_cpu_s;
    const atomic_bool *stop;    // ends hub_run()
};

struct hub;

// Opens the ledger and takes up what it holds, then listens. ERR_CONFIG: an address that
// is not this machine's own (there are no keys); a ledger that cannot be read.
// ERR_UNAVAILABLE: somebody has that address or ledger. All logged.
ERR_CHECKED enum err hub_open(struct hub **out, const struct hub_params *p);
void hub_close(struct hub **h); // NULL inside is fine

// Until *stop. ERR_IO: the ledger failed in a way that goes on; logged.
ERR_CHECKED enum err hub_run(struct hub *h);
