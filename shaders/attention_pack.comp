// attention_pack: one operand of attention, scaled, in the order attention.comp reads.
//
// x (batch, rows, heads, D)  f32, rows p.x_stride apart
// y, blocks of 4 numbers of a row, zeros beyond D and beyond p.rows:
//   tiled        [batch][head][row / 8][block][row % 8]   q and k: 8 lanes read 8 rows
//   row by row   [batch][head][row][block]                v: neighbouring lanes, neighbouring blocks
//
// Grid: x: blocks of one head / 64, y: heads, z: batches.
// Reference: worker/ops/attention_test.c.
#version 450
#extension GL_GOOGLE_include_directive : require

#include "attention.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { attention_pack_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };

void main()
{
    const uint i = gl_GlobalInvocationID.x; // of the output
    if (i >= p.rows_padded * p.blocks)
        return;
    uint row = i / p.blocks;
    uint block = i % p.blocks;
    if (p.tiled != 0) {
        row = i / (p.blocks * ATTENTION_TILE) * ATTENTION_TILE + i % ATTENTION_TILE;
        block = i / ATTENTION_TILE % p.blocks;
    }
    const uint head = gl_WorkGroupID.y;
    const uint batch = gl_WorkGroupID.z;
    const uint from = p.x_offset + batch * p.x_batch + row * p.x_stride + head * p.dims;
    vec4 v = vec4(0.0);
    for (uint e = 0; e < 4; e++)
        if (row < p.rows && 4 * block + e < p.dims)
            v[e] = x[from + 4 * block + e] * p.scale;
    y[p.to + (batch * gl_NumWorkGroups.y + head) * p.rows_padded * p.blocks + i] = v;
}
