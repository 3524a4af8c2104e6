// mean_rows: y[b, c] = (x[b, 0, c] + ... + x[b, R - 1, c]) / R
//
// x  (B, R, C)  f32
// y  (B, C)     f32
//
// Grid: x: columns / 64, y: batches.
// Reference: worker/ops/mean_rows_test.c.
#version 450
#extension GL_GOOGLE_include_directive : require

#include "mean_rows.h"

layout(local_size_x = 64) in;

layout(push_constant) uniform Push { mean_rows_push p; };
layout(binding = 0) readonly buffer X { float x[]; };
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    const uint c = gl_GlobalInvocationID.x;
    const uint batch = gl_WorkGroupID.y;
    if (c >= p.cols)
        return;
    float sum = 0.0;
    for (uint r = 0; r < p.rows; r++)
        sum += x[(batch * p.rows + r) * p.cols + c];
    y[batch * p.cols + c] = sum / float(p.rows);
}
