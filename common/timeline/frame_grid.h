// frame_grid: at which times of a film a model looks: t = i / rate, i counting from the film's time 0.
#pragma once

#include <stdint.h>

// The first i whose time is at `ms` or after it.
int64_t frame_grid_first(double rate, int64_t ms);

// How many frames a window [start_ms, end_ms) has: those of the grid, or the one at its start.
uint64_t frame_count(double rate, int64_t start_ms, int64_t end_ms);
