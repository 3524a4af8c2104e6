// What bench_floor.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_BENCH_FLOOR_H
#define SHADERS_BENCH_FLOOR_H

#include "lib/host.h"

#define BENCH_CHAINS 12 // independent multiply-adds in flight

struct bench_floor_push {
    uint rounds; // read: texels each invocation reads; multiply: steps of every chain
    uint stride; // read: texels between two reads of an invocation
};
STATIC_SIZE(bench_floor_push, 8)

#endif
