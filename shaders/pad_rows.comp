// pad_rows: y[r, :] = act(s[first + r, :]), s the signal x with its ends padded:
// s[i] = x[i] for 0 <= i < length, else 0; with a mirror, rows before 0 are
// s[-i] and rows after `mirror` are s[2 mirror - i], and what is still outside
// the signal is 0.
//
// x  (.., C)  f32, dense rows, of which row 0 is the signal's row x_first
// y  (R, C)   f32, dense
//
// Grid: units / (lanes * PAD_ROWS_STEPS) workgroups of one subgroup, in two
// dimensions. any: a channel at a time; quads: 4; images: 4, from texel buffers,
// which a CPU driver reads a vector at a time.
// Reference: worker/ops/pad_rows_test.c.
// variants: any quads images
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#include "lib/activation.glsl"
#include "pad_rows.h"

layout(local_size_x_id = 0) in; // the subgroup's size
layout(constant_id = 1) const uint ACTIVATION = ACTIVATION_NONE; // of which 0 must be 0

layout(push_constant) uniform Push { pad_rows_push p; };

#if defined(VARIANT_any)
#define UNIT float
#else
#define UNIT vec4
#endif

#ifdef VARIANT_images
#include "lib/pairs.glsl"
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer x;
#define LOAD(i) uintBitsToFloat(imageLoad(x, i))
layout(binding = 1) writeonly buffer Y { u64vec2 y[]; };
#define STORE(i, v) y[i] = pairs(v)
#else
layout(binding = 0) readonly buffer X { UNIT x[]; };
layout(binding = 1) writeonly buffer Y { UNIT y[]; };
#define LOAD(i) x[i]
#define STORE(i, v) y[i] = v
#endif

float activated(float v)
{
    return activate(ACTIVATION, v);
}

vec4 activated(vec4 v)
{
    return vec4(activated(v.x), activated(v.y), activated(v.z), activated(v.w));
}

void main()
{
    const uint lanes = gl_WorkGroupSize.x;
    const uint group = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint unit = group * lanes * PAD_ROWS_STEPS + gl_LocalInvocationID.x;
    uint row = unit / p.row_units;
    uint column = unit % p.row_units;
    for (uint step = 0; step < PAD_ROWS_STEPS && unit < p.units; step++) {
        int i = p.first + int(row);
        if (p.mirror >= 0) {
            i = abs(i);
            i = i > p.mirror ? 2 * p.mirror - i : i;
        }
        const bool inside = i >= 0 && i < p.total;
        const int from = int(p.x_offset) + (i - p.x_first) * int(p.row_units) + int(column);
        STORE(unit, inside ? activated(LOAD(inside ? from : 0)) : UNIT(0.0));

        unit += lanes;
        row += p.skip_rows;
        column += p.skip_units;
        if (column >= p.row_units) {
            column -= p.row_units;
            row++;
        }
    }
}
