// matmul_tile: y[m, n] = act(sum_k x[m, k] w[n, k] + bias[n]) + residual[m, n]
//
// For many rows on a GPU. A workgroup of 16 x 16 invocations computes a tile of
// 16 TM rows by 16 TN columns, K going through shared memory 16 at a time. Sums
// run within the slices of K that matmul_slices has, and the slices are added up
// in order: the same bits.
//
// x  (M, K)  f32, rows p.x_stride apart
// w  packed: tiles of 8 rows by 16 bytes of K, [ceil(N/8)][p.tile_blocks][8][E],
//    K padded with zeros; f16 comes scaled by a power of two, undone by p.scale
// y, residual  (M, N)  f32; residual may be y
//
// Grid: x: rows / (16 TM), y: columns / (16 TN).
// Reference: worker/ops/matmul_test.c.
// variants: f32 f16
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

#include "lib/activation.glsl"
#include "matmul.h"

#ifdef VARIANT_f16
#define E 8
#else
#define E 4
#endif
#define SIDE MATMUL_SIDE
#define DEPTH MATMUL_DEPTH
#define CHUNK_BLOCKS (DEPTH / E)
#define TILE 8

layout(local_size_x = SIDE * SIDE) in;
layout(constant_id = 0) const uint TM = 4;
layout(constant_id = 1) const uint TN = 4;

layout(push_constant) uniform Push { matmul_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer W { uvec4 w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) buffer Y { float y[]; };

// One column more than needed keeps the banks apart.
shared float xs[DEPTH][SIDE * TM + 1];
shared float ws[DEPTH][SIDE * TN + 1];

float sums[TM * TN];   // of the slice
float totals[TM * TN]; // of the slices before it

void load_x(uint first_row, uint chunk)
{
    const uint i = gl_LocalInvocationID.x;
    const uint k = chunk * DEPTH + i % DEPTH;
    [[unroll]] for (uint t = 0; t < TM; t++) {
        const uint r = i / DEPTH + t * SIDE;
        const uint row = min(first_row + r, p.rows - 1);
        xs[i % DEPTH][r] = k < p.depth ? x[p.x_offset + row * p.x_stride + k] : 0.0;
    }
}

void load_w(uint first_col, uint chunk)
{
    const uint tiles = (p.cols + TILE - 1) / TILE;
    for (uint i = gl_LocalInvocationID.x; i < SIDE * TN * CHUNK_BLOCKS; i += SIDE * SIDE) {
        const uint c = i / (TILE * CHUNK_BLOCKS) * TILE + i % TILE;
        const uint b = i / TILE % CHUNK_BLOCKS;
        const uint tile = min((first_col + c) / TILE, tiles - 1);
        const uvec4 v = w[(tile * p.tile_blocks + chunk * CHUNK_BLOCKS + b) * TILE + c % TILE];
        [[unroll]] for (uint j = 0; j < 4; j++) {
#ifdef VARIANT_f16
            const vec2 h = unpackHalf2x16(v[j]);
            ws[b * E + 2 * j][c] = h.x;
            ws[b * E + 2 * j + 1][c] = h.y;
#else
            ws[b * E + j][c] = uintBitsToFloat(v[j]);
#endif
        }
    }
}

void multiply(uint across, uint down)
{
    for (uint k = 0; k < DEPTH; k++) {
        float a[TM], b[TN];
        [[unroll]] for (uint t = 0; t < TM; t++)
            a[t] = xs[k][down + t * SIDE];
        [[unroll]] for (uint t = 0; t < TN; t++)
            b[t] = ws[k][across + t * SIDE];
        [[unroll]] for (uint t = 0; t < TM * TN; t++)
            sums[t] = fma(a[t / TN], b[t % TN], sums[t]);
    }
}

void store(uint row, uint col, float sum)
{
    if (row >= p.rows || col >= p.cols)
        return;
    sum *= p.scale;
    if ((p.flags & MATMUL_BIAS) != 0)
        sum += bias[col];
    sum = activate(p.activation, sum);
    if ((p.flags & MATMUL_RESIDUAL) != 0)
        sum += residual[p.residual_offset + row * p.residual_stride + col];
    y[p.y_offset + row * p.y_stride + col] = sum;
}

void main()
{
    const uint across = gl_LocalInvocationID.x % SIDE;
    const uint down = gl_LocalInvocationID.x / SIDE;
    const uint first_row = gl_WorkGroupID.x * SIDE * TM;
    const uint first_col = gl_WorkGroupID.y * SIDE * TN;
    const uint chunks = (p.depth + DEPTH - 1) / DEPTH;
    const uint slice_chunks = matmul_slice_chunks(p.depth);

    [[unroll]] for (uint t = 0; t < TM * TN; t++)
        sums[t] = totals[t] = 0.0;
    for (uint chunk = 0; chunk < chunks; chunk++) {
        load_x(first_row, chunk);
        load_w(first_col, chunk);
        barrier();
        multiply(across, down);
        barrier();
        if ((chunk + 1) % slice_chunks == 0 || chunk + 1 == chunks)
            [[unroll]] for (uint t = 0; t < TM * TN; t++) {
                totals[t] += sums[t];
                sums[t] = 0.0;
            }
    }
    [[unroll]] for (uint t = 0; t < TM * TN; t++)
        store(first_row + down + t / TN * SIDE, first_col + across + t % TN * SIDE, totals[t]);
}
