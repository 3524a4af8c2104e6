#include "worker/model/sin_embedding.h"

#include <math.h>

void sin_embedding(uint32_t position, uint32_t dim, float *out)
{
    const uint32_t half = dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        const double phase = position / pow(10000, (double) i / (half - 1));
        out[i] = (float) cos(phase);
        out[half + i] = (float) sin(phase);
    }
}
