// preprocess: one picture as the visual encoder wants to see it.
//
// The shorter side becomes `side`, the longer one keeps the proportion
// (truncated to whole pixels), the centre square is cut out at
// round-half-to-even((longer - side) / 2). The resampling is Pillow 9.4's
// Image.resize(BICUBIC): a = -0.5, widened by the scale when shrinking,
// coefficients in 22-bit fixed point, rows first, eight bits between the passes.
// Source: Pillow, src/libImaging/Resample.c; torchvision Resize + CenterCrop.
// Pure; any thread.
#pragma once

#include <stdint.h>

#include "common/base/err.h"

// rgb: [height, width, 3] -> out: [side, side, 3]. ERR_INPUT when a size is 0
// or too large to compute with, ERR_NOMEM; logged.
ERR_CHECKED enum err preprocess_rgb(uint8_t *out, uint32_t side, const uint8_t *rgb,
                                    uint32_t width, uint32_t height);
