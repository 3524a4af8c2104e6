// What fold.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_FOLD_H
#define SHADERS_FOLD_H

#include "lib/host.h"

struct fold_push {
    uint count;
    uint times;
    uint plus;
};
STATIC_SIZE(fold_push, 12)

#endif
