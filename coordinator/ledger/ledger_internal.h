// ledger_internal: what the files of the ledger share.
#pragma once

#include "coordinator/ledger/ledger.h"
#include "coordinator/ledger/sql.h"

struct ledger {
    struct sql sql;
    int64_t epoch;
};

// ledger.c
// Ends the transaction of a change to `job`: debug builds look at its invariants first.
ERR_CHECKED enum err ledger_commit(struct ledger *l, enum err e, int64_t job);

// Says how to restore it; ERR_CONFIG.
ERR_CHECKED enum err ledger_unreadable(const char *path);

// ledger_jobs.c, inside a transaction
ERR_CHECKED enum err ledger_set_state(struct ledger *l, int64_t job, enum job_state to,
                                      const char *reason, int64_t now_ms);
// Only where an arrow is.
ERR_CHECKED enum err ledger_change_state(struct ledger *l, int64_t job, enum job_state to,
                                         const char *reason, int64_t now_ms);

// ledger_segments.c, inside a transaction. ERR_INPUT logs: there is no such segment.
ERR_CHECKED enum err ledger_find_segment(struct ledger *l, int64_t job, uint32_t segment,
                                         struct ledger_segment *out);
// Those of a job that are BLOCKED and need not be are READY.
ERR_CHECKED enum err ledger_unblock(struct ledger *l, int64_t job);
ERR_CHECKED enum err ledger_set_segment(struct ledger *l, int64_t job, uint32_t segment,
                                        enum segment_state to);
