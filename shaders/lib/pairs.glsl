// A vec4 for a buffer of 64-bit numbers, of which drivers that run shaders on a CPU, lane
// by lane and number by number, store half as many in less time.
#ifndef SHADERS_LIB_PAIRS_GLSL
#define SHADERS_LIB_PAIRS_GLSL

u64vec2 pairs(vec4 v)
{
    return u64vec2(packUint2x32(floatBitsToUint(v.xy)), packUint2x32(floatBitsToUint(v.zw)));
}

#endif
