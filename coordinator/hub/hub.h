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
#include "common/wire/wire.h"
#include "coordinator/elastic/elastic.h"
#include "coordinator/schedule/require.h"

struct hub_params {
    const char *control, *bulk; // where to listen, as ZeroMQ writes it
    const char *key;            // this coordinator's own .key; NULL: no keys, loopback only
    const char *allow;          // the list of keys that are let in; needed with `key`
    // Where the status page is, ADDRESS:PORT; "none"; NULL: STATUS_ADDRESS, if that is free.
    const char *status;
    const char *directory;    // of ledger.db and the spool; made when it is not there
    const char *const *media; // folders that films and outputs must lie in; ends with NULL
    const char *program;      // this program's own path, for the child processes
    double beat_s, lease_s;
    uint32_t children;     // films looked at side by side
    uint64_t child_memory; // bytes each
    uint32_t child_cpu_s;
    // Folders in which films are submitted by themselves, ending with NULL; NULL: none. Where
    // they go, whose they are, and how long they must have been as they are.
    const char *const *watch;
    const char *watch_output, *watch_owner;
    double watch_settle_s;
    // Folders of models that are handed out to workers, ending with NULL; NULL: none.
    const char *const *models;
    const char *const *weights;   // of owners, as in weight.h
    const char *start_command;    // run when work waits for workers; NULL: never
    struct elastic_rules elastic; // and when that is
    struct require start_offers;  // what such a worker has; nothing: it could have anything
    const atomic_bool *stop;      // ends hub_run()
    // The owner's, on the hub's thread: at every turn, and when a client asks for what would
    // change, what is in force or a reload; either may be NULL. Errors have been logged.
    void (*attend)(void *user);
    enum err (*configure)(void *user, enum wire_config what,
                          void (*line)(void *to, const char *text), void *to);
    void *user;
};

struct hub;

// Opens the ledger and takes up what it holds, then listens. ERR_CONFIG: an address that
// is not this machine's own, without keys; keys or a ledger that cannot be read.
// ERR_UNAVAILABLE: somebody has that address or ledger. All logged.
ERR_CHECKED enum err hub_open(struct hub **out, const struct hub_params *p);
void hub_close(struct hub **h); // NULL inside is fine

// Takes over of `p` what can change while it runs: media, weights, beat_s, lease_s and all about the
// children, the watched folders and the starting of workers. What it points to must stay. On the hub's thread.
void hub_reload(struct hub *h, const struct hub_params *p);

// What it is at, in a line.
void hub_describe(const struct hub *h, char *out, size_t room);

// Until *stop. ERR_IO: the ledger failed in a way that goes on; logged.
ERR_CHECKED enum err hub_run(struct hub *h);
