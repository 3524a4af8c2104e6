// Eight halves of a texel as floats.
//
// Some processors' compilers turn unpackHalf2x16 into something slow. There
// halves_shifted() puts the bits where a float has them, which leaves every
// value 2^112 times too small; half's own subnormals may be taken for zero.
#ifndef SHADERS_LIB_HALF_GLSL
#define SHADERS_LIB_HALF_GLSL

#define HALVES_SHIFTED 5.192296858534827628e33 // 2^112: undoes it

void halves(uvec4 v, out float e[8])
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        const vec2 pair = unpackHalf2x16(v[i]);
        e[2 * i] = pair.x;
        e[2 * i + 1] = pair.y;
    }
}

void halves_shifted(uvec4 v, out float e[8])
{
    [[unroll]] for (uint i = 0; i < 4; i++) {
        e[2 * i] = intBitsToFloat((int(v[i] << 16) >> 3) & 0x8fffe000);
        e[2 * i + 1] = intBitsToFloat((int(v[i]) >> 3) & 0x8fffe000);
    }
}

#endif
