// pad_rows: y[r, :] = act(s[first + r, :]), s the signal x with its ends padded:
// s[i] = x[i] for 0 <= i < length, else 0; with a mirror, rows before 0 are
// s[-i] and rows after `mirror` are s[2 mirror - i], and what is still outside
// the signal is 0.
//
// x  (.., C)  f32, dense rows, of which row 0 is the signal's row x_first
// y  (R, C)   f32, dense
//
// Grid: units / (lanes * PAD_ROWS_STEPS) workgroups of one subgroup, in two
// dimensions. texels: 4 channels at a time, x a texel buffer; plain: any C.
// Reference: worker/ops/pad_rows_test.c.
// variants: texels plain
#version 450
#extension GL_GOOGLE_include_directive : require

#include "lib/activation.glsl"
#include "pad_rows.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { pad_rows_push p; };

#ifdef VARIANT_texels
#define UNIT vec4
layout(binding = 0) uniform usamplerBuffer x;
layout(binding = 1) writeonly buffer Y { vec4 y[]; };

vec4 load(int unit)
{
    const vec4 v = uintBitsToFloat(texelFetch(x, unit));
    return vec4(activate(p.activation, v.x), activate(p.activation, v.y),
                activate(p.activation, v.z), activate(p.activation, v.w));
}
#else
#define UNIT float
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

float load(int unit)
{
    return activate(p.activation, x[unit]);
}
#endif

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
        y[unit] = inside ? load(inside ? from : 0) : UNIT(0.0);

        unit += lanes;
        row += p.skip_rows;
        column += p.skip_units;
        if (column >= p.row_units) {
            column -= p.row_units;
            row++;
        }
    }
}
