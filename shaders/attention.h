// What the attention shaders and their caller must agree on; read by GLSL and by C.
#ifndef SHADERS_ATTENTION_H
#define SHADERS_ATTENTION_H

#include "lib/host.h"

// attention_pack: rows of one operand into the order attention.comp reads.
struct attention_pack_push {
    uint rows;     // that there are; as many as fill the tiles are written, the rest zeros
    uint dims;        // D: numbers in a head's row
    uint blocks;   // 16-byte blocks written for a row: at least ceil(D / 4)
    uint x_offset;    // in elements, likewise below
    uint x_stride;    // from one row to the next
    uint x_batch;     // from one batch to the next
    uint to;          // where to write, in blocks
    uint tiled;       // 1: tiles of ATTENTION_TILE rows, 0: row by row
    float scale;
};
STATIC_SIZE(attention_pack_push, 36)

#define ATTENTION_TILE 8

struct attention_push {
    uint queries;
    uint keys;
    uint dims;          // D
    uint qk_blocks;     // 16-byte blocks of a packed row of q and k
    uint query_padded;  // rows of a head in packed q; likewise below
    uint key_padded;
    uint k_from;        // where packed k and v begin, in blocks; q begins at 0
    uint v_from;
    uint y_offset;      // in elements, likewise below
    uint y_stride;
    uint y_batch;
};
STATIC_SIZE(attention_push, 44)

#endif
