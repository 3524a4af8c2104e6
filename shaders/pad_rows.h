// What pad_rows.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_PAD_ROWS_H
#define SHADERS_PAD_ROWS_H

#include "lib/host.h"

// A unit is what an invocation copies at a time: 4 channels, or 1.
struct pad_rows_push {
    uint units;        // to write: rows of y * row_units
    uint row_units;    // in a row
    uint skip_rows;    // lanes / row_units: how far a lane goes each time,
    uint skip_units;   // lanes % row_units: in rows and units
    int first;         // the signal's row that y's row 0 shows
    int total;         // rows of the signal
    int mirror;        // the row reflected about at the end; -1: zeros, not reflections
    int x_first;       // the signal's row that is x's row 0
    uint x_offset;     // units
};
STATIC_SIZE(pad_rows_push, 36)

#define PAD_ROWS_STEPS 16 // units that one invocation copies

#endif
