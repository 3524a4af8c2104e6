// What nearest_code.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_NEAREST_CODE_H
#define SHADERS_NEAREST_CODE_H

#include "lib/host.h"

struct nearest_code_push {
    uint width;       // D
    uint bins;
    uint bin_quads;   // ceil(bins / 4): elements of 4 codes in a row of `codes`
    uint first_quad;  // of the codes that this dispatch compares
    uint end_quad;
    uint first_row;   // of `best`
    uint flags;       // NEAREST_CODE_*
};
STATIC_SIZE(nearest_code_push, 28)

#define NEAREST_CODE_GO_ON 1 // start from what `best` holds
#define NEAREST_CODE_LAST 2  // write what the nearest code leaves

#endif
