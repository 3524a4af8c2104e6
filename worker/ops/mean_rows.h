// mean_rows: y[b, c] = mean over r of x[b, r, c], the rows of each batch alone.
// Records; never blocks.
#pragma once

#include "worker/engine/stream.h"

struct mean_rows {
    struct span x; // f32 [batches][rows][cols]
    struct span y; // f32 [batches][cols]; not x
    uint32_t batches, rows, cols;
};

void op_mean_rows(struct stream *s, const struct mean_rows *m);
