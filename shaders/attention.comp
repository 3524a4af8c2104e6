// attention: y[i, h, :] = sum_j softmax_j(q[i, h, :] . k[j, h, :] / sqrt(D)) v[j, h, :]
//
// Nothing is masked; queries and keys may differ in number. The operands come
// packed by attention_pack.comp, q scaled by log2(e) / sqrt(D), so that exp2
// serves.
//
// q  [batch][head][query / 8][block][query % 8]  blocks of 4 numbers of a row
// k  [batch][head][key / 8][block][key % 8]
// v  [batch][head][key][block]
// y  (batch, query, head, D)  f32, rows p.y_stride apart
//
// A workgroup is one subgroup and makes ROWS rows of one head, KEYS keys a lane
// at a time. Scores: lanes lie along the keys. The softmax is the running one of
// M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax",
// 2018. The weighted sum: V_LANES lanes lie along the blocks of a row of v, the
// groups of lanes along the keys. No shared memory: what other lanes hold comes
// by shuffles.
//
// Grid: x: query blocks, y: heads, z: batches.
// Reference: worker/ops/attention_test.c.
// variants: texels storage
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

#include "attention.h"

layout(local_size_x_id = 0) in; // the subgroup's size
layout(constant_id = 0) const uint LANES = 8;
layout(constant_id = 1) const uint ROWS = 8;      // queries of a workgroup: a multiple of 8
layout(constant_id = 2) const uint KEYS = 4;      // keys of a lane in one round
layout(constant_id = 3) const uint V_LANES = 8;   // power of two, <= LANES
layout(constant_id = 4) const uint V_BLOCKS = 2;  // blocks of v of a lane
layout(constant_id = 5) const bool PASSED_ON = false; // how lanes get the weights of the values

const uint Q_LOADS = ROWS > LANES ? ROWS / LANES : 1;  // loads for one block of all rows ...
const uint Q_BLOCKS = LANES > ROWS ? LANES / ROWS : 1; // ... or blocks that one load brings
const uint GROUPS = LANES / V_LANES;

layout(push_constant) uniform Push { attention_push p; };
#ifdef VARIANT_texels
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer packed;
#define LOAD(i) uintBitsToFloat(imageLoad(packed, int(i)))
#else
layout(binding = 0) readonly buffer Packed { vec4 packed[]; };
#define LOAD(i) packed[i]
#endif
layout(binding = 1) writeonly buffer Y { float y[]; };

#define LOWEST (-1e30)

// A block of row `row` in tiles of ATTENTION_TILE rows from `from` on.
uint tiled(uint from, uint row, uint block)
{
    return from + (row / ATTENTION_TILE * p.qk_blocks + block) * ATTENTION_TILE + row % ATTENTION_TILE;
}

float max_of_all(float v, uint lane)
{
    [[unroll]] for (uint i = 0; i < 6; i++)
        if (1u << i < LANES)
            v = max(v, subgroupShuffle(v, lane ^ (1u << i)));
    return v;
}

void main()
{
    const uint lane = gl_SubgroupInvocationID; // what drivers on a CPU take for a constant
    const uint row0 = gl_WorkGroupID.x * ROWS;
    const uint head = gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    const uint q_from = head * p.query_padded * p.qk_blocks;
    const uint k_from = p.k_from + head * p.key_padded * p.qk_blocks;
    const uint v_from = p.v_from + head * p.key_padded * (V_LANES * V_BLOCKS) + lane % V_LANES;
    const uint group = lane / V_LANES;

    vec4 sum[ROWS][V_BLOCKS];
    float most[ROWS];
    float total[ROWS]; // of this lane's keys
    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        most[r] = LOWEST;
        total[r] = 0.0;
        [[unroll]] for (uint n = 0; n < V_BLOCKS; n++)
            sum[r][n] = vec4(0.0);
    }

    for (uint key0 = 0; key0 < p.keys; key0 += LANES * KEYS) {
        float s[ROWS][KEYS];
        [[unroll]] for (uint c = 0; c < KEYS; c++)
            [[unroll]] for (uint r = 0; r < ROWS; r++)
                s[r][c] = key0 + c * LANES + lane < p.keys ? 0.0 : LOWEST;

        [[dont_unroll]] for (uint b0 = 0; b0 < p.qk_blocks; b0 += Q_BLOCKS) {
            vec4 q[Q_LOADS];
            [[unroll]] for (uint i = 0; i < Q_LOADS; i++)
                q[i] = LOAD(tiled(q_from, row0 + i * LANES + lane % ROWS, b0 + lane / ROWS % Q_BLOCKS));
            [[unroll]] for (uint b = 0; b < Q_BLOCKS; b++) {
                vec4 k[KEYS];
                [[unroll]] for (uint c = 0; c < KEYS; c++)
                    k[c] = LOAD(tiled(k_from, key0 + c * LANES + lane, b0 + b));
                [[unroll]] for (uint r = 0; r < ROWS; r++) {
                    const vec4 of_row = subgroupShuffle(q[r / LANES % Q_LOADS], (b * ROWS + r) % LANES);
                    [[unroll]] for (uint c = 0; c < KEYS; c++) {
                        s[r][c] += of_row.x * k[c].x;
                        s[r][c] += of_row.y * k[c].y;
                        s[r][c] += of_row.z * k[c].z;
                        s[r][c] += of_row.w * k[c].w;
                    }
                }
            }
        }

        [[unroll]] for (uint r = 0; r < ROWS; r++) {
            float m = most[r];
            [[unroll]] for (uint c = 0; c < KEYS; c++)
                m = max(m, s[r][c]);
            m = max_of_all(m, lane);
            const float fade = exp2(most[r] - m);
            most[r] = m;
            total[r] *= fade;
            [[unroll]] for (uint c = 0; c < KEYS; c++) {
                s[r][c] = exp2(s[r][c] - m);
                total[r] += s[r][c];
            }
            [[unroll]] for (uint n = 0; n < V_BLOCKS; n++)
                sum[r][n] *= fade;
        }

        // V_LANES times: key j of every group, in each of the KEYS rounds. PASSED_ON: the
        // weights move on by GROUPS lanes each time, so that all shuffles are by constants.
        [[dont_unroll]] for (uint j = 0; j < V_LANES; j++) {
            vec4 v[KEYS * V_BLOCKS];
            [[unroll]] for (uint c = 0; c < KEYS; c++)
                [[unroll]] for (uint n = 0; n < V_BLOCKS; n++)
                    v[c * V_BLOCKS + n] =
                        LOAD(v_from + ((key0 + c * LANES + j * GROUPS + group) * V_BLOCKS + n) * V_LANES);
            [[unroll]] for (uint r = 0; r < ROWS; r++) {
                float weight[KEYS];
                [[unroll]] for (uint c = 0; c < KEYS; c++) {
                    weight[c] = subgroupShuffle(s[r][c], PASSED_ON ? group : j * GROUPS + group);
                    if (PASSED_ON)
                        s[r][c] = subgroupShuffle(s[r][c], (lane + GROUPS) % LANES);
                }
                [[unroll]] for (uint n = 0; n < V_BLOCKS; n++)
                    [[unroll]] for (uint c = 0; c < KEYS; c++)
                        sum[r][n] += weight[c] * v[c * V_BLOCKS + n];
            }
        }
    }

    [[unroll]] for (uint r = 0; r < ROWS; r++) {
        [[unroll]] for (uint i = 0; i < 6; i++)
            if (1u << i < LANES)
                total[r] += subgroupShuffle(total[r], lane ^ (1u << i));
        const uint to = p.y_offset + gl_WorkGroupID.z * p.y_batch + (row0 + r) * p.y_stride +
                        gl_WorkGroupID.y * p.dims;
        [[unroll]] for (uint n = 0; n < V_BLOCKS; n++) {
            vec4 v = sum[r][n];
            [[unroll]] for (uint i = 0; i < 6; i++)
                if (1u << i >= V_LANES && 1u << i < LANES)
                    v += subgroupShuffle(v, lane ^ (1u << i));
            const uint d = 4 * (n * V_LANES + lane % V_LANES);
            [[unroll]] for (uint e = 0; e < 4; e++)
                if (group == 0 && row0 + r < p.queries && d + e < p.dims)
                    y[to + d + e] = v[e] / total[r];
        }
    }
}
