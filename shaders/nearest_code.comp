// nearest_code: best[t] = argmin over codes c of sum over d of (x[t, d] - embed[c, d])^2,
// the first where several are equal; y[t, :] = x[t, :] - embed[best[t], :].
//
// x, y   (T, D)              f32, dense
// codes  (D, 4 bin_quads)    f32, embed transposed, padded with zeros
// best   (T)                 { distance, code }
//
// Lanes run along the codes, 4 each. A dispatch compares the codes of quads
// first_quad to end_quad - 1.
//
// Grid: T workgroups of one subgroup, one per row.
// Reference: worker/ops/nearest_code_test.c.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require

#include "nearest_code.h"

layout(local_size_x_id = 0) in; // the subgroup's size

struct choice {
    float distance;
    uint code;
};

layout(push_constant) uniform Push { nearest_code_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Codes { vec4 codes[]; };
layout(binding = 2) buffer Best { choice best[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

vec4 square_distances(uint row, uint quad)
{
    vec4 sum = vec4(0.0);
    for (uint d = 0; d < p.width; d++, quad += p.bin_quads) {
        const vec4 apart = codes[quad] - x[row + d];
        sum += apart * apart;
    }
    return sum;
}

void main()
{
    const uint row = gl_WorkGroupID.x * p.width;
    choice mine = choice(uintBitsToFloat(0x7f800000), 0xffffffffu); // infinitely far
    if ((p.flags & NEAREST_CODE_GO_ON) != 0)
        mine = best[p.first_row + gl_WorkGroupID.x];
    for (uint quad = p.first_quad + gl_LocalInvocationID.x; quad < p.end_quad;
         quad += gl_WorkGroupSize.x) {
        const vec4 distances = square_distances(row, quad);
        for (uint j = 0; j < 4; j++)
            if (4 * quad + j < p.bins && distances[j] < mine.distance)
                mine = choice(distances[j], 4 * quad + j);
    }
    const float least = subgroupMin(mine.distance);
    uint code = subgroupMin(mine.distance == least ? mine.code : 0xffffffffu);
    if (subgroupElect())
        best[p.first_row + gl_WorkGroupID.x] = choice(least, code);
    if ((p.flags & NEAREST_CODE_LAST) == 0)
        return;
    code = min(code, p.bins - 1); // nothing is near a NaN
    for (uint d = gl_LocalInvocationID.x; d < p.width; d += gl_WorkGroupSize.x)
        y[row + d] = x[row + d] - codes[d * p.bin_quads + code / 4][code % 4];
}
