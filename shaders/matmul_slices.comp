// matmul_slices: y[m, n] = act(sum_k x[m, k] w[n, k] + bias[n]) + residual[m, n]
//
// For few rows on a GPU, where reading W is all there is to do. A workgroup takes
// a tile of 8 columns (rows of W) and MR rows of x; K is cut into 16 slices, and
// each invocation sums one slice of one column, so that 8 neighbours read 128
// bytes in a row. The slices are then added up in order: bit for bit what
// matmul_tile computes, whatever the number of rows.
//
// x  (M, K)  f32, rows p.x_stride apart
// w  packed: tiles of 8 rows by 16 bytes of K, [ceil(N/8)][p.tile_blocks][8][E],
//    K padded with zeros; f16 comes scaled by a power of two, undone by p.scale
// y, residual  (M, N)  f32; residual may be y
//
// Grid: x: columns / 8, y: rows / MR.
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
#define TILE 8

layout(local_size_x = TILE * MATMUL_SLICES) in;
layout(constant_id = 0) const uint MR = 1;
layout(constant_id = 1) const uint ALIGNED = 0; // x in whole vec4s

layout(push_constant) uniform Push { matmul_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(binding = 1) readonly buffer W { uvec4 w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) buffer Y { float y[]; };

shared float parts[MR][MATMUL_SLICES * TILE];

// Four of x from k on, zeros beyond K; `row` is where the row starts.
vec4 load_x(uint row, uint k)
{
    if (ALIGNED != 0 && (p.flags & MATMUL_TAIL) == 0)
        return x4[(row + k) / 4];
    vec4 v;
    [[unroll]] for (uint i = 0; i < 4; i++)
        v[i] = k + i < p.depth ? x[row + k + i] : 0.0;
    return v;
}

float slice_sum(float sum, vec4 a, vec4 b)
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        sum = fma(a[i], b[i], sum);
    return sum;
}

void main()
{
    const uint column = gl_LocalInvocationID.x % TILE;
    const uint slice = gl_LocalInvocationID.x / TILE;
    const uint first_row = gl_WorkGroupID.y * MR;
    const uint slice_blocks = matmul_slice_chunks(p.depth) * (MATMUL_DEPTH / E);
    const uint end = min((slice + 1) * slice_blocks, p.depth_blocks);
    const uint tile = gl_WorkGroupID.x * p.tile_blocks;

    float sums[MR];
    uint rows[MR];
    [[unroll]] for (uint m = 0; m < MR; m++) {
        sums[m] = 0.0;
        rows[m] = p.x_offset + min(first_row + m, p.rows - 1) * p.x_stride;
    }
    for (uint block = slice * slice_blocks; block < end; block++) {
        const uvec4 v = w[(tile + block) * TILE + column];
#ifdef VARIANT_f16
        const vec2 a = unpackHalf2x16(v.x), b = unpackHalf2x16(v.y);
        const vec2 c = unpackHalf2x16(v.z), d = unpackHalf2x16(v.w);
        [[unroll]] for (uint m = 0; m < MR; m++) {
            sums[m] = slice_sum(sums[m], load_x(rows[m], block * E), vec4(a, b));
            sums[m] = slice_sum(sums[m], load_x(rows[m], block * E + 4), vec4(c, d));
        }
#else
        [[unroll]] for (uint m = 0; m < MR; m++)
            sums[m] = slice_sum(sums[m], load_x(rows[m], block * E), uintBitsToFloat(v));
#endif
    }
    [[unroll]] for (uint m = 0; m < MR; m++)
        parts[m][gl_LocalInvocationID.x] = sums[m];
    barrier();

    const uint m = slice;
    const uint row = first_row + m;
    const uint col = gl_WorkGroupID.x * TILE + column;
    if (m >= MR || row >= p.rows || col >= p.cols)
        return;
    float sum = 0.0;
    for (uint s = 0; s < MATMUL_SLICES; s++)
        sum += parts[m][s * TILE + column];
    sum *= p.scale;
    if ((p.flags & MATMUL_BIAS) != 0)
        sum += bias[col];
    sum = activate(p.activation, sum);
    if ((p.flags & MATMUL_RESIDUAL) != 0)
        sum += residual[p.residual_offset + row * p.residual_stride + col];
    y[p.y_offset + row * p.y_stride + col] = sum;
}
