// kv_append and the cache it fills: keys and values of past positions, in the
// layout that attention_step reads. Records; never blocks.
#pragma once

#include <stdbool.h>

#include "shaders/decode.h"
#include "worker/engine/stream.h"

// One layer's keys and values of a group of slots. Zeroed before first use:
// attention multiplies what lies beyond a row's length by exact zeros.
struct kv_block {
    struct span keys, values; // with texel views where the device allows them
    bool f16;
    uint32_t first_slot, slots; // whose cache it is
    uint32_t branches;          // cache rows of a slot: 1 or 2
    uint32_t heads;
    uint32_t width;  // of a head, a multiple of 8
    uint32_t blocks; // of DECODE_BLOCK positions in a row
};

// Bytes of the keys, and again of the values, of one cache row.
uint64_t kv_row_bytes(bool f16, uint32_t heads, uint32_t width, uint32_t blocks);

struct kv_append {
    const struct kv_block *to;
    struct span rows;                    // decode_row; rows of other groups are passed over
    struct span slots;                   // slot_state
    struct span source;                  // f32
    uint32_t k_offset, v_offset, stride; // elements, multiples of 4
    uint32_t row_count, first_row;
};

void op_kv_append(struct stream *s, const struct kv_append *a);
