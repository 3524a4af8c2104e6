// What kv_append.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_KV_APPEND_H
#define SHADERS_KV_APPEND_H

#include "lib/host.h"

struct kv_append_push {
    uint heads;
    uint blocks;         // DECODE_BLOCKs of positions that a cache row holds
    uint first_slot;     // whose cache is bound, with those of the
    uint group_slots;    // next so many
    uint branches;       // cache rows of a slot: 1 or 2
    uint k_offset;       // in texels of 4 floats of the source, and below
    uint v_offset;
    uint stride;         // from one row of the source to the next
    uint first_row;      // of the row table
};
STATIC_SIZE(kv_append_push, 36)

#endif
