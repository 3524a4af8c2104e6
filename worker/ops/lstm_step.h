// lstm_step: one moment of an LSTM layer. What the input contributes to the
// gates comes from an op_matmul() over all of time; the recurrent half, which
// reads every weight again each moment, is here.
//
// Source: S. Hochreiter, J. Schmidhuber, "Long Short-Term Memory", 1997, with
// the forget gate of F. Gers et al., 2000, and PyTorch's order of gates.
// One thread, that of the device. op_lstm_step() records; loading blocks.
#pragma once

#include <stdbool.h>

#include "shaders/lstm_step.h"
#include "worker/ops/matmul.h"

// The recurrent weights, f32 or f16: [4 H][H padded with zeros to 16 bytes], or laid
// out for drivers on a CPU, a lane to a unit.
struct lstm_weights {
    struct span span;
    struct matrix columns; // span.bytes == 0: the other form
    uint32_t hidden;       // H
    bool f16;
    float scale; // what the sums are to be multiplied by; halves are kept raised
};

uint64_t lstm_weights_bytes(uint32_t hidden, bool f16);

// `data` is [4 H][H] in the order i, f, g, o, f32 or f16 as `f16` says, perhaps
// unaligned. ERR_DEVICE_MEM.
ERR_CHECKED enum err lstm_weights_load(struct lstm_weights *out, struct device *d,
                                       struct arena *a, const void *data, uint32_t hidden,
                                       bool f16);

// What an LSTM layer remembers of up to LSTM_MOST_SEQUENCES sequences.
struct lstm_state {
    struct span h;    // f32, [2][sequences][H rounded up to 8]: written in turns
    struct span cell; // f32, [sequences][H]
};

ERR_CHECKED enum err lstm_state_create(struct lstm_state *out, struct arena *a,
                                       uint32_t hidden);
uint64_t lstm_state_bytes(uint32_t hidden);

// Back to the beginning of a sequence. Blocks.
ERR_CHECKED enum err lstm_state_clear(struct device *d, const struct lstm_state *state);

struct lstm_step {
    const struct lstm_weights *w;
    const struct lstm_state *state;
    struct span gates; // f32, [..][4 H]: W_ih x + both biases
    struct span y;     // f32, [..][H]
    uint32_t sequences;
    // Where in `gates` and `y` each sequence is; LSTM_NO_ROW in gates_row: it
    // has ended and is left alone.
    uint32_t gates_row[LSTM_MOST_SEQUENCES], y_row[LSTM_MOST_SEQUENCES];
    uint32_t turn; // 0, 1, 2, ...: which half of state->h is older
    bool add;      // h is added to y instead of written
};

void op_lstm_step(struct stream *s, const struct lstm_step *l);
