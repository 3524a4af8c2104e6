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
// Then each lane takes one unit of one sequence and computes its c and h: there
// is much of that, and it costs as much for one lane as for all.
//
// Grid: ceil(ceil(H / 2) / pairs) workgroups of one subgroup.
// images: w and h are texel buffers, which a CPU driver reads a vector at a time.
// Reference: worker/ops/lstm_step_test.c.
// variants: f32 f16 images_f32 images_f16
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require

#include "lib/lstm_cell.glsl"
#include "lstm_step.h"

#if defined(VARIANT_f16) || defined(VARIANT_images_f16)
#define HALVES
#define QUADS 2 // of h that an element of w meets
#else
#define QUADS 1
#endif

layout(local_size_x_id = 0) in; // the subgroup's size
layout(constant_id = 1) const uint B = 1;

layout(push_constant) uniform Push { lstm_step_push p; };
#if defined(VARIANT_images_f32) || defined(VARIANT_images_f16)
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer w;
layout(binding = 1, rgba32ui) readonly uniform uimageBuffer before;
#define WEIGHTS(i) imageLoad(w, int(i))
#define BEFORE(i) uintBitsToFloat(imageLoad(before, int(i)))
#else
layout(binding = 0) readonly buffer W { uvec4 w[]; };
layout(binding = 1) readonly buffer Before { vec4 before[]; };
#define WEIGHTS(i) w[i]
#define BEFORE(i) before[i]
#endif
layout(binding = 2) readonly buffer Gates { float gates[]; };
layout(binding = 3) writeonly buffer State { float state[]; };
layout(binding = 4) buffer Cell { float cell[]; };
layout(binding = 5) buffer Y { float y[]; };

vec4 h[B * QUADS];
float sums[8 * B]; // [unit * 4 + gate][sequence]

#ifdef HALVES
// The bits of an f16 moved into an f32 are worth 2^-112 of it: exact, and undone
// for the whole sum by p.scale. h is lifted meanwhile, so that products stay
// clear of the denormal range. The arithmetic shift leaves copies of the sign,
// which the mask takes off the exponent.
#define LIFT uintBitsToFloat(0x5f800000u) // 2^64

void multiply(uint r, uvec4 v)
{
    const vec4 even = uintBitsToFloat(uvec4(ivec4(v << 16) >> 3) & 0x8fffe000u);
    const vec4 odd = uintBitsToFloat(uvec4(ivec4(v) >> 3) & 0x8fffe000u);
    [[unroll]] for (uint b = 0; b < B; b++) { // a tree: one addition waits for the round before
        const vec4 p = even * vec4(h[2 * b].xz, h[2 * b + 1].xz) + odd * vec4(h[2 * b].yw, h[2 * b + 1].yw);
        sums[r * B + b] += (p.x + p.y) + (p.z + p.w);
    }
}
#else
#define LIFT 1.0

void multiply(uint r, uvec4 v)
{
    [[unroll]] for (uint b = 0; b < B; b++) {
        const vec4 p = uintBitsToFloat(v) * h[b];
        sums[r * B + b] += (p.x + p.y) + (p.z + p.w);
    }
}
#endif

// sums = W h for the gates of two units.
void multiply_rows(uint first, uint second)
{
    [[unroll]] for (uint i = 0; i < 8 * B; i++)
        sums[i] = 0.0;
    uint at[8];
    [[unroll]] for (uint r = 0; r < 8; r++)
        at[r] = ((r < 4 ? first : second) + (r & 3) * p.hidden) * p.blocks;
    for (uint k = gl_LocalInvocationID.x; k < p.blocks; k += gl_WorkGroupSize.x) {
        [[unroll]] for (uint b = 0; b < B; b++)
            [[unroll]] for (uint q = 0; q < QUADS; q++)
                h[b * QUADS + q] = LIFT * BEFORE(p.state_in + b * p.state_quads + QUADS * k + q);
        [[unroll]] for (uint r = 0; r < 8; r++)
            multiply(r, WEIGHTS(at[r] + k));
    }
    [[unroll]] for (uint i = 0; i < 8 * B; i++)
        sums[i] = subgroupAdd(sums[i]) * p.scale;
}

// What this lane is to finish: a unit of a sequence, and its sums.
#define NOTHING 0xffffffffu
#define LANES gl_WorkGroupSize.x
const uint TOGETHER = LANES > 2 * B ? LANES / (2 * B) : 1; // pairs of units
const uint ROUNDS = (2 * B * TOGETHER + LANES - 1) / LANES;
uint unit_of[ROUNDS], sequence_of[ROUNDS];
float gate_of[4 * ROUNDS];

// The sums of the pair number `pair` of those together.
void hand_out(uint pair, uint first, uint second)
{
    [[unroll]] for (uint i = 0; i < 2 * B; i++) {
        const uint b = i % B, place = pair * 2 * B + i, round = TOGETHER > 1 ? 0 : i / LANES;
        if (gl_LocalInvocationID.x == place % LANES && p.gates_row[b] != LSTM_NO_ROW) {
            unit_of[round] = i < B ? first : second;
            sequence_of[round] = b;
            [[unroll]] for (uint g = 0; g < 4; g++)
                gate_of[4 * round + g] = sums[(i / B * 4 + g) * B + b];
        }
    }
}

void finish(uint round)
{
    const uint unit = unit_of[round], b = sequence_of[round];
    if (unit == NOTHING)
        return;
    const uint from = p.gates_row[b] * 4 * p.hidden + unit;
    vec4 gate;
    [[unroll]] for (uint g = 0; g < 4; g++)
        gate[g] = gate_of[4 * round + g] + gates[from + g * p.hidden];
    const vec2 now = lstm_cell(gate, cell[b * p.hidden + unit]);
    cell[b * p.hidden + unit] = now.x;
    state[4 * (p.state_out + b * p.state_quads) + unit] = now.y;
    const uint to = p.y_row[b] * p.hidden + unit;
    y[to] = (p.flags & LSTM_STEP_ADD) != 0 ? y[to] + now.y : now.y;
}

void main()
{
    const uint half_units = (p.hidden + 1) / 2;
    const uint end = min((gl_WorkGroupID.x + 1) * p.pairs, half_units);
    for (uint from = gl_WorkGroupID.x * p.pairs; from < end; from += TOGETHER) {
        [[unroll]] for (uint round = 0; round < ROUNDS; round++)
            unit_of[round] = NOTHING;
        for (uint pair = 0; pair < TOGETHER && from + pair < end; pair++) {
            const uint first = from + pair, second = first + half_units;
            multiply_rows(first, min(second, p.hidden - 1));
            hand_out(pair, first, second < p.hidden ? second : NOTHING);
        }
        [[unroll]] for (uint round = 0; round < ROUNDS; round++)
            finish(round);
    }
}
