// lstm_step_columns: lstm_step.comp's moment of an LSTM layer, for drivers that run
// shaders on a CPU, where only fetches of texels are vectorised.
//
// A lane owns the four gates of two units, so that it finishes them by itself; it
// fetches their weights 16 bytes at a time, and h 16 values a sequence, which are
// handed round within each quad of lanes, as matmul_texel.comp does. Sums run over k
// in order, whoever shares the weights.
//
// w      tiles of 8 rows by 16 bytes of K as matmul's, p.blocks elements a row apart;
//        tile 4 U + g has gate g of units 8 U to 8 U + 7. f16 comes scaled (p.scale)
// gates, state, cell, y  as in lstm_step.comp; H is a multiple of 16
//
// Grid: H / (2 * lanes) workgroups of one subgroup.
// Reference: worker/ops/lstm_step_test.c.
// variants: f32 f16
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_control_flow_attributes : require

#include "lib/half.glsl"
#include "lib/lstm_cell.glsl"
#include "lstm_step.h"

#ifdef VARIANT_f16
#define E 8 // of k in a texel of w
#define LIFT uintBitsToFloat(0x5f800000u) // 2^64, as in lstm_step.comp
#else
#define E 4
#define LIFT 1.0
#endif
#define DEPTH 16   // of k in one round of the loop
#define COLUMNS 8  // of a lane: two units' gates

layout(local_size_x_id = 0) in; // the subgroup's size, 4 or more
layout(constant_id = 1) const uint B = 1;

layout(push_constant) uniform Push { lstm_step_push push; };
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer w;
layout(binding = 1, rgba32ui) readonly uniform uimageBuffer before;
layout(binding = 2) readonly buffer Gates { float gates[]; };
layout(binding = 3) writeonly buffer State { float state[]; };
layout(binding = 4) buffer Cell { float cell[]; };
layout(binding = 5) buffer Y { float y[]; };

lstm_step_push p; // read once: inside loops such drivers gather it lane by lane
uint lane;
vec4 h[B];
float ws[COLUMNS * E];
float sums[B * COLUMNS];

void take_weights(uint column, uvec4 v)
{
#ifdef VARIANT_f16
    float e[8];
    halves_shifted(v, e);
    [[unroll]] for (uint i = 0; i < E; i++)
        ws[column * E + i] = e[i];
#else
    [[unroll]] for (uint i = 0; i < E; i++)
        ws[column * E + i] = uintBitsToFloat(v[i]);
#endif
}

void multiply(uint block)
{
    [[unroll]] for (uint b = 0; b < B; b++)
        [[unroll]] for (uint i = 0; i < E; i++) {
            const float a = subgroupShuffle(h[b][i % 4], (lane & ~3u) | (block * (E / 4) + i / 4));
            [[unroll]] for (uint n = 0; n < COLUMNS; n++)
                sums[b * COLUMNS + n] = fma(a, ws[n * E + i], sums[b * COLUMNS + n]);
        }
}

void finish(uint b, uint unit, uint first)
{
    if (unit >= p.hidden || p.gates_row[b] == LSTM_NO_ROW)
        return;
    vec4 gate;
    [[unroll]] for (uint g = 0; g < 4; g++)
        gate[g] = sums[b * COLUMNS + first + g] * p.scale +
                  gates[(p.gates_row[b] * 4 + g) * p.hidden + unit];
    const vec2 now = lstm_cell(gate, cell[b * p.hidden + unit]);
    cell[b * p.hidden + unit] = now.x;
    state[4 * (p.state_out + b * p.state_quads) + unit] = now.y;
    const uint to = p.y_row[b] * p.hidden + unit;
    y[to] = (p.flags & LSTM_STEP_ADD) != 0 ? y[to] + now.y : now.y;
}

void main()
{
    p = push;
    lane = gl_SubgroupInvocationID;
    const uint first_unit = gl_WorkGroupID.x * 2 * gl_WorkGroupSize.x + lane;
    uint w_at[COLUMNS];
    [[unroll]] for (uint n = 0; n < COLUMNS; n++) {
        const uint unit = min(first_unit + n / 4 * gl_WorkGroupSize.x, p.hidden - 1);
        w_at[n] = (unit / 8 * 4 + n % 4) * p.blocks * 8 + unit % 8;
    }
    [[unroll]] for (uint i = 0; i < B * COLUMNS; i++)
        sums[i] = 0.0;
    for (uint chunk = 0; chunk < p.hidden / DEPTH; chunk++) {
        [[unroll]] for (uint b = 0; b < B; b++)
            h[b] = LIFT * uintBitsToFloat(imageLoad(before, int(p.state_in + b * p.state_quads + chunk * (DEPTH / 4) + lane % 4)));
        [[unroll]] for (uint block = 0; block < DEPTH / E; block++) {
            [[unroll]] for (uint n = 0; n < COLUMNS; n++)
                take_weights(n, imageLoad(w, int(w_at[n] + (chunk * (DEPTH / E) + block) * 8)));
            multiply(block);
        }
    }
    [[unroll]] for (uint b = 0; b < B; b++)
        [[unroll]] for (uint u = 0; u < 2; u++)
            finish(b, first_unit + u * gl_WorkGroupSize.x, 4 * u);
}
