// link: a worker's side of the wire: it says hello, asks for segments, fetches their
// inputs while others are composed, and offers what is finished until it is accepted.
//
// Nothing here is lost by dying: a result is on disk before it is offered, and is
// offered again by the next start. A coordinator that is away is waited for.
// One thread; link_run() blocks.
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/keys/curve.h"
#include "common/wire/wire.h"
#include "worker/link/desk.h"

struct link_params {
    const char *control, *bulk; // where the coordinator listens
    struct curve_files keys;    // both NULL: without
    const char *outbox;
    struct desk *desk;
    struct wire_hello hello; // who this is
    uint32_t prefetch;       // segments asked for beyond the slots
    double idle_s;           // it leaves when it had nothing to do for so long; 0: never
    uint32_t max_columns, max_frames;
    const atomic_uint *signals; // asked to stop: once, finish what is begun; twice, leave now
    // Called on this thread at every turn; it may change prefetch and idle_s.
    void (*attend)(void *user);
    void *user;
};

// Until told to stop (ERR_OK) or the device is lost or fails, or the disk of the outbox does
// (its error; the coordinator has been told). ERR_UNAVAILABLE: the coordinator refuses this worker; ERR_CONFIG: it
// does not open to its key; both logged.
ERR_CHECKED enum err link_run(const struct link_params *p);
