// codebook_sum: y[t, :] = sum over k of embed[k, token[k, t], :]
//
// tokens  (K, ..)     u32, codebooks p.tokens_stride apart, each < bins
// embed   (K, bins, D)  f32
// y       (T, D)        f32, dense
//
// Grid: T workgroups of one subgroup, one per row.
// Reference: worker/ops/codebook_sum_test.c.
#version 450
#extension GL_GOOGLE_include_directive : require

#include "codebook_sum.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { codebook_sum_push p; };
layout(binding = 0) readonly buffer Tokens { uint tokens[]; };
layout(binding = 1) readonly buffer Embed { float embed[]; };
layout(binding = 2) writeonly buffer Y { float y[]; };

void main()
{
    const uint t = gl_WorkGroupID.x;
    for (uint d = gl_LocalInvocationID.x; d < p.width; d += gl_WorkGroupSize.x) {
        float sum = 0.0;
        for (uint k = 0; k < p.codebooks; k++) {
            const uint token = tokens[p.tokens_offset + k * p.tokens_stride + t];
            sum += embed[(k * p.bins + token) * p.width + d];
        }
        y[t * p.width + d] = sum;
    }
}
