// pad_rows: a stretch of a signal with its ends padded and an activation
// applied, laid out so that a convolution over it is an op_matmul() over
// overlapping rows. Records; never blocks.
#pragma once

#include <stdbool.h>

#include "shaders/lib/activation.h"
#include "worker/engine/stream.h"

// Rows are moments of time, dense, `channels` floats each.
struct pad_rows {
    struct span x, y; // f32. y may not overlap x
    uint32_t channels;
    uint32_t rows;     // to write to y
    int32_t first;     // the signal's row that goes to y's row 0; < 0: before it begins
    int32_t length;    // of the signal, whatever part of it x holds
    int32_t x_first;   // the signal's row that x starts with
    uint32_t x_offset; // elements; a multiple of 4 where channels are
    bool reflect;      // about both ends, instead of zeros
    // Zeros taken to follow the signal before it is reflected at its end (the
    // published code does that when it is shorter than the padding).
    int32_t zeros;
    uint32_t activation; // ACTIVATION_*
};

// x must hold every row of the signal that is shown, reflections included.
void op_pad_rows(struct stream *s, const struct pad_rows *p);
