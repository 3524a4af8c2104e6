// What the matmul shaders and their caller must agree on; read by GLSL and by C.
#ifndef SHADERS_MATMUL_H
#define SHADERS_MATMUL_H

#include "lib/host.h"

struct matmul_push {
    uint rows;            // M
    uint cols;            // N
    uint depth;           // K
    uint depth_blocks;    // 16-byte blocks of K in a packed row: ceil(K / E)
    uint x_offset;        // in elements, likewise below
    uint x_stride;
    uint y_offset;
    uint y_stride;
    uint residual_offset;
    uint residual_stride;
    uint activation;      // ACTIVATION_*
    uint flags;           // MATMUL_*
};
STATIC_SIZE(matmul_push, 48)

#define MATMUL_BIAS 1
#define MATMUL_RESIDUAL 2

#endif
