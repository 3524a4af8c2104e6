// patchify: the squares of frames as rows, so that a convolution whose stride is
// its kernel is a matrix product.
//
// x     u8:  (T, R, R, 3)  bytes, red green blue; y = (x / 255 - mean) / std
//       f32: (T, 3, R, R)  normalised already
// y     (T, 1 + G G, 3 p p)  f32, rows p.y_stride apart, a row [colour][line][column].
//       Each frame's first row, the class token's, is zeros; so is what lies
//       between the rows.
//
// Grid: elements of y / 64, x fastest, folded into y where x alone is too short.
// Reference: worker/ops/patchify_test.c.
// variants: u8 f32
#version 450
#extension GL_GOOGLE_include_directive : require

#include "patchify.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { patchify_push p; };
#ifdef VARIANT_u8
layout(binding = 0) readonly buffer X { uint x[]; };
#else
layout(binding = 0) readonly buffer X { float x[]; };
#endif
layout(binding = 1) writeonly buffer Y { float y[]; };

float pixel(uint frame, uint colour, uint line, uint column)
{
#ifdef VARIANT_u8
    const vec3 mean = vec3(CLIP_MEAN);
    const vec3 std = vec3(CLIP_STD);
    const uint i = ((frame * p.image + line) * p.image + column) * 3 + colour;
    const float v = float(x[i / 4] >> i % 4 * 8 & 255u);
    return (v / 255.0 - mean[colour]) / std[colour];
#else
    return x[((frame * 3 + colour) * p.image + line) * p.image + column];
#endif
}

void main()
{
    const uint i = gl_WorkGroupID.y * gl_NumWorkGroups.x * gl_WorkGroupSize.x + gl_GlobalInvocationID.x;
    if (i >= p.count)
        return;
    const uint k = i % p.y_stride;
    const uint token = i / p.y_stride % (1 + p.grid * p.grid);
    const uint frame = i / p.y_stride / (1 + p.grid * p.grid);
    float v = 0.0;
    if (token > 0 && k < 3 * p.side * p.side) {
        const uint line = (token - 1) / p.grid * p.side + k / p.side % p.side;
        const uint column = (token - 1) % p.grid * p.side + k % p.side;
        v = pixel(frame, k / (p.side * p.side), line, column);
    }
    y[i] = v;
}
