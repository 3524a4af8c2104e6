#include "common/base/bytes.h"

#include <string.h>

bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r))
        return false;
    *out = r;
    return true;
}

uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

uint16_t read_le16(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t) (b[0] | b[1] << 8);
}

uint32_t read_le32(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t) b[0] | (uint32_t) b[1] << 8 | (uint32_t) b[2] << 16 |
           (uint32_t) b[3] << 24;
}

uint64_t read_le64(const void *p)
{
    return (uint64_t) read_le32(p) | (uint64_t) read_le32((const uint8_t *) p + 4) << 32;
}

uint16_t half_from_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, 4);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;

    if (magnitude > 0x7f800000u) // not a number stays one
        return (uint16_t) (sign | 0x7e00u);
    if (magnitude >= 0x47800000u) // 65536 and above
        return (uint16_t) (sign | 0x7c00u);
    if (magnitude < 0x33000000u) // below half of the smallest subnormal
        return (uint16_t) sign;

    uint32_t mantissa, shift, base;
    if (magnitude < 0x38800000u) { // subnormal: the hidden bit becomes explicit
        shift = 126 - (magnitude >> 23);
        mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        base = 0;
    } else {
        shift = 13;
        mantissa = magnitude & 0x7fffffu;
        base = ((magnitude >> 23) - 112) << 10;
    }
    const uint32_t kept = mantissa >> shift;
    const uint32_t rest = mantissa & ((1u << shift) - 1);
    const uint32_t half = 1u << (shift - 1);
    const uint32_t up = rest > half || (rest == half && (kept & 1));
    return (uint16_t) (sign | (base + kept + up)); // a carry into the exponent is right
}

float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t) (h & 0x8000u) << 16;
    const uint32_t exponent = h >> 10 & 31u;
    const uint32_t mantissa = h & 0x3ffu;
    uint32_t bits;
    if (exponent == 0) {
        const float f = (float) mantissa * 0x1p-24f;
        memcpy(&bits, &f, 4);
    } else if (exponent == 31) {
        bits = 0x7f800000u | mantissa << 13;
    } else {
        bits = (exponent + 112) << 23 | mantissa << 13;
    }
    bits |= sign;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

uint64_t mix64(uint64_t a, uint64_t b)
{
    uint64_t z = a + 0x9e3779b97f4a7c15u * (b + 1);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
