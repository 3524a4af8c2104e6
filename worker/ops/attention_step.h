// attention_step: every row attends to its own sequence's keys in the cache.
// Records; never blocks. A row's output depends, to the bit, on its own query
// and keys only.
#pragma once

#include <stdbool.h>

#include "worker/ops/kv_append.h"

struct attention_step {
    const struct kv_block *from;
    struct span rows;            // decode_row; rows of other groups are passed over
    struct span slots;           // slot_state
    struct span q;               // f32 [rows][heads][width]
    struct span y;               // likewise; not overlapping q
    uint32_t q_offset, q_stride; // elements, multiples of 4
    uint32_t y_offset, y_stride;
    uint32_t row_count, first_row;
    bool cross;     // keys are the condition's frames, else the positions up to the row's own
    float scale;    // of the scores
    uint32_t reach; // about how many keys a row has, for cutting the work
    uint32_t subgroups; // that share a row and head; 0: as suits the device
};

void op_attention_step(struct stream *s, const struct attention_step *a);
