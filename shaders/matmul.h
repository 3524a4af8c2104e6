// What the matmul shaders and their caller must agree on; read by GLSL and by C.
#ifndef SHADERS_MATMUL_H
#define SHADERS_MATMUL_H

#include "lib/host.h"

struct matmul_push {
    uint rows;            // M
    uint cols;            // N
    uint depth;           // K
    uint depth_blocks;    // 16-byte blocks of K in a packed row
    uint tile_blocks;     // and with the padding after them: how far apart tiles are
    uint x_offset;        // in elements, likewise below
    uint x_stride;
    uint y_offset;
    uint y_stride;
    uint residual_offset;
    uint residual_stride;
    uint activation;      // ACTIVATION_*
    uint flags;           // MATMUL_*
    float scale;          // of the sums, where weights are f16
};
STATIC_SIZE(matmul_push, 56)

#define MATMUL_BIAS 1
#define MATMUL_RESIDUAL 2
#define MATMUL_TAIL 4 // K is no multiple of MATMUL_DEPTH
#define MATMUL_ACROSS 8 // matmul_texel: the grid's x is columns, its y rows

#define MATMUL_DEPTH 16 // K is padded to this with zeros

// On GPUs every sum is made of this many slices of K, so that any kernel comes to
// the same bits.
#define MATMUL_SLICES 16

// A workgroup of matmul_tile has this many invocations, squared.
#define MATMUL_SIDE 16

#ifdef VULKAN
// Chunks of MATMUL_DEPTH in a slice. The last slices may be short or empty.
uint matmul_slice_chunks(uint depth)
{
    return max((depth + MATMUL_DEPTH * MATMUL_SLICES - 1) / (MATMUL_DEPTH * MATMUL_SLICES), 1u);
}
#endif

#endif
