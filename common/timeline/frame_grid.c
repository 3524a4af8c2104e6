#include "common/timeline/frame_grid.h"

#include <math.h>

#define EPSILON 1e-9

int64_t frame_grid_first(double rate, int64_t ms)
{
    const double i = (double) ms * rate / 1000;
    return (int64_t) ceil(i - EPSILON * (1 + i));
}

uint64_t frame_count(double rate, int64_t start_ms, int64_t end_ms)
{
    const int64_t n = frame_grid_first(rate, end_ms) - frame_grid_first(rate, start_ms);
    return n > 0 ? (uint64_t) n : 1;
}
