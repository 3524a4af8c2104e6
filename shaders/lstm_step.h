// What lstm_step.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_LSTM_STEP_H
#define SHADERS_LSTM_STEP_H

#include "lib/host.h"

#define LSTM_MOST_SEQUENCES 4
#define LSTM_NO_ROW 0xffffffffu

struct lstm_step_push {
    uint hidden;      // H
    uint blocks;      // 16-byte elements of a row of weights
    uint pairs;       // of units that a workgroup computes, one after the other
    uint state_in;    // elements of `state`, 4 floats each: h of the step before ...
    uint state_out;   // ... and of this one
    uint state_quads; // elements that one sequence's h takes
    uint flags;       // LSTM_STEP_*
    float scale;      // of the sums, where weights are f16
    uint gates_row[LSTM_MOST_SEQUENCES]; // of each sequence; LSTM_NO_ROW: it has ended
    uint y_row[LSTM_MOST_SEQUENCES];
};
STATIC_SIZE(lstm_step_push, 64)

#define LSTM_STEP_ADD 1 // add to what stands in y

// Sums of f16 weights come out as 2^-LSTM_STEP_LOWERED of what they are: the
// weights' bits are worth 2^-112 of the weights, and h is lifted by 2^64.
#define LSTM_STEP_LOWERED 48

#endif
