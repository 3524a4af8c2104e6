// layernorm: y[n, :] = (x[n, :] - mean) / sqrt(var + epsilon) * gain + bias (+ residual[n, :])
//
// x     (N, C)  f32, rows p.x_stride apart
// gain  (C)     f32
// bias  (C)     f32
// y, residual  (N, C)  f32, rows p.y_stride apart; y may be x or residual itself
//
// Grid: N workgroups of one subgroup, one per row.
// Reference: worker/ops/layernorm_test.c.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require

#include "layernorm.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { layernorm_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Gain { float gain[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) buffer Y { float y[]; };

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    const uint lanes = gl_WorkGroupSize.x;
    const uint from = p.x_offset + gl_WorkGroupID.x * p.x_stride;
    const uint to = p.y_offset + gl_WorkGroupID.x * p.y_stride;

    float sum = 0.0;
    for (uint c = lane; c < p.cols; c += lanes)
        sum += x[from + c];
    const float mean = subgroupAdd(sum) / float(p.cols);

    // Two passes: E[x^2] - E[x]^2 loses too many bits when the mean is large.
    float square = 0.0;
    for (uint c = lane; c < p.cols; c += lanes) {
        const float d = x[from + c] - mean;
        square += d * d;
    }
    const float scale = inversesqrt(subgroupAdd(square) / float(p.cols) + p.epsilon);

    for (uint c = lane; c < p.cols; c += lanes) {
        float v = (x[from + c] - mean) * scale * gain[c] + bias[c];
        if ((p.flags & LAYERNORM_RESIDUAL) != 0)
            v += residual[to + c];
        y[to + c] = v;
    }
}
