// lstm_step: one moment of one LSTM layer, for up to LSTM_MOST_SEQUENCES
// sequences at once, with gates in the order i, f, g, o:
//   i, f, g, o = gates[t] + W h[t-1];
//   c[t] = sigmoid(f) c[t-1] + sigmoid(i) tanh(g);  h[t] = sigmoid(o) tanh(c[t])
//
// w      (4 H, blocks)    f32 or f16, 16 bytes an element, padded with zeros
// gates  (.., 4 H)        f32: what the input gives, the biases included
// state  (.., state_quads) vec4, h: read from state_in on, written from state_out on
// cell   (B, H)           f32, c
// y      (.., H)          f32: h, or h added to what is there
//
// A subgroup reads the four gates' rows of two units H / 2 apart, so eight rows
// stream side by side, and its neighbour reads the rows that follow. Lanes run
// along H. A sequence's sums do not depend on who shares the weights with it.
//
// Grid: ceil(ceil(H / 2) / pairs) workgroups of one subgroup.
// Reference: worker/ops/lstm_step_test.c.
// variants: f32 f16 plain_f32 plain_f16
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require

#include "lstm_step.h"

#if defined(VARIANT_f16) || defined(VARIANT_plain_f16)
#define HALVES 1
#define QUADS_PER_BLOCK 2
#else
#define HALVES 0
#define QUADS_PER_BLOCK 1
#endif

layout(local_size_x_id = 0) in; // the subgroup's size
layout(constant_id = 1) const uint B = 1;

layout(push_constant) uniform Push { lstm_step_push p; };
#if defined(VARIANT_f32) || defined(VARIANT_f16)
layout(binding = 0) uniform usamplerBuffer w;
layout(binding = 1) uniform usamplerBuffer state_before;
#define WEIGHTS(i) texelFetch(w, int(i))
#define BEFORE(i) uintBitsToFloat(texelFetch(state_before, int(i)))
#else
layout(binding = 0) readonly buffer W { uvec4 w[]; };
layout(binding = 1) readonly buffer Before { vec4 state_before[]; };
#define WEIGHTS(i) w[i]
#define BEFORE(i) state_before[i]
#endif
layout(binding = 2) readonly buffer Gates { float gates[]; };
layout(binding = 3) writeonly buffer State { float state[]; };
layout(binding = 4) buffer Cell { float cell[]; };
layout(binding = 5) buffer Y { float y[]; };

float sum[8][LSTM_MOST_SEQUENCES]; // [unit * 4 + gate][sequence]

float dot_block(uvec4 v, vec4 h[QUADS_PER_BLOCK])
{
#if HALVES
    const vec2 a = unpackHalf2x16(v.x), b = unpackHalf2x16(v.y);
    const vec2 c = unpackHalf2x16(v.z), d = unpackHalf2x16(v.w);
    return a.x * h[0].x + a.y * h[0].y + b.x * h[0].z + b.y * h[0].w +
           c.x * h[1].x + c.y * h[1].y + d.x * h[1].z + d.y * h[1].w;
#else
    const vec4 a = uintBitsToFloat(v);
    return a.x * h[0].x + a.y * h[0].y + a.z * h[0].z + a.w * h[0].w;
#endif
}

float sigmoid(float x)
{
    return 1.0 / (1.0 + exp(-x));
}

// Of the one sequence, the one unit. exp() may overflow to infinity: the limits
// come out right.
void finish(uint b, uint unit, float i, float f, float g, float o)
{
    const uint from = p.gates_row[b] * 4 * p.hidden + unit;
    i = sigmoid(i + gates[from]);
    f = sigmoid(f + gates[from + p.hidden]);
    g = 1.0 - 2.0 / (exp(2.0 * (g + gates[from + 2 * p.hidden])) + 1.0);
    o = sigmoid(o + gates[from + 3 * p.hidden]);
    const float c = f * cell[b * p.hidden + unit] + i * g;
    const float h = o * (1.0 - 2.0 / (exp(2.0 * c) + 1.0));
    cell[b * p.hidden + unit] = c;
    state[4 * (p.state_out + b * p.state_quads) + unit] = h;
    const uint to = p.y_row[b] * p.hidden + unit;
    y[to] = (p.flags & LSTM_STEP_ADD) != 0 ? y[to] + h : h;
}

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    const uint half_units = (p.hidden + 1) / 2;
    for (uint pair = 0; pair < p.pairs; pair++) {
        const uint first = gl_WorkGroupID.x * p.pairs + pair;
        if (first >= half_units)
            return;
        const uint second = min(first + half_units, p.hidden - 1);
        for (uint r = 0; r < 8; r++)
            for (uint b = 0; b < B; b++)
                sum[r][b] = 0.0;

        for (uint k = lane; k < p.blocks; k += gl_WorkGroupSize.x) {
            vec4 h[LSTM_MOST_SEQUENCES][QUADS_PER_BLOCK];
            for (uint b = 0; b < B; b++)
                for (uint q = 0; q < QUADS_PER_BLOCK; q++)
                    h[b][q] = BEFORE(p.state_in + b * p.state_quads + QUADS_PER_BLOCK * k + q);
            for (uint r = 0; r < 8; r++) {
                const uint row = (r < 4 ? first : second) + (r & 3) * p.hidden;
                const uvec4 v = WEIGHTS(row * p.blocks + k);
                for (uint b = 0; b < B; b++)
                    sum[r][b] += dot_block(v, h[b]);
            }
        }
        for (uint r = 0; r < 8; r++)
            for (uint b = 0; b < B; b++)
                sum[r][b] = subgroupAdd(sum[r][b]);

        // Lane 2 b computes the first unit of sequence b, lane 2 b + 1 the second.
        for (uint b = 0; b < B; b++) {
            if (p.gates_row[b] == LSTM_NO_ROW)
                continue;
            const uint from = 2 * b % gl_WorkGroupSize.x;
            if (lane == from)
                finish(b, first, sum[0][b], sum[1][b], sum[2][b], sum[3][b]);
            if (lane == from + 1 && first + half_units < p.hidden)
                finish(b, second, sum[4][b], sum[5][b], sum[6][b], sum[7][b]);
        }
    }
}
