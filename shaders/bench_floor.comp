// bench_floor: what the device can do at best, measured beside what we do.
//
// read      y[i] = xor of x[i + k stride], k < rounds: every texel read once
// multiply  BENCH_CHAINS chains of a = a * b + c in registers
//
// x  texels of 16 bytes (read)
// y  one word per invocation, so that nothing is optimised away
//
// Grid: one invocation per chain start.
// Reference: none; a measure, not a result.
// variants: read multiply
#version 450
#extension GL_GOOGLE_include_directive : require

#include "bench_floor.h"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Push { bench_floor_push p; };
layout(binding = 0) uniform utextureBuffer x;
layout(binding = 1) writeonly buffer Y { float y[]; };

void main()
{
    const uint i = gl_GlobalInvocationID.x;
#ifdef VARIANT_read
    uvec4 a = uvec4(0), b = uvec4(0);
    for (uint k = 0; k < p.rounds; k += 2) {
        a ^= texelFetch(x, int(i + k * p.stride));
        b ^= texelFetch(x, int(i + (k + 1) * p.stride));
    }
    a ^= b;
    y[i] = uintBitsToFloat(a.x ^ a.y ^ a.z ^ a.w);
#else
    const float b = 0.999 + float(i) * 1e-9, c = 0.001;
    vec4 a0 = vec4(i), a1 = vec4(i + 1), a2 = vec4(i + 2); // BENCH_CHAINS in all
    for (uint k = 0; k < p.rounds; k += 4) { // four steps a round: the loop itself costs little
        a0 = a0 * b + c, a1 = a1 * b + c, a2 = a2 * b + c;
        a0 = a0 * b + c, a1 = a1 * b + c, a2 = a2 * b + c;
        a0 = a0 * b + c, a1 = a1 * b + c, a2 = a2 * b + c;
        a0 = a0 * b + c, a1 = a1 * b + c, a2 = a2 * b + c;
    }
    const vec4 all = a0 + a1 + a2;
    const float sum = all.x + all.y + all.z + all.w;
    y[i] = sum;
#endif
}
