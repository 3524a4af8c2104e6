// What patchify.comp and its caller must agree on; read by GLSL and by C.
#ifndef SHADERS_PATCHIFY_H
#define SHADERS_PATCHIFY_H

#include "lib/host.h"

struct patchify_push {
    uint image;    // R: pixels along a side of a frame
    uint side;     // p: pixels along a side of a patch
    uint grid;     // R / p
    uint y_stride; // elements from one row to the next, >= 3 p p
    uint count;    // elements written
};
STATIC_SIZE(patchify_push, 20)

// CLIP's own statistics of its training pictures, red, green, blue. Source:
// github.com/openai/CLIP, clip/clip.py.
#define CLIP_MEAN 0.48145466, 0.4578275, 0.40821073
#define CLIP_STD 0.26862954, 0.26130258, 0.27577711

#endif
