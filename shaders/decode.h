// What the kernels of a decoder step and their callers share; read by GLSL and by C.
#ifndef SHADERS_DECODE_H
#define SHADERS_DECODE_H

#include "lib/host.h"

#define DECODE_MAX_CODEBOOKS 16
#define DECODE_AT_STEP 0xffffffffu // decode_row.position: wherever its slot's step stands
#define DECODE_UNKNOWN 0xffffffffu // a token that is not known yet
#define DECODE_BLOCK 64            // keys in a block of the cache

// One row of a pass: one position of one of a slot's two branches.
struct decode_row {
    uint slot;
    uint branch;   // 0: with the condition, 1: without
    uint position; // or DECODE_AT_STEP
    uint unused;
};
STATIC_SIZE(decode_row, 16)

// What a slot is at. The kernels move it on.
struct slot_state {
    // The step whose logits come next. Each codebook's draw moves its own copy,
    // so that none waits for another; readers take [0].
    uint position[DECODE_MAX_CODEBOOKS];
    uint frames; // of the condition
    uint seed_low, seed_high;
    uint top_k; // 0: all
    float top_p;
    float temperature;
    float guidance;
    uint broken; // 1: a draw found logits that are no numbers
};
STATIC_SIZE(slot_state, 96)

#endif
