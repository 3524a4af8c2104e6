// attention_pack: one operand of attention, scaled, in the order attention.comp reads.
//
// x (batch, rows, heads, D)  f32, rows p.x_stride apart; the texels variant wants
//   D, p.x_offset, p.x_stride and p.x_batch to be multiples of 4
// y, blocks of 4 numbers of a row, zeros beyond D and beyond p.rows:
//   tiled        [batch][head][row / 8][block][row % 8]   q and k: 8 lanes read 8 rows
//   row by row   [batch][head][row][block]                v: neighbouring lanes, neighbouring blocks
//
// Grid: x: tiles of 8 rows, y: heads, z: batches.
// Reference: worker/ops/attention_test.c.
// variants: texels storage
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#include "attention.h"

layout(local_size_x = 64) in; // 8 rows by 8 blocks at a time

layout(push_constant) uniform Push { attention_pack_push p; };
#ifdef VARIANT_texels
#include "lib/pairs.glsl"
layout(binding = 0) uniform usamplerBuffer x;
layout(binding = 1) writeonly buffer Y { u64vec2 y[]; };
#define STORE(i, v) y[i] = pairs(v)
#else
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { vec4 y[]; };
#define STORE(i, v) y[i] = v
#endif

vec4 load(uint from, uint block)
{
#ifdef VARIANT_texels
    return uintBitsToFloat(texelFetch(x, int(from / 4 + block)));
#else
    vec4 v = vec4(0.0);
    for (uint e = 0; e < 4; e++)
        if (4 * block + e < p.dims)
            v[e] = x[from + 4 * block + e];
    return v;
#endif
}

void main()
{
    const uint high = gl_LocalInvocationID.x / ATTENTION_TILE;
    const uint low = gl_LocalInvocationID.x % ATTENTION_TILE;
    const bool tiled = p.tiled != 0;
    const uint row = gl_WorkGroupID.x * ATTENTION_TILE + (tiled ? low : high);
    const uint from = p.x_offset + gl_WorkGroupID.z * p.x_batch + row * p.x_stride + gl_WorkGroupID.y * p.dims;
    const uint head = gl_WorkGroupID.z * gl_NumWorkGroups.y + gl_WorkGroupID.y;
    const uint to = p.to + (head * gl_NumWorkGroups.x + gl_WorkGroupID.x) * ATTENTION_TILE * p.blocks +
                    (tiled ? low : high * p.blocks);
    for (uint block = tiled ? high : low; block < p.blocks; block += ATTENTION_TILE) {
        const bool there = row < p.rows && 4 * block < p.dims;
        STORE(to + block * (tiled ? ATTENTION_TILE : 1), there ? load(from, block) * p.scale : vec4(0.0));
    }
}
