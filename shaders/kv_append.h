// What kv_append.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_KV_APPEND_H
#define SHADERS_KV_APPEND_H

#include "lib/host.h"

struct kv_append_push {
    uint heads;
    uint texels;         // 16-byte texels in a head of one position
    uint blocks;         // DECODE_BLOCKs of positions that a cache row holds
    uint group;          // which slots' cache is bound: slot / group_slots
    uint group_slots;
    uint branches;       // cache rows of a slot: 1 or 2
    uint k_offset;       // elements, in source
    uint v_offset;
    uint stride;         // elements from one row of the source to the next
    uint first_row;      // of the row table
};
STATIC_SIZE(kv_append_push, 40)

#endif
