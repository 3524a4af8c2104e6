// kv_append: put the keys and values of some positions into the cache.
//
// rows    (R)   decode_row; those of other groups of slots are passed over
// slots         slot_state
// source  (R, ..)  f32: row r's keys from p.k_offset, its values from
//               p.v_offset on, head by head, rows p.stride apart
// keys    [cache row][head][block][texel][DECODE_BLOCK]: lanes that take a key
//               each read neighbouring texels
// values  [cache row][head][position][texel]: lanes that take a texel each do
//
// A texel is 4 elements in f32, 8 in f16 (clamped to its range: an infinity
// would poison whoever has the slot next).
//
// Grid: x: 2 * heads * texels / 64, y: R.
// Reference: worker/ops/attention_step_test.c.
// variants: f32 f16
#version 450
#extension GL_GOOGLE_include_directive : require

#include "decode.h"
#include "kv_append.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { kv_append_push p; };
layout(binding = 0) readonly buffer Rows { decode_row rows[]; };
layout(binding = 1) readonly buffer Slots { slot_state slots[]; };
layout(binding = 2) readonly buffer Source { float source[]; };
layout(binding = 3) writeonly buffer Keys { uvec4 keys[]; };
layout(binding = 4) writeonly buffer Values { uvec4 values[]; };

#ifdef VARIANT_f16
#define ELEMENTS 8
uint pair(uint i)
{
    return packHalf2x16(clamp(vec2(source[i], source[i + 1]), vec2(-65504.0), vec2(65504.0)));
}
uvec4 texel(uint i)
{
    return uvec4(pair(i), pair(i + 2), pair(i + 4), pair(i + 6));
}
#else
#define ELEMENTS 4
uvec4 texel(uint i)
{
    return floatBitsToUint(vec4(source[i], source[i + 1], source[i + 2], source[i + 3]));
}
#endif

void main()
{
    const uint r = gl_WorkGroupID.y;
    const decode_row row = rows[p.first_row + r];
    const uint texels = p.heads * p.texels;
    uint i = gl_GlobalInvocationID.x;
    if (i >= 2 * texels || row.slot / p.group_slots != p.group)
        return;
    const bool value = i >= texels;
    if (value)
        i -= texels;
    uint position = row.position;
    if (position == DECODE_AT_STEP)
        position = slots[row.slot].position[0];

    const uint cache_row = row.slot % p.group_slots * p.branches + row.branch;
    const uint head = cache_row * p.heads + i / p.texels;
    const uint t = i % p.texels;
    const uint from = r * p.stride + i * ELEMENTS;
    const uint start = head * p.blocks * DECODE_BLOCK * p.texels;
    if (value)
        values[start + position * p.texels + t] = texel(p.v_offset + from);
    else
        keys[start + (position / DECODE_BLOCK * p.texels + t) * DECODE_BLOCK +
             position % DECODE_BLOCK] = texel(p.k_offset + from);
}
