// attention_step: y[r, h] = softmax(q[r, h] K[r, h]^T * scale) V[r, h]
//
// Every row has its own keys in the cache: those of the positions up to its own
// (self), or of all frames of its condition (cross).
//
// rows    (R)   decode_row; those of other groups of slots are passed over
// slots         slot_state
// q       (R, heads, width)  f32 in texels, rows p.q_stride apart
// keys, values  the cache, as kv_append.comp lays it out
// y       (R, heads, width)  f32 in texels, rows p.y_stride apart
// width = TEXELS * elements in a texel
//
// A subgroup takes KEYS keys at a time with a running maximum. For the scores a
// lane takes a key; for the sum a lane takes SHARE texels of the values, and where
// a head has fewer texels than there are lanes, TEAMS of lanes take a key each.
// Several subgroups take every so-manieth lot and add up at the end. The order of
// every sum depends on the row's own length only.
//
// Grid: x: R, y: heads.
// Reference: worker/ops/attention_step_test.c.
// variants: f32 f16 f32_buffer f16_buffer
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require

#include "lib/half.glsl"
#include "decode.h"
#include "attention_step.h"

layout(local_size_x_id = 0) in; // LANES * SUBGROUPS
layout(constant_id = 1) const uint LANES = 8;
layout(constant_id = 2) const uint SUBGROUPS = 1;
layout(constant_id = 3) const uint TEXELS = 8;
layout(constant_id = 4) const uint KEYS = 64; // a multiple of LANES, a part of DECODE_BLOCK
layout(constant_id = 5) const bool SHIFTED = false; // how halves are unpacked
// For drivers on a CPU with many lanes: there a fetch costs the same for one lane as for
// all, a reduction goes from lane to lane, and a shuffle by constants is one instruction.
layout(constant_id = 6) const bool SHUFFLING = false;

layout(push_constant) uniform Push { attention_step_push p; };
layout(binding = 0) readonly buffer Rows { decode_row rows[]; };
layout(binding = 1) readonly buffer Slots { slot_state slots[]; };
#if defined(VARIANT_f32_buffer) || defined(VARIANT_f16_buffer)
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer Keys { uvec4 keys[]; };
layout(binding = 4) readonly buffer Values { uvec4 values[]; };
layout(binding = 5) writeonly buffer Y { vec4 y[]; };
#define FETCH_Q(i) q[i]
#define FETCH(from, i) from[i]
#define STORE_Y(i, v) y[i] = v
#else
layout(binding = 2, rgba32ui) readonly uniform uimageBuffer q;
layout(binding = 3, rgba32ui) readonly uniform uimageBuffer keys;
layout(binding = 4, rgba32ui) readonly uniform uimageBuffer values;
layout(binding = 5, rgba32ui) writeonly uniform uimageBuffer y;
#define FETCH_Q(i) uintBitsToFloat(imageLoad(q, int(i)))
#define FETCH(from, i) imageLoad(from, int(i))
#define STORE_Y(i, v) imageStore(y, int(i), floatBitsToUint(v))
#endif

#if defined(VARIANT_f16) || defined(VARIANT_f16_buffer)
#define ELEMENTS 8
#else
#define ELEMENTS 4
#endif
#define QUADS (ELEMENTS / 4) // of floats in a texel of the cache

const uint TURNS = KEYS / LANES; // keys of a lot that a lane takes
const uint TEAMS = LANES > TEXELS ? LANES / TEXELS : 1;
const uint TEAM_TURNS = (LANES + TEAMS - 1) / TEAMS;
const uint SHARE = (TEXELS + LANES - 1) / LANES;

const float LEAST = -3.0e38;

shared float all_top[SUBGROUPS];
shared float all_mass[SUBGROUPS];
shared float all_sum[SUBGROUPS * TEXELS * ELEMENTS];

uint lane, subgroup;
uint team, first_texel; // which of the values' texels this lane sums
float query_scale, score_scale, weight_scale;

float top;   // of the scores so far
float mass;  // of this lane's keys so far, relative to top
float score[TURNS];
float sum[SHARE * ELEMENTS];

// A texel's elements. SHIFTED leaves them 2^112 times too small: the queries make
// up for 2^100 of it, which keeps them far from overflow, the scores for the rest;
// the weights of the values for all of it.
#if ELEMENTS == 8
void unpack(uvec4 v, out float e[8])
{
    if (SHIFTED)
        halves_shifted(v, e);
    else
        halves(v, e);
}
#else
void unpack(uvec4 v, out float e[4])
{
    [[unroll]] for (uint i = 0; i < 4; i++)
        e[i] = uintBitsToFloat(v[i]);
}
#endif

// Products of a texel's elements of the query with those of a lot of keys.
void add_products(vec4 part[QUADS], uint texel)
{
    [[unroll]] for (uint i = 0; i < TURNS; i++) {
        float e[ELEMENTS];
        unpack(FETCH(keys, texel + i * LANES + lane), e);
        [[unroll]] for (uint j = 0; j < ELEMENTS; j++)
            score[i] = fma(part[j / 4][j % 4], e[j], score[i]);
    }
}

// Products of the query with a lot of keys, a lane's own keys in score[].
void take_scores(uint query, uint lot)
{
    [[unroll]] for (uint i = 0; i < TURNS; i++)
        score[i] = 0.0;
    vec4 part[QUADS];
    if (!SHUFFLING) {
        for (uint t = 0; t < TEXELS; t++) {
            [[unroll]] for (uint i = 0; i < QUADS; i++)
                part[i] = FETCH_Q(query + t * QUADS + i) * query_scale;
            add_products(part, lot + t * DECODE_BLOCK);
        }
        return;
    }
    [[unroll]] for (uint first = 0; first < TEXELS; first += LANES / QUADS) {
        // A lane has four elements of the query; they move on by a texel each time.
        vec4 held = FETCH_Q(query + min(first * QUADS + lane, TEXELS * QUADS - 1)) * query_scale;
        [[dont_unroll]] for (uint t = first; t < min(first + LANES / QUADS, TEXELS); t++) {
            [[unroll]] for (uint i = 0; i < QUADS; i++)
                part[i] = subgroupShuffle(held, i);
            held = subgroupShuffle(held, (lane + QUADS) % LANES);
            add_products(part, lot + t * DECODE_BLOCK);
        }
    }
}

float highest_of_all(float v)
{
    if (!SHUFFLING)
        return subgroupMax(v);
    [[unroll]] for (uint i = 0; i < 6; i++)
        if (1u << i < LANES)
            v = max(v, subgroupShuffle(v, lane ^ (1u << i)));
    return v;
}

// Scores to weights of the values. `count`: keys of the lot that are there.
void take_weights(uint count)
{
    float highest = top;
    [[unroll]] for (uint i = 0; i < TURNS; i++) {
        score[i] = i * LANES + lane < count ? score[i] * score_scale : LEAST;
        highest = max(highest, score[i]);
    }
    highest = highest_of_all(highest);
    const float fade = exp(top - highest);
    top = highest;
    mass *= fade;
    [[unroll]] for (uint i = 0; i < TURNS; i++) {
        const float weight = exp(score[i] - top);
        mass += weight;
        score[i] = weight * weight_scale;
    }
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
        sum[i] *= fade;
}

void take_values(uint lot)
{
    [[unroll]] for (uint i = 0; i < TURNS; i++)
        [[unroll]] for (uint j = 0; j < TEAM_TURNS; j++) {
            const uint from = min(j * TEAMS + team, LANES - 1);
            float weight = subgroupShuffle(score[i], from);
            if (TEAMS > 1 && (team >= TEAMS || j * TEAMS + team >= LANES))
                weight = 0.0;
            const uint at = lot + (i * LANES + from) * TEXELS + first_texel;
            [[unroll]] for (uint n = 0; n < SHARE; n++) {
                float e[ELEMENTS];
                const uint texel = SHARE * LANES > TEXELS && TEAMS == 1
                                       ? min(n * LANES, TEXELS - 1 - first_texel) : n * LANES;
                unpack(FETCH(values, at + texel), e);
                [[unroll]] for (uint k = 0; k < ELEMENTS; k++)
                    sum[n * ELEMENTS + k] = fma(weight, e[k], sum[n * ELEMENTS + k]);
            }
        }
}

// What the lanes of a subgroup hold in parts.
void join_lanes()
{
    mass = subgroupAdd(mass);
    for (uint other = 1; other < TEAMS; other++)
        [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++) {
            const float theirs = subgroupShuffle(sum[i], min(lane + other * TEXELS, LANES - 1));
            sum[i] += team == 0 ? theirs : 0.0;
        }
}

// Is the texel that sum[n * ELEMENTS ..] stands for this lane's to tell?
bool owns(uint n)
{
    return team == 0 && n * LANES + first_texel < TEXELS;
}

void join_subgroups()
{
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
        if (owns(i / ELEMENTS))
            all_sum[(subgroup * TEXELS + i / ELEMENTS * LANES + first_texel) * ELEMENTS + i % ELEMENTS] = sum[i];
    if (lane == 0) {
        all_top[subgroup] = top;
        all_mass[subgroup] = mass;
    }
    barrier();
    for (uint s = 0; s < SUBGROUPS; s++)
        top = max(top, all_top[s]);
    mass = 0.0;
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
        sum[i] = 0.0;
    for (uint s = 0; s < SUBGROUPS; s++) {
        const float fade = exp(all_top[s] - top);
        mass += all_mass[s] * fade;
        [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++) {
            const uint texel = min(i / ELEMENTS * LANES + first_texel, TEXELS - 1);
            sum[i] += all_sum[(s * TEXELS + texel) * ELEMENTS + i % ELEMENTS] * fade;
        }
    }
}

void store(uint to)
{
    const float share = mass > 0.0 ? 1.0 / mass : 0.0;
    [[unroll]] for (uint i = 0; i < SHARE * QUADS; i++)
        if (owns(i / QUADS))
            STORE_Y(to + (i / QUADS * LANES + first_texel) * QUADS + i % QUADS,
                    share * vec4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]));
}

void main()
{
    const uint r = gl_WorkGroupID.x;
    const uint head = gl_WorkGroupID.y;
    const decode_row row = rows[p.first_row + r];
    const uint slot = row.slot - p.first_slot; // of the group
    if (slot >= p.group_slots)
        return;
    uint total = slots[row.slot].frames;
    if ((p.flags & ATTENTION_STEP_CROSS) == 0)
        total = 1 + (row.position == DECODE_AT_STEP ? slots[row.slot].position[0] : row.position);

    lane = gl_SubgroupInvocationID;
    subgroup = SUBGROUPS > 1 ? gl_SubgroupID : 0;
    team = TEAMS > 1 ? lane / TEXELS : 0;
    first_texel = TEAMS > 1 ? lane % TEXELS : min(lane, TEXELS - 1);
    query_scale = SHIFTED ? 1.267650600228229401e30 : 1.0; // 2^100
    score_scale = p.scale * (SHIFTED ? HALVES_SHIFTED / 1.267650600228229401e30 : 1.0);
    weight_scale = SHIFTED ? HALVES_SHIFTED : 1.0;
    top = LEAST;
    mass = 0.0;
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
        sum[i] = 0.0;

    const uint cache_row = slot * p.branches + row.branch;
    const uint start = (cache_row * p.heads + head) * p.blocks * DECODE_BLOCK * TEXELS;
    const uint query = p.q_offset + r * p.q_stride + head * TEXELS * QUADS;
    for (uint base = subgroup * KEYS; base < total; base += SUBGROUPS * KEYS) {
        take_scores(query, start + base / DECODE_BLOCK * DECODE_BLOCK * TEXELS + base % DECODE_BLOCK);
        take_weights(total - base);
        take_values(start + base * TEXELS);
    }
    join_lanes();
    if (SUBGROUPS > 1) {
        join_subgroups();
        if (subgroup != 0)
            return;
    }
    store(p.y_offset + r * p.y_stride + head * TEXELS * QUADS);
}
