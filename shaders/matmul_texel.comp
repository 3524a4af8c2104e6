// matmul_texel: y[m, n] = act(sum_k x[m, k] w[n, k] + bias[n]) + residual[m, n]
//
// For drivers that run shaders on a CPU, where only fetches of texels are
// vectorised: one subgroup, no shared memory, no branches. A lane owns NR columns
// (rows of W) and fetches its weights 16 bytes at a time; of x each SPAN of lanes
// fetches DEPTH values of another row, and they are handed to all lanes in turn.
// Every sum runs over k in order, alone: its bits depend on nothing else.
//
// x  (M, K)  f32, rows p.x_stride apart, in texels
// w  packed: tiles of 8 rows by 16 bytes of K, [ceil(N/8)][p.tile_blocks][8][E], E = 4
//    or 8, K padded to 16 with zeros. f16 comes scaled by a power of two (p.scale).
// y, residual  (M, N)  f32; residual may be y. N and strides multiples of 4, the
//    residual in texels; loose: storage buffers, any N and strides. Such drivers
//    store lane by lane, and do less for it to a storage buffer than to texels
//
// Grid: x: rows / MR, y: columns / (NR * subgroup size); MATMUL_ACROSS: the other
// way round.
// Reference: worker/ops/matmul_test.c.
// variants: f32 f16 f32_loose f16_loose
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_control_flow_attributes : require

#include "lib/activation.glsl"
#include "matmul.h"

#if defined(VARIANT_f16) || defined(VARIANT_f16_loose)
#define HALVES
#endif
#if defined(VARIANT_f32_loose) || defined(VARIANT_f16_loose)
#define LOOSE
#endif

layout(local_size_x_id = 0) in; // the subgroup's size, 4 or more
layout(constant_id = 1) const uint MR = 8; // rows of x for a subgroup
layout(constant_id = 2) const uint NR = 4; // columns for a lane; MR * NR % 4 == 0
layout(constant_id = 3) const uint FLAGS = 0; // p.flags but MATMUL_ACROSS
layout(constant_id = 4) const uint ACTIVATION = ACTIVATION_NONE;
layout(constant_id = 5) const uint DEPTH = MATMUL_DEPTH; // k of one round of the loop: these, or half of them

layout(push_constant) uniform Push { matmul_push push; };
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer x;
layout(binding = 1, rgba32ui) readonly uniform uimageBuffer w;
layout(binding = 2, rgba32ui) readonly uniform uimageBuffer bias;
#ifdef LOOSE
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) writeonly buffer Y { float y[]; };
#else
#include "lib/pairs.glsl"
layout(binding = 3, rgba32ui) readonly uniform uimageBuffer residual;
layout(binding = 4) writeonly buffer Y { u64vec2 y[]; };
#endif

#ifdef HALVES
#define E 8
#else
#define E 4
#endif

const uint lanes = gl_WorkGroupSize.x;
const uint SPAN = DEPTH / 4; // lanes that fetch of the same row
const uint SPANS = lanes / SPAN;
const uint TOGETHER = MR < 16 ? 1 : 2; // rows that are multiplied side by side; MR is a power of two
const uint FETCHES = (MR + SPANS - 1) / SPANS; // of x, for DEPTH k of every row
matmul_push p; // read once: inside loops and branches such drivers gather it lane by lane
uint lane, first_row, first_col;
uint x_at[FETCHES], w_at[NR];
vec4 xs[FETCHES];     // of this span's row and this lane's four k
float ws[NR * E];
float sums[MR * NR];

#ifdef HALVES
// The bits of an f16 moved into an f32 are worth 2^-112 of it: exact, and undone
// for the whole sum by p.scale. x is lifted by X_LIFT meanwhile, so that
// products stay clear of the denormal range. The arithmetic shift leaves copies
// of the sign, which the mask takes off the exponent.
#define X_LIFT uintBitsToFloat(0x5f800000u) // 2^64

void take_weights(uint n, uvec4 v)
{
    const vec4 even = uintBitsToFloat(uvec4(ivec4(v << 16) >> 3) & 0x8fffe000u);
    const vec4 odd = uintBitsToFloat(uvec4(ivec4(v) >> 3) & 0x8fffe000u);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        ws[n * E + 2 * i] = even[i];
        ws[n * E + 2 * i + 1] = odd[i];
    }
}
#else
void take_weights(uint n, uvec4 v)
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        ws[n * E + i] = uintBitsToFloat(v[i]);
}
#endif

void load_x(uint chunk)
{
    [[unroll]] for (uint f = 0; f < FETCHES; f++) {
        xs[f] = uintBitsToFloat(imageLoad(x, int(x_at[f] + chunk * (DEPTH / 4))));
        if ((FLAGS & MATMUL_TAIL) != 0) // what stands after the row may be NaN
            [[unroll]] for (uint i = 0; i < 4; i++)
                if (chunk * DEPTH + lane % SPAN * 4 + i >= p.depth)
                    xs[f][i] = 0.0;
#ifdef HALVES
        xs[f] *= X_LIFT;
#endif
    }
}

// The products of E values of k with every sum of this lane. A sum's additions wait
// for each other: with few columns, two rows' keep a processor busier than one's.
void multiply(uint block)
{
    [[unroll]] for (uint first = 0; first < MR / TOGETHER; first++)
        [[unroll]] for (uint i = 0; i < E; i++)
            [[unroll]] for (uint j = 0; j < TOGETHER; j++) {
                const uint m = first * TOGETHER + j;
                const float a = subgroupShuffle(xs[m / SPANS][i % 4], m % SPANS * SPAN + block * (E / 4) + i / 4);
                [[unroll]] for (uint n = 0; n < NR; n++)
                    sums[m * NR + n] = fma(a, ws[n * E + i], sums[m * NR + n]);
            }
}

float scaled(float sum)
{
#ifdef HALVES
    return sum * p.scale;
#else
    return sum;
#endif
}

#ifdef LOOSE
void store()
{
    [[unroll]] for (uint n = 0; n < NR; n++) {
        const uint col = first_col + n * lanes + lane;
        float b = 0.0;
        if ((FLAGS & MATMUL_BIAS) != 0)
            b = uintBitsToFloat(imageLoad(bias, int(col / 4))[col % 4]);
        [[unroll]] for (uint m = 0; m < MR; m++) {
            const uint row = first_row + m;
            float v = activate(ACTIVATION, scaled(sums[m * NR + n]) + b);
            if (row < p.rows && col < p.cols) {
                if ((FLAGS & MATMUL_RESIDUAL) != 0)
                    v += residual[p.residual_offset + row * p.residual_stride + col];
                y[p.y_offset + row * p.y_stride + col] = v;
            }
        }
    }
}
#else
// Four sums of every lane, turned so that a lane has four columns of one of them.
vec4 turned(uint first)
{
    const uint which = lane * 4 / lanes;
    vec4 v;
    [[unroll]] for (uint c = 0; c < 4; c++) {
        const uint from = lane * 4 % lanes + c;
        v[c] = subgroupShuffle(sums[first], from);
        [[unroll]] for (uint q = 1; q < 4; q++) {
            const float other = subgroupShuffle(sums[first + q], from);
            v[c] = which == q ? other : v[c];
        }
    }
    return v;
}

// Where this lane's four columns of the sums from `first` on stand.
uvec2 place(uint first)
{
    const uint sum = first + lane * 4 / lanes;
    return uvec2(first_col + sum % NR * lanes + lane * 4 % lanes, first_row + sum / NR);
}

void store()
{
    [[unroll]] for (uint i = 0; i < MR * NR / 4; i++) {
        const uvec2 at = place(4 * i);
        vec4 v = turned(4 * i);
        [[unroll]] for (uint c = 0; c < 4; c++)
            v[c] = scaled(v[c]);
        if ((FLAGS & MATMUL_BIAS) != 0)
            v += uintBitsToFloat(imageLoad(bias, int(at.x / 4)));
        [[unroll]] for (uint c = 0; c < 4; c++)
            v[c] = activate(ACTIVATION, v[c]);
        const bool inside = at.x < p.cols && at.y < p.rows;
        if ((FLAGS & MATMUL_RESIDUAL) != 0 && inside)
            v += uintBitsToFloat(imageLoad(residual, int((p.residual_offset + at.y * p.residual_stride + at.x) / 4)));
        if (inside)
            y[(p.y_offset + at.y * p.y_stride + at.x) / 4] = pairs(v);
    }
}
#endif

void main()
{
    p = push;
    lane = gl_SubgroupInvocationID;
    const bool across = (p.flags & MATMUL_ACROSS) != 0;
    first_row = (across ? gl_WorkGroupID.y : gl_WorkGroupID.x) * MR;
    first_col = (across ? gl_WorkGroupID.x : gl_WorkGroupID.y) * NR * lanes;

    [[unroll]] for (uint f = 0; f < FETCHES; f++) {
        const uint row = min(first_row + f * SPANS + lane / SPAN, p.rows - 1);
        x_at[f] = (p.x_offset + row * p.x_stride) / 4 + lane % SPAN;
    }
    [[unroll]] for (uint n = 0; n < NR; n++) {
        const uint col = min(first_col + n * lanes + lane, (p.cols - 1) | 7);
        w_at[n] = col / 8 * p.tile_blocks * 8 + col % 8;
    }
    [[unroll]] for (uint i = 0; i < MR * NR; i++)
        sums[i] = 0.0;

    const uint chunks = (p.depth + DEPTH - 1) / DEPTH;
    for (uint chunk = 0; chunk < chunks; chunk++) {
        load_x(chunk);
        [[unroll]] for (uint block = 0; block < DEPTH / E; block++) {
            [[unroll]] for (uint n = 0; n < NR; n++)
                take_weights(n, imageLoad(w, int(w_at[n] + (chunk * (DEPTH / E) + block) * 8)));
            multiply(block);
        }
    }
    store();
}
