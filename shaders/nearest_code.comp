// nearest_code: best[t] = argmin over codes c of sum over d of (x[t, d] - embed[c, d])^2,
// the first where several are equal; y[t, :] = x[t, :] - embed[best[t], :].
//
// x, y   (T, D)              f32, dense
// codes  (D, 4 bin_quads)    f32, embed transposed, padded with zeros
// best   (T)                 { distance, code }
//
// Lanes run along the codes, 4 each. A dispatch compares the codes of quads
// first_quad to end_quad - 1. images: x and codes are texel buffers, which a CPU
// driver reads a vector at a time; D is then a multiple of 4.
//
// Grid: T workgroups of one subgroup, one per row.
// Reference: worker/ops/nearest_code_test.c.
// variants: any images
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_control_flow_attributes : require

#include "nearest_code.h"

layout(local_size_x_id = 0) in; // the subgroup's size

struct choice {
    float distance;
    uint code;
};

layout(push_constant) uniform Push { nearest_code_push p; };
#ifdef VARIANT_images
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer x;
layout(binding = 1, rgba32ui) readonly uniform uimageBuffer codes;
#define X(i) uintBitsToFloat(imageLoad(x, int((i) / 4)))[(i) % 4]
#define CODES(i) uintBitsToFloat(imageLoad(codes, int(i)))
#else
layout(binding = 0) readonly buffer XBuffer { float x[]; };
layout(binding = 1) readonly buffer CodesBuffer { vec4 codes[]; };
#define X(i) x[i]
#define CODES(i) codes[i]
#endif
layout(binding = 2) buffer Best { choice best[]; };
layout(binding = 3) writeonly buffer Y { float y[]; };

vec4 square_distances(uint row, uint quad)
{
    vec4 sum = vec4(0.0);
#ifdef VARIANT_images
    for (uint d = 0; d < p.width; d += 4) {
        const vec4 v = uintBitsToFloat(imageLoad(x, int((row + d) / 4)));
        [[unroll]] for (uint j = 0; j < 4; j++, quad += p.bin_quads) {
            const vec4 apart = CODES(quad) - v[j];
            sum += apart * apart;
        }
    }
#else
    for (uint d = 0; d < p.width; d++, quad += p.bin_quads) {
        const vec4 apart = CODES(quad) - X(row + d);
        sum += apart * apart;
    }
#endif
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
        y[row + d] = X(row + d) - CODES(d * p.bin_quads + code / 4)[code % 4];
}
