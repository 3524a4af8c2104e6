// embed_tokens: x[r, :] = sum over codebooks of the embedding of row r's token,
// plus the embedding of its position. Records; never blocks.
#pragma once

#include <stdbool.h>

#include "shaders/decode.h"
#include "worker/engine/stream.h"

struct embed_tokens {
    struct span rows;      // decode_row
    struct span slots;     // slot_state
    struct span tokens;    // [slots][codebooks][token_stride]
    struct span table;     // [count][vocabulary][cols], f16 or f32
    struct span positions; // [..][cols] f32
    struct span x;         // f32
    bool f16;
    // A table too large for one binding comes in several: first, count, and
    // which of them starts and ends the sum.
    uint32_t first, count;
    bool starts, ends;
    uint32_t codebooks, vocabulary, token_stride;
    uint32_t row_count, first_row;
    uint32_t cols; // even
    uint32_t x_offset, x_stride;
};

void op_embed_tokens(struct stream *s, const struct embed_tokens *e);
