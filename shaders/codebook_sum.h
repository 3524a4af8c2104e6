// What codebook_sum.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_CODEBOOK_SUM_H
#define SHADERS_CODEBOOK_SUM_H

#include "lib/host.h"

struct codebook_sum_push {
    uint codebooks;     // K
    uint bins;
    uint width;         // D
    uint tokens_offset; // elements, likewise below
    uint tokens_stride; // from one codebook's tokens to the next's
};
STATIC_SIZE(codebook_sum_push, 20)

#endif
