// sin_embedding: what is added for a position, [cos | sin]. Pure; any thread.
#pragma once

#include <stdint.h>

// out[i] = cos(phase), out[half + i] = sin(phase), half = dim / 2,
// phase = position / 10000^(i / (half - 1)); dim is even and >= 4.
void sin_embedding(uint32_t position, uint32_t dim, float *out);
