// fold: y[i] = times * y[i] + x[i] + plus, modulo 2^32
//
// x, y  (count)  u32
//
// Not an operation of the model: the engine's own tests run it, because its
// result tells which dispatches ran, how often, and in which order.
// Grid: ceil(count / lanes) workgroups of one subgroup.
// Reference: worker/engine/stream_test.c.
//
// variants: buffer texels
#version 450
#extension GL_GOOGLE_include_directive : require

#include "fold.h"

layout(local_size_x_id = 0) in; // the subgroup's size

layout(push_constant) uniform Push { fold_push p; };
#ifdef VARIANT_texels
layout(binding = 0) uniform utextureBuffer X;
uint x_at(uint i) { return texelFetch(X, int(i / 4u))[i % 4u]; }
#else
layout(binding = 0) readonly buffer X { uint x[]; };
uint x_at(uint i) { return x[i]; }
#endif
layout(binding = 1) buffer Y { uint y[]; };

void main()
{
    const uint i = gl_GlobalInvocationID.x;
    if (i < p.count)
        y[i] = p.times * y[i] + x_at(i) + p.plus;
}
