// attention_step: y[r, h] = softmax(q[r, h] K[r, h]^T * scale) V[r, h]
//
// Every row has its own keys in the cache: those of the positions up to its own
// (self), or of all frames of its condition (cross).
//
// rows    (R)   decode_row; those of other groups of slots are passed over
// slots         slot_state
// q       (R, heads, width)  f32 in texels, rows p.q_stride apart
// keys, values  the cache, as kv_append.comp lays it out
// y       (R, heads, width)  f32, rows p.y_stride apart
// width = TEXELS * elements in a texel
//
// A subgroup takes blocks of keys with a running maximum. For the scores a lane
// takes a key; for the sum a lane takes SHARE texels of the values, and where
// a head has fewer texels than there are lanes, TEAMS of lanes take a key each.
// Several subgroups take every so-manieth block and add up at the end. The
// order of every sum depends on the row's own length only.
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
layout(constant_id = 4) const bool SHIFTED = false; // how halves are unpacked

layout(push_constant) uniform Push { attention_step_push p; };
layout(binding = 0) readonly buffer Rows { decode_row rows[]; };
layout(binding = 1) readonly buffer Slots { slot_state slots[]; };
#if defined(VARIANT_f32_buffer) || defined(VARIANT_f16_buffer)
layout(binding = 2) readonly buffer Q { vec4 q[]; };
layout(binding = 3) readonly buffer Keys { uvec4 keys[]; };
layout(binding = 4) readonly buffer Values { uvec4 values[]; };
#define FETCH_Q(i) q[i]
#define FETCH(from, i) from[i]
#else
layout(binding = 2) uniform utextureBuffer q;
layout(binding = 3) uniform utextureBuffer keys;
layout(binding = 4) uniform utextureBuffer values;
#define FETCH_Q(i) uintBitsToFloat(texelFetch(q, int(i)))
#define FETCH(from, i) texelFetch(from, int(i))
#endif
layout(binding = 5) writeonly buffer Y { float y[]; };

#if defined(VARIANT_f16) || defined(VARIANT_f16_buffer)
#define ELEMENTS 8
#else
#define ELEMENTS 4
#endif

const uint TURNS = DECODE_BLOCK / LANES; // keys of a block that a lane takes
const uint TEAMS = LANES > TEXELS ? LANES / TEXELS : 1;
const uint TEAM_TURNS = (LANES + TEAMS - 1) / TEAMS;
const uint SHARE = (TEXELS + LANES - 1) / LANES;

const float LEAST = -3.0e38;

shared float all_top[SUBGROUPS];
shared float all_mass[SUBGROUPS];
shared float all_sum[SUBGROUPS * TEXELS * ELEMENTS];

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

void main()
{
    const uint lane = gl_SubgroupInvocationID;
    const uint subgroup = SUBGROUPS > 1 ? gl_SubgroupID : 0;
    const uint r = gl_WorkGroupID.x;
    const decode_row row = rows[p.first_row + r];
    if (row.slot / p.group_slots != p.group)
        return;
    uint keys_total = slots[row.slot].frames;
    if ((p.flags & ATTENTION_STEP_CROSS) == 0)
        keys_total = 1 + (row.position == DECODE_AT_STEP ? slots[row.slot].position[0] : row.position);

    const uint cache_row = row.slot % p.group_slots * p.branches + row.branch;
    const uint start = (cache_row * p.heads + gl_WorkGroupID.y) * p.blocks * DECODE_BLOCK * TEXELS;
    const uint q_start = p.q_offset + r * p.q_stride + gl_WorkGroupID.y * (TEXELS * ELEMENTS / 4);

    const uint team = TEAMS > 1 ? lane / TEXELS : 0;
    const uint first_texel = TEAMS > 1 ? lane % TEXELS : lane;

    const float query_scale = SHIFTED ? 1.267650600228229401e30 : 1.0; // 2^100
    const float score_scale = p.scale * (SHIFTED ? HALVES_SHIFTED / 1.267650600228229401e30 : 1.0);
    const float weight_scale = SHIFTED ? HALVES_SHIFTED : 1.0;

    float top = LEAST;
    float mass = 0.0; // this lane's part
    float sum[SHARE * ELEMENTS];
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
        sum[i] = 0.0;

    for (uint base = subgroup * DECODE_BLOCK; base < keys_total; base += SUBGROUPS * DECODE_BLOCK) {
        const uint block = start + base * TEXELS; // the same for keys and values
        float score[TURNS];
        [[unroll]] for (uint i = 0; i < TURNS; i++)
            score[i] = 0.0;
        for (uint t = 0; t < TEXELS; t++) {
            float query[ELEMENTS];
            [[unroll]] for (uint i = 0; i < ELEMENTS / 4; i++) {
                const vec4 part = FETCH_Q(q_start + t * (ELEMENTS / 4) + i) * query_scale;
                query[4 * i] = part.x;
                query[4 * i + 1] = part.y;
                query[4 * i + 2] = part.z;
                query[4 * i + 3] = part.w;
            }
            [[unroll]] for (uint i = 0; i < TURNS; i++) {
                float e[ELEMENTS];
                unpack(FETCH(keys, block + t * DECODE_BLOCK + i * LANES + lane), e);
                [[unroll]] for (uint j = 0; j < ELEMENTS; j++)
                    score[i] += query[j] * e[j];
            }
        }

        float new_top = top;
        [[unroll]] for (uint i = 0; i < TURNS; i++) {
            score[i] = base + i * LANES + lane < keys_total ? score[i] * score_scale : LEAST;
            new_top = max(new_top, score[i]);
        }
        new_top = subgroupMax(new_top);
        const float fade = exp(top - new_top);
        top = new_top;
        mass *= fade;
        [[unroll]] for (uint i = 0; i < TURNS; i++) {
            score[i] = exp(score[i] - top);
            mass += score[i];
            score[i] *= weight_scale;
        }
        [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++)
            sum[i] *= fade;

        [[unroll]] for (uint i = 0; i < TURNS; i++)
            [[unroll]] for (uint j = 0; j < TEAM_TURNS; j++) {
                const uint from = min(j * TEAMS + team, LANES - 1);
                float weight = subgroupShuffle(score[i], from);
                if (TEAMS > 1 && (team >= TEAMS || j * TEAMS + team >= LANES))
                    weight = 0.0;
                const uint at = block + (i * LANES + from) * TEXELS + first_texel;
                [[unroll]] for (uint n = 0; n < SHARE; n++) {
                    if (SHARE * LANES > TEXELS && TEAMS == 1 && n * LANES + lane >= TEXELS)
                        continue;
                    float e[ELEMENTS];
                    unpack(FETCH(values, at + n * LANES), e);
                    [[unroll]] for (uint k = 0; k < ELEMENTS; k++)
                        sum[n * ELEMENTS + k] += weight * e[k];
                }
            }
    }

    mass = subgroupAdd(mass);
    for (uint other = 1; other < TEAMS; other++)
        [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++) {
            const float theirs = subgroupShuffle(sum[i], min(lane + other * TEXELS, LANES - 1));
            sum[i] += team == 0 ? theirs : 0.0;
        }

    if (SUBGROUPS > 1) {
        [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++) {
            const uint texel = i / ELEMENTS * LANES + first_texel;
            if (team == 0 && texel < TEXELS)
                all_sum[(subgroup * TEXELS + texel) * ELEMENTS + i % ELEMENTS] = sum[i];
        }
        if (lane == 0) {
            all_top[subgroup] = top;
            all_mass[subgroup] = mass;
        }
        barrier();
        if (subgroup != 0)
            return;
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

    const float share = mass > 0.0 ? 1.0 / mass : 0.0;
    const uint to = p.y_offset + r * p.y_stride + gl_WorkGroupID.y * TEXELS * ELEMENTS;
    [[unroll]] for (uint i = 0; i < SHARE * ELEMENTS; i++) {
        const uint texel = i / ELEMENTS * LANES + first_texel;
        if (team == 0 && texel < TEXELS)
            y[to + texel * ELEMENTS + i % ELEMENTS] = sum[i] * share;
    }
}
