// codebook_sum: the vectors that tokens stand for: of each codebook the entry
// that its token names, summed. Records; never blocks.
#pragma once

#include "worker/engine/stream.h"

// The entries of all codebooks, one after the other: [codebooks][bins][width] f32.
struct codebook_sum {
    struct span tokens; // i32, [codebooks][tokens_stride], each within 0 .. bins - 1
    struct span embed;  // f32
    struct span y;      // f32, [rows][width]
    uint32_t rows, width, codebooks, bins;
    uint32_t tokens_offset, tokens_stride; // elements
};

void op_codebook_sum(struct stream *s, const struct codebook_sum *c);
