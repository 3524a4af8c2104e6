// kv_append: put the keys and values of some positions into the cache.
//
// rows    (R)   decode_row; those of other groups of slots are passed over
// slots         slot_state
// source  (R, ..)  f32 in texels: row r's keys from p.k_offset, its values from
//               p.v_offset on, head by head, rows p.stride apart
// keys    [cache row][head][block][texel][DECODE_BLOCK]: lanes that take a key
//               each read neighbouring texels
// values  [cache row][head][position][texel]: lanes that take a texel each do
//
// A texel is 4 elements in f32, 8 in f16 (clamped to its range: an infinity
// would poison whoever has the slot next).
//
// Grid: x: heads * TEXELS / 64, y: R.
// Reference: worker/ops/attention_step_test.c.
// variants: f32 f16 f32_buffer f16_buffer
#version 450
#extension GL_GOOGLE_include_directive : require

#include "decode.h"
#include "kv_append.h"

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint TEXELS = 8; // in a head of one position

layout(push_constant) uniform Push { kv_append_push p; };
layout(binding = 0) readonly buffer Rows { decode_row rows[]; };
layout(binding = 1) readonly buffer Slots { slot_state slots[]; };
#if defined(VARIANT_f32_buffer) || defined(VARIANT_f16_buffer)
layout(binding = 2) readonly buffer Source { vec4 source[]; };
layout(binding = 3) writeonly buffer Keys { uvec4 keys[]; };
layout(binding = 4) writeonly buffer Values { uvec4 values[]; };
#define FETCH(i) source[i]
#define STORE(to, i, v) to[i] = v
#else
layout(binding = 2, rgba32ui) readonly uniform uimageBuffer source;
layout(binding = 3, rgba32ui) writeonly uniform uimageBuffer keys;
layout(binding = 4, rgba32ui) writeonly uniform uimageBuffer values;
#define FETCH(i) uintBitsToFloat(imageLoad(source, int(i)))
#define STORE(to, i, v) imageStore(to, int(i), v)
#endif

#if defined(VARIANT_f16) || defined(VARIANT_f16_buffer)
#define QUADS 2 // of floats in a texel of the cache
uvec4 texel(uint i)
{
    const vec4 a = clamp(FETCH(i), vec4(-65504.0), vec4(65504.0));
    const vec4 b = clamp(FETCH(i + 1), vec4(-65504.0), vec4(65504.0));
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}
#else
#define QUADS 1
uvec4 texel(uint i)
{
    return floatBitsToUint(FETCH(i));
}
#endif

void main()
{
    const uint r = gl_WorkGroupID.y;
    const decode_row row = rows[p.first_row + r];
    const uint slot = row.slot - p.first_slot; // of the group
    const uint i = gl_GlobalInvocationID.x;
    if (i >= p.heads * TEXELS || slot >= p.group_slots)
        return;
    uint position = row.position;
    if (position == DECODE_AT_STEP)
        position = slots[row.slot].position[0];

    const uint head = (slot * p.branches + row.branch) * p.heads + i / TEXELS;
    const uint t = i % TEXELS;
    const uint from = r * p.stride + i * QUADS;
    const uint start = head * p.blocks * DECODE_BLOCK * TEXELS;
    STORE(keys, start + (position / DECODE_BLOCK * TEXELS + t) * DECODE_BLOCK + position % DECODE_BLOCK,
          texel(p.k_offset + from));
    STORE(values, start + position * TEXELS + t, texel(p.v_offset + from));
}
