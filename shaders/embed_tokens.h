// What embed_tokens.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_EMBED_TOKENS_H
#define SHADERS_EMBED_TOKENS_H

#include "lib/host.h"

struct embed_tokens_push {
    uint cols;         // C, even
    uint vocabulary;   // rows of one codebook's table
    uint first;        // codebook of the table's first row
    uint count;        // codebooks in the table
    uint codebooks;    // of the model
    uint token_stride; // tokens from one codebook's sequence to the next
    uint x_offset;     // elements
    uint x_stride;
    uint first_row;    // of the row table
    uint flags;        // EMBED_*
};
STATIC_SIZE(embed_tokens_push, 40)

#define EMBED_FIRST 1 // start from zero, else from what is in x
#define EMBED_LAST 2  // add the position

#endif
