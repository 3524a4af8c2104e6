// What layernorm.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_LAYERNORM_H
#define SHADERS_LAYERNORM_H

#include "lib/host.h"

struct layernorm_push {
    uint cols;       // C: length of each vector
    uint x_stride;   // elements from one row to the next
    uint y_stride;
    uint x_offset;   // elements
    uint y_offset;
    uint flags;      // LAYERNORM_*
    float epsilon;
};
STATIC_SIZE(layernorm_push, 28)

#define LAYERNORM_RESIDUAL 1 // add residual[n, :], rows y_stride apart, from y_offset on

#endif
