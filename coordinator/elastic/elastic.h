// elastic: whether another worker should be started, because work waits and too few are there.
//
// The coordinator does not start workers: it runs a command that does (an `sbatch`, say), and
// what comes of it comes some time. Until as many more workers are there, or nobody believes
// in them any more, those it has asked for count as if they were.
//
//   nothing waits ──(work waits)──► waits ──(for `after_s`)──► a start ──► the pause after it
//                                     ▲                                        │
//                                     └────────────────────────────────────────┘
//
// After a command that failed the pause doubles each time, up to ELASTIC_MOST_PAUSE_S.
//
// Pure: times are seconds of a clock that the caller has. One thread per elastic.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ELASTIC_MOST_PAUSE_S 3600.0

struct elastic_rules {
    uint32_t most;     // workers, those on their way included; 0: none is ever started
    double after_s;    // work must have waited so long
    double pause_s;    // between one start and the next
    double patience_s; // a worker that has not come so long after the last start will not come
};

// What is the case now.
struct elastic_facts {
    bool waits;       // there is work that a further worker could take
    bool running;     // the command before has not ended
    uint32_t workers; // that are there
};

// Zeroed at first.
struct elastic {
    bool waiting;
    double waits_since_s, started_s, not_before_s;
    uint32_t seen;     // workers, when last looked
    uint32_t expected; // asked for and not there yet
    uint32_t failures; // of the command, in a row
};

// Looks at what is the case. True: run the command now; elastic_started() is to follow.
bool elastic_wants(struct elastic *e, const struct elastic_rules *r,
                   const struct elastic_facts *f, double now);
void elastic_started(struct elastic *e, const struct elastic_rules *r, double now);
// It failed: the worker that was asked for does not come.
void elastic_failed(struct elastic *e, const struct elastic_rules *r, double now);
void elastic_succeeded(struct elastic *e);
