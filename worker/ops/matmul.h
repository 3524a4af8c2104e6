// matmul: y[M,N] = act(x[M,K] W[N,K]^T + bias[N]) + residual[M,N]
//
// The one linear layer of every stage; a convolution over time-major rows is
// one too (x_stride < K: rows overlap). Activations and sums are f32; weights
// f32 or f16. An output's bits depend on its own row of x and on W only, never
// on how many rows ride along: batches may be put together as one likes.
//
// One thread, that of the device. op_matmul() records; nothing blocks but
// matrix_load().
#pragma once

#include <stdbool.h>

#include "shaders/lib/activation.h"
#include "worker/engine/stream.h"

// A packed weight matrix on the device: tiles of 8 rows by 16 bytes of K,
// [ceil(N/8)][blocks][8][E], E = 4 (f32) or 8 (f16), K padded to a multiple of
// 16 with zeros, and a tile to an odd number of blocks. f16 is scaled by the power of two that brings the largest
// element just below f16's largest: exact, and hardly an element is left in the
// range where f16 loses bits and some processors are slow.
struct matrix {
    struct span span; // with a texel view where the device allows one
    struct span bias; // N floats, padded; bytes == 0: none
    uint32_t rows;    // N
    uint32_t cols;    // K
    bool f16;
    float scale; // element = packed value * scale
};

// Rows of numbers on the host, as they come from a file: f16 or f32, row n
// starts at data + n * row_stride elements, perhaps unaligned.
struct matrix_source {
    const void *data;
    bool f16;
    uint64_t row_stride; // elements
    const float *bias;   // N, or NULL
};

// Pack (converting to f16 or f32 as asked) and upload. Blocks. ERR_DEVICE_MEM
// logs what is missing.
ERR_CHECKED enum err matrix_load(struct matrix *out, struct device *d, struct arena *a,
                                 const struct matrix_source *from, uint32_t rows, uint32_t cols,
                                 bool f16);

// Device bytes a matrix takes, its bias included.
uint64_t matrix_bytes(uint32_t rows, uint32_t cols, bool f16, bool bias);

struct matmul {
    const struct matrix *w;
    struct span x, y;     // f32. y may not overlap x
    struct span residual; // f32, may be y; bytes == 0: none
    uint32_t rows;        // M; 0 does nothing
    // Offsets and strides in elements; a stride of 0 means dense (K for x, N for
    // y, y's own for the residual). Rows of x may overlap. The fast kernels need
    // x with a texel view and x_offset and x_stride multiples of 4; the fastest
    // also the residual with a view, N and all offsets and strides likewise.
    uint32_t x_offset, x_stride;
    uint32_t y_offset, y_stride;
    uint32_t residual_offset, residual_stride;
    uint32_t activation; // ACTIVATION_*, applied before the residual is added
};

void op_matmul(struct stream *s, const struct matmul *m);

// Measure once which kernels this device wants and remember it with the device
// (choice.h). Blocks: milliseconds when it is known, else below a second. Without
// it the kind of device decides. Two runs must not differ in their bits, so call
// it before the first op_matmul() or not at all.
ERR_CHECKED enum err matmul_tune(struct device *d);
