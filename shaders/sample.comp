// sample: draw the next token of one codebook of one sequence, and move it on.
//
//   x = (null + (cond - null) guidance) / temperature,  w = exp(x - max x)
//   kept: top_p > 0: from the largest on, while what came before is <= top_p of
//         the mass (equals in vocabulary order); else top_k > 0: those not
//         below the k-th largest; else all
//   token = the last one kept whose predecessors' mass is <= u * kept mass,
//           u = Philox4x32-10(counter (column, codebook, 0, 0), key seed)[0] / 2^32
//           to 24 bits
//   temperature <= 0: the first of the largest
//   logits that are no numbers: a token without meaning, and the slot is `broken`
//
// draws     (D)           sample_draw
// slots                   slot_state; position[codebook] moves on by one
// tokens    (slots, K, p.token_stride)  written where unknown
// logits    (rows, K, card)  f32 in texels
// distribution (D, K, card)  f32, laid out like a row of logits
//
// The k-th largest and the edge of the nucleus are found by the same search: the
// largest key v (floats ordered as integers) such that the weight of all keys
// >= v reaches a limit, two bits of it at a time.
//
// Grid: x: D, y: K; workgroups of one subgroup.
// Reference: worker/ops/sample_test.c.
// variants: texel buffer
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require

#include "lib/philox.glsl"
#include "sample.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { sample_push p; };
layout(binding = 0) readonly buffer Draws { sample_draw draws[]; };
layout(binding = 1) buffer Slots { slot_state slots[]; };
layout(binding = 2) buffer Tokens { uint tokens[]; };
#ifdef VARIANT_texel
layout(binding = 3) uniform utextureBuffer logits;
#define FETCH(i) uintBitsToFloat(texelFetch(logits, int(i)))
#else
layout(binding = 3) readonly buffer Logits { vec4 logits[]; };
#define FETCH(i) logits[i]
#endif
layout(binding = 4) writeonly buffer Distribution { float distribution[]; };

const float LEAST = -3.0e38;

uint lane, lanes, texels; // texels: of one codebook
uint cond_start, null_start;
float guidance;
float temperature; // 1 in place of <= 0

vec4 scores(uint t)
{
    const vec4 cond = FETCH(cond_start + t);
    const vec4 null = FETCH(null_start + t);
    vec4 x = (null + (cond - null) * guidance) / temperature;
    [[unroll]] for (uint i = 0; i < 4; i++)
        x[i] = 4 * t + i < p.card ? x[i] : LEAST;
    return x;
}

// Floats in their order as unsigned numbers; both zeros are one.
uint key_of(float x)
{
    const uint bits = x == 0.0 ? 0u : floatBitsToUint(x);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

float float_of(uint key)
{
    return uintBitsToFloat((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

bool inside(uint t, uint i)
{
    return 4 * t + i < p.card;
}

float largest()
{
    float top = LEAST;
    for (uint t = lane; t < texels; t += lanes) {
        const vec4 x = scores(t);
        top = max(top, max(max(x.x, x.y), max(x.z, x.w)));
    }
    return subgroupMax(top);
}

// The mass of all keys >= least.
float mass_from(uint least, float top)
{
    float mass = 0.0;
    for (uint t = lane; t < texels; t += lanes) {
        const vec4 x = scores(t);
        [[unroll]] for (uint i = 0; i < 4; i++)
            mass += inside(t, i) && key_of(x[i]) >= least ? exp(x[i] - top) : 0.0;
    }
    return subgroupAdd(mass);
}

uint count_search(float wanted)
{
    uint v = 0;
    for (int shift = 30; shift >= 0; shift -= 2) {
        vec3 found = vec3(0.0);
        for (uint t = lane; t < texels; t += lanes) {
            const vec4 x = scores(t);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                const uint digit = inside(t, i) && key_of(x[i]) >= v ? (key_of(x[i]) - v) >> shift : 0;
                found += vec3(digit >= 1, digit >= 2, digit >= 3);
            }
        }
        found = subgroupAdd(found);
        v += (found.z >= wanted ? 3u : found.y >= wanted ? 2u : found.x >= wanted ? 1u : 0u) << shift;
    }
    return v;
}

uint mass_search(float limit, float top)
{
    uint v = 0;
    for (int shift = 30; shift >= 0; shift -= 2) {
        vec3 found = vec3(0.0);
        for (uint t = lane; t < texels; t += lanes) {
            const vec4 x = scores(t);
            [[unroll]] for (uint i = 0; i < 4; i++) {
                const uint digit = inside(t, i) && key_of(x[i]) >= v ? (key_of(x[i]) - v) >> shift : 0;
                found += vec3(digit >= 1, digit >= 2, digit >= 3) * exp(x[i] - top);
            }
        }
        found = subgroupAdd(found);
        v += (found.z > limit ? 3u : found.y > limit ? 2u : found.x > limit ? 1u : 0u) << shift;
    }
    return v;
}

// One walk over the vocabulary in its order.
struct walk {
    uint edge;    // the least key kept
    uint equals;  // how many of those equal to the edge are kept
    float top;
    float target; // of the running mass; the last token kept at or below it is chosen
    float share;  // of a weight in the distribution
    bool write;
};

// The mass of all that is kept.
float vocabulary(walk w, out uint chosen)
{
    float before = 0.0;
    uint equals_before = 0;
    chosen = 0;
    const uint to = (gl_WorkGroupID.x * p.codebooks + gl_WorkGroupID.y) * p.codebook_texels * 4;
    for (uint base = 0; base < texels; base += lanes) {
        const uint t = base + lane;
        const vec4 x = scores(min(t, texels - 1));
        uvec4 key;
        uint equals = 0;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            key[i] = t < texels && inside(t, i) ? key_of(x[i]) : 0;
            equals += key[i] == w.edge ? 1 : 0;
        }
        uint rank = equals_before + subgroupExclusiveAdd(equals);
        equals_before += subgroupAdd(equals);
        vec4 weight;
        float sum = 0.0;
        [[unroll]] for (uint i = 0; i < 4; i++) {
            const bool equal = key[i] == w.edge;
            const bool kept = key[i] > w.edge || (equal && rank < w.equals);
            rank += equal ? 1 : 0;
            weight[i] = kept ? exp(x[i] - w.top) : 0.0;
            sum += weight[i];
        }
        float at = before + subgroupExclusiveAdd(sum);
        before += subgroupAdd(sum);
        [[unroll]] for (uint i = 0; i < 4; i++) {
            if (weight[i] > 0.0 && at <= w.target)
                chosen = 4 * t + i;
            at += weight[i];
            if (w.write && t < texels && inside(t, i))
                distribution[to + 4 * t + i] = weight[i] * w.share;
        }
    }
    chosen = subgroupMax(chosen);
    return before;
}

// What of the vocabulary is kept: everything, unless the settings say less.
void restrict_to(uint top_k, float top_p, inout walk w)
{
    if (top_p > 0.0) {
        const float limit = top_p * mass_from(0, w.top);
        const uint edge = mass_search(limit, w.top);
        if (edge == 0)
            return; // the nucleus is all of it
        const float above = mass_from(edge + 1, w.top);
        const float each = max(exp(float_of(edge) - w.top), 1.0e-30);
        w.edge = edge;
        w.equals = 1 + uint(clamp((limit - above) / each, 0.0, float(p.card)));
    } else if (top_k > 0 && top_k < p.card) {
        w.edge = count_search(float(top_k));
    }
}

// The largest alone weighs 1. By the bits: compilers may take it that there are only numbers.
bool is_sound(float mass)
{
    return floatBitsToUint(mass) >= 0x3f000000u && floatBitsToUint(mass) < 0x7f800000u; // 0.5, infinity
}

void main()
{
    const uint codebook = gl_WorkGroupID.y;
    const sample_draw draw = draws[gl_WorkGroupID.x];
    const uint slot = draw.slot;
    const uint step = slots[slot].position[codebook] + 1;
    const bool greedy = !(slots[slot].temperature > 0.0);
    const bool distribute = (p.flags & SAMPLE_DISTRIBUTION) != 0;
    lane = gl_LocalInvocationID.x;
    lanes = gl_WorkGroupSize.x;
    texels = (p.card + 3) / 4;
    cond_start = draw.cond * p.row_texels + codebook * p.codebook_texels;
    null_start = draw.null * p.row_texels + codebook * p.codebook_texels;
    guidance = slots[slot].guidance;
    temperature = greedy ? 1.0 : slots[slot].temperature;

    walk w;
    w.top = largest();
    w.edge = 1; // below the key of any number
    w.equals = p.card;
    w.target = 0.0;
    w.share = 1.0;
    w.write = false;
    if (greedy) {
        w.edge = key_of(w.top);
        w.equals = 1;
    } else {
        restrict_to(slots[slot].top_k, slots[slot].top_p, w);
    }
    uint token;
    const float mass = vocabulary(w, token);
    const uint column = step - 1 - p.delays[codebook]; // wraps at special steps, whose draw is not used
    const uint random = philox4x32(uvec4(column, codebook, 0, 0),
                                   uvec2(slots[slot].seed_low, slots[slot].seed_high)).x;
    w.target = float(random >> 8) * 5.9604644775390625e-8 * mass; // 2^-24
    w.share = 1.0 / mass;
    w.write = distribute;
    vocabulary(w, token);

    if (lane != 0 || distribute)
        return;
    const uint at = (slot * p.codebooks + codebook) * p.token_stride + step;
    if (tokens[at] == DECODE_UNKNOWN)
        tokens[at] = token;
    slots[slot].position[codebook] = step;
    if (!is_sound(mass))
        slots[slot].broken = 1;
}
