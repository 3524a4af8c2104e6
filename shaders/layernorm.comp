// layernorm: y[n, :] = (x[n, :] - mean) / sqrt(var + epsilon) * gain + bias (+ residual[n, :])
//
// x     (N, C)  f32, rows p.x_stride apart
// gain  (C)     f32
// bias  (C)     f32
// y, residual  (N, C)  f32, rows p.y_stride apart; y may be x or residual itself
//
// texels: four numbers at a time, for drivers that run shaders on a CPU, where
// only those accesses are vectorised; C, strides and offsets are multiples of 4.
//
// Grid: N workgroups of one subgroup, one per row.
// Reference: worker/ops/layernorm_test.c.
// variants: storage texels
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

#include "layernorm.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { layernorm_push p; };
#ifdef VARIANT_texels
#include "lib/pairs.glsl"
#define WIDTH 4
#define numbers vec4
layout(binding = 0, rgba32ui) readonly uniform uimageBuffer x;
layout(binding = 1, rgba32ui) readonly uniform uimageBuffer gain;
layout(binding = 2, rgba32ui) readonly uniform uimageBuffer bias;
layout(binding = 3, rgba32ui) readonly uniform uimageBuffer residual;
layout(binding = 4) writeonly buffer Y { u64vec2 y[]; };
#define LOAD(from, i) uintBitsToFloat(imageLoad(from, int(i)))
#define STORE(i, v) y[i] = pairs(v)
float total(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#else
#define WIDTH 1
#define numbers float
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) readonly buffer Gain { float gain[]; };
layout(binding = 2) readonly buffer Bias { float bias[]; };
layout(binding = 3) readonly buffer Residual { float residual[]; };
layout(binding = 4) buffer Y { float y[]; };
#define LOAD(from, i) from[i]
#define STORE(i, v) y[i] = v
float total(float v) { return v; }
#endif

void main()
{
    const uint lane = gl_LocalInvocationID.x;
    const uint lanes = gl_WorkGroupSize.x;
    const uint cols = p.cols / WIDTH;
    const uint from = (p.x_offset + gl_WorkGroupID.x * p.x_stride) / WIDTH;
    const uint to = (p.y_offset + gl_WorkGroupID.x * p.y_stride) / WIDTH;

    numbers sum = numbers(0.0);
    for (uint c = lane; c < cols; c += lanes)
        sum += LOAD(x, from + c);
    const float mean = subgroupAdd(total(sum)) / float(p.cols);

    // Two passes: E[x^2] - E[x]^2 loses too many bits when the mean is large.
    numbers square = numbers(0.0);
    for (uint c = lane; c < cols; c += lanes) {
        const numbers d = LOAD(x, from + c) - mean;
        square += d * d;
    }
    const float scale = inversesqrt(subgroupAdd(total(square)) / float(p.cols) + p.epsilon);

    for (uint c = lane; c < cols; c += lanes) {
        numbers v = (LOAD(x, from + c) - mean) * scale * LOAD(gain, c) + LOAD(bias, c);
        if ((p.flags & LAYERNORM_RESIDUAL) != 0)
            v += LOAD(residual, to + c);
        STORE(to + c, v);
    }
}
