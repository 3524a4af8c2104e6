// What mean_rows.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_MEAN_ROWS_H
#define SHADERS_MEAN_ROWS_H

#include "lib/host.h"

struct mean_rows_push {
    uint rows;
    uint cols;
};
STATIC_SIZE(mean_rows_push, 8)

#endif
