// matmul_plain: y[m, n] = act(sum_k x[m, k] w[n, k] + bias[n]) + residual[m, n]
//
// The simplest form: one invocation, one output. For strides that the faster
// forms cannot take, and as their yardstick.
//
// x  (M, K)  f32, rows p.x_stride apart
// w  packed: tiles of 8 rows by 16 bytes of K, [ceil(N/8)][p.tile_blocks][8][E],
//    K padded with zeros; f16 comes scaled by a power of two, undone by p.scale
// y, residual  (M, N)  f32; residual may be y
//
// Grid: x: columns / 8, y: rows / 8.
// Reference: worker/ops/matmul_test.c.
// variants: f32 f16
#version 450
#extension GL_GOOGLE_include_directive : require

#include "lib/activation.glsl"
#include "matmul.h"

layout(local_size_x = 8, local_size_y = 8) in;

layout(push_constant) uniform Push { matmul_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer W { uvec4 w[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) buffer Y { float y[]; };

float at(uint i, uint k)
{
    return k < p.depth ? x[i + k] : 0.0;
}

void main()
{
    const uint n = gl_GlobalInvocationID.x;
    const uint m = gl_GlobalInvocationID.y;
    if (n >= p.cols || m >= p.rows)
        return;
    const uint row = p.x_offset + m * p.x_stride;
    uint tile = (n / 8) * p.tile_blocks * 8 + n % 8;
    float sum = 0.0;
    for (uint b = 0; b < p.depth_blocks; b++, tile += 8) {
        const uvec4 v = w[tile];
#ifdef VARIANT_f16
        for (uint i = 0; i < 4; i++) {
            const vec2 h = unpackHalf2x16(v[i]);
            sum += at(row, b * 8 + 2 * i) * h.x;
            sum += at(row, b * 8 + 2 * i + 1) * h.y;
        }
#else
        for (uint i = 0; i < 4; i++)
            sum += at(row, b * 4 + i) * uintBitsToFloat(v[i]);
#endif
    }
#ifdef VARIANT_f16
    sum *= p.scale;
#endif
    if ((p.flags & MATMUL_BIAS) != 0)
        sum += bias[n];
    sum = activate(p.activation, sum);
    if ((p.flags & MATMUL_RESIDUAL) != 0)
        sum += residual[p.residual_offset + m * p.residual_stride + n];
    y[p.y_offset + m * p.y_stride + n] = sum;
}
