// fleet: which workers there are, which of them are alive, and which may work.
//
// A worker is one GPU on one node, known by its name through all its restarts; each
// start is an incarnation. What a GPU did wrong stays with the name.
//
//   hello ──► JOINING ──pull──► READY ◄──beat── SUSPECT ◄──(no beat for 3 beats)
//                                 │ drain                      │ (none for a lease)
//                                 ▼                            ▼
//                               QUIET ──goodbye──► OFFLINE   LOST ──hello──► JOINING
//
// A worker that is there but lets its leases end, as one whose GPU never answers does, is RESTING after
// FLEET_MOST_TROUBLES in a row: for ten leases, then twice as long each time, an hour at most. Then it
// is READY again; a result of it ends the row.
//
// Beside that each GPU is in order or QUARANTINED: after FLEET_MOST_TROUBLES device
// failures in a row it is given nothing until somebody releases it. A success ends a row.
// Drained is what an operator says of a name, QUIET what becomes of whoever has it.
//
// Pure: times are seconds of a clock that the caller has. One thread per fleet.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/id_map.h"

#define FLEET_NAME_BYTES 128
#define FLEET_MOST_TROUBLES 3

enum worker_state {
    WORKER_JOINING, // has said hello, nothing more
    WORKER_READY,
    WORKER_QUIET,   // finishes what it has, takes nothing new
    WORKER_RESTING, // did not get on: takes nothing new until it has rested
    WORKER_SUSPECT, // not heard of for some beats
    WORKER_LOST,    // given up: what it had is another's
    WORKER_OFFLINE, // has said goodbye
    WORKER_STATES,
};

struct fleet_worker {
    char name[FLEET_NAME_BYTES], device[FLEET_NAME_BYTES], vendor[FLEET_NAME_BYTES];
    char driver[FLEET_NAME_BYTES], software[FLEET_NAME_BYTES];
    char model[65]; // sha256; "": it has none yet
    char has[2048]; // sha256s of those that it could have at once
    uint64_t memory;
    uint64_t incarnation, replaced; // replaced: the one before
    enum worker_state state;
    bool drained, quarantined;
    uint32_t slots;
    double heard_s;    // when it was last heard of
    double rate;       // seconds of music a second; 0: not known yet
    uint64_t progress; // as it counts
    uint32_t want;     // segments it has asked for
    uint32_t held;     // attempts leased to it and still live
    double backlog_s;  // seconds of music in those
    uint32_t troubles; // device failures in a row
    double troubled_s; // when the last of them was
    uint32_t hangs;    // leases in a row with which it did not get on
    double hung_s;     // when the last of them ended
    double rests_s;    // RESTING: until then
    uint64_t done, failed;
};

struct fleet {
    struct fleet_worker *workers; // their places do not change while they are known
    size_t count, room;
    struct id_map incarnations; // of those that are here, to their places
    double beat_s, lease_s;
    double silent_s; // nobody has been silent for long since before that
};

void fleet_init(struct fleet *f, double beat_s, double lease_s);
void fleet_finish(struct fleet *f);

struct fleet_hello {
    const char *name, *device, *vendor, *driver, *software, *model, *has;
    uint64_t memory, incarnation;
    uint32_t slots;
    double rate;
};

// A worker has said hello. *place is its place. ERR_NOMEM. Where another incarnation
// of that name was here, whatever it held is lost, unless the new one says it has it.
ERR_CHECKED enum err fleet_join(struct fleet *f, const struct fleet_hello *h, double now,
                                size_t *place);

// A name that may not be here yet, and what an operator has said of it. ERR_NOMEM.
ERR_CHECKED enum err fleet_know(struct fleet *f, const char *name, bool drained,
                                bool quarantined);

// Has another start taken over this one's name?
bool fleet_is_replaced(const struct fleet *f, uint64_t incarnation);

// The place of an incarnation that is neither LOST nor OFFLINE; -1: not here.
int64_t fleet_find(const struct fleet *f, uint64_t incarnation);
int64_t fleet_find_name(const struct fleet *f, const char *name);

// True when it has got on since it was last heard of: its leases are renewed.
bool fleet_beat(struct fleet *f, size_t place, uint64_t progress, double rate, double now);
void fleet_pull(struct fleet *f, size_t place, uint32_t want, double now);
void fleet_goodbye(struct fleet *f, size_t place);

// Moves on those that were not heard of. Beat and lease may be changed at any time. Returns the place of one that has just become
// LOST, or -1; call again until it does.
int64_t fleet_tick(struct fleet *f, double now);

// How an attempt ended. True when that has just put the GPU into quarantine. A GPU that is
// lost fails all that it had at once: what was granted before its last failure is of that one.
bool fleet_trouble(struct fleet *f, size_t place, double granted_s, double now);
void fleet_success(struct fleet *f, size_t place);

// A lease has ended that it was there for and did not get on with. True when it is RESTING now.
bool fleet_hung(struct fleet *f, size_t place, double granted_s, double now);

void fleet_drain(struct fleet *f, size_t place, bool drain);
void fleet_quarantine(struct fleet *f, size_t place, bool quarantined);

// May it be given work now?
bool fleet_may_work(const struct fleet_worker *w);
bool fleet_is_gone(const struct fleet_worker *w); // lost, or it said goodbye

const char *worker_state_name(enum worker_state s);
