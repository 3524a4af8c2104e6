// What attention_step.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_ATTENTION_STEP_H
#define SHADERS_ATTENTION_STEP_H

#include "lib/host.h"

struct attention_step_push {
    uint heads;
    uint blocks;      // DECODE_BLOCKs of positions that a cache row holds
    uint first_slot;  // whose cache is bound, with those of the
    uint group_slots; // next so many
    uint branches;    // cache rows of a slot: 1 or 2
    uint q_offset;    // in texels of 4 floats
    uint q_stride;    // likewise, and below
    uint y_offset;
    uint y_stride;
    uint first_row;   // of the row table
    uint flags;       // ATTENTION_STEP_*
    float scale;      // of the scores
};
STATIC_SIZE(attention_step_push, 48)

#define ATTENTION_STEP_CROSS 1 // the keys are the condition's frames, not the positions so far

#endif
