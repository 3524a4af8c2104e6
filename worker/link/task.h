// task: one attempt that a worker has been leased, from its inputs to ACCEPTED.
//
//   FETCHING ──► WAITING ──► COMPOSING ──► SPOOLED ──► gone (ACCEPTED, STALE, DUP)
//      │            │             │
//      └────────────┴─► gone      └──(abandoned)──► DROPPED ──► gone, and the coordinator told
//
// FETCHING, SPOOLED and DROPPED belong to the thread that talks, COMPOSING to the one that
// composes; they change hands under the desk's lock (desk.h).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/wire/wire.h"

enum task_state { TASK_FETCHING, TASK_WAITING, TASK_COMPOSING, TASK_SPOOLED, TASK_DROPPED };

// An input that comes in piece by piece.
struct task_input {
    uint8_t *data;
    uint64_t bytes, got, asked;
};

struct task {
    struct task *next;
    struct wire_lease lease; // of a result left by an earlier start: attempt and fence only
    enum task_state state;
    bool abandoned;
    double renewed_s; // when the lease began to count
    struct task_input frames, prompt;
    double heard_s; // when something last came of it
    // The result.
    char *path;
    uint64_t bytes, sent;
    uint32_t crc32c, credit;
    bool opened, committed;
    double not_before_s;
};

// ERR_INPUT: the lease is for another model than this: it asks for more than there is, or
// for none. ERR_NOMEM. The caller ends with task_free().
ERR_CHECKED enum err task_make(struct task **out, const struct wire_lease *lease, uint32_t side,
                               uint32_t codebooks, uint32_t max_columns, uint32_t max_frames);
void task_free(struct task *t); // its file stays

// The input that is not whole yet: pictures before the prompt. NULL: all is here.
struct task_input *task_wants(struct task *t, enum wire_what *what);
