// layernorm: y = (x - mean) / sqrt(var + epsilon) * gain + bias (+ residual),
// a row at a time. Records; never blocks.
#pragma once

#include "worker/engine/stream.h"

struct layernorm {
    struct span x, y;       // f32; y may be x
    struct span gain, bias; // C floats each
    struct span residual;   // rows like y's, may be y; bytes == 0: none
    uint32_t rows, cols;
    uint32_t x_stride, y_stride; // elements; 0: dense
    uint32_t x_offset, y_offset;
    float epsilon;
};

void op_layernorm(struct stream *s, const struct layernorm *l);
