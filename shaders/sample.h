// What sample.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_SAMPLE_H
#define SHADERS_SAMPLE_H

#include "decode.h"

// Whose token is drawn, from which rows of logits.
struct sample_draw {
    uint slot;
    uint cond; // row of logits
    uint null; // likewise; cond again where there is no guidance
    uint unused;
};
STATIC_SIZE(sample_draw, 16)

struct sample_push {
    uint card;
    uint codebooks;      // of the model
    uint token_stride;   // tokens from one codebook's sequence to the next
    uint row_texels;     // texels from one row of logits to the next
    uint codebook_texels; // from one codebook's logits to the next
    uint flags;          // SAMPLE_*
    uint delays[DECODE_MAX_CODEBOOKS];
};
STATIC_SIZE(sample_push, 88)

#define SAMPLE_DISTRIBUTION 1 // write what would be drawn from; draw nothing

#endif
