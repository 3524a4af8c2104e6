// bytes: arithmetic on sizes that come from files, the 16-bit float, hashing.
// Pure; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// *out = a * b or a + b; false (and *out untouched) when that does not fit.
bool size_mul(uint64_t a, uint64_t b, uint64_t *out);
bool size_add(uint64_t a, uint64_t b, uint64_t *out);

// The smallest multiple of `step` that is >= n. `step` > 0; n + step must fit.
uint64_t round_up(uint64_t n, uint64_t step);

uint16_t read_le16(const void *p);
uint32_t read_le32(const void *p);
uint64_t read_le64(const void *p);

// IEEE 754 binary16 <-> binary32. To half rounds to nearest, ties to even, and
// overflows to infinity; from half is exact.
uint16_t half_from_float(float f);
float half_to_float(uint16_t h);

// splitmix64's finaliser over (a, b): a cheap way to derive one seed from
// others. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number
// generators", OOPSLA 2014.
uint64_t mix64(uint64_t a, uint64_t b);
