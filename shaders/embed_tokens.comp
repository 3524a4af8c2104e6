// embed_tokens: x[r, :] = sum_k table[k][token(r, k)][:] + positions[position(r)][:]
//
// rows       (R)            decode_row
// slots                     slot_state
// tokens     (slots, K, p.token_stride)
// table      (p.count, p.vocabulary, C)  f32, or f16 in pairs
// positions  (.., C)        f32
// x          (R, C)         f32, rows p.x_stride apart
//
// Grid: x: C / 128, y: R. An invocation makes two columns.
// Reference: worker/ops/embed_tokens_test.c.
// variants: f32 f16
#version 450
#extension GL_GOOGLE_include_directive : require

#include "decode.h"
#include "embed_tokens.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { embed_tokens_push p; };
layout(binding = 0) readonly buffer Rows { decode_row rows[]; };
layout(binding = 1) readonly buffer Slots { slot_state slots[]; };
layout(binding = 2) readonly buffer Tokens { uint tokens[]; };
#ifdef VARIANT_f16
layout(binding = 3) readonly buffer Table { uint table[]; };
#else
layout(binding = 3) readonly buffer Table { vec2 table[]; };
#endif
layout(binding = 4) readonly buffer Positions { vec2 positions[]; };
layout(binding = 5) buffer X { float x[]; };

vec2 entry(uint i)
{
#ifdef VARIANT_f16
    return unpackHalf2x16(table[i]);
#else
    return table[i];
#endif
}

void main()
{
    const uint pairs = p.cols / 2;
    const uint c = gl_GlobalInvocationID.x;
    if (c >= pairs)
        return;
    const uint r = gl_WorkGroupID.y;
    const uint slot = rows[p.first_row + r].slot;
    uint position = rows[p.first_row + r].position;
    if (position == DECODE_AT_STEP)
        position = slots[slot].position[0];

    const uint to = p.x_offset + r * p.x_stride + 2 * c;
    vec2 sum = (p.flags & EMBED_FIRST) != 0 ? vec2(0.0) : vec2(x[to], x[to + 1]);
    for (uint k = 0; k < p.count; k++) {
        const uint from = (slot * p.codebooks + p.first + k) * p.token_stride;
        const uint token = min(tokens[from + position], p.vocabulary - 1);
        sum += entry((k * p.vocabulary + token) * pairs + c);
    }
    if ((p.flags & EMBED_LAST) != 0)
        sum += positions[position * pairs + c];
    x[to] = sum.x;
    x[to + 1] = sum.y;
}
