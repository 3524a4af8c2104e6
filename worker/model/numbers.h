// numbers: a stage that came to NaN or infinity says so. What is made of such
// looks like any other music, or like silence.
#pragma once

#include <stdint.h>

#include "worker/engine/device.h"

// Logs what the stage called that came to. ERR_DEVICE.
ERR_CHECKED enum err numbers_are_none(const struct device *d, const char *stage);

// ERR_OK when all `count` are finite; else the same.
ERR_CHECKED enum err numbers_check(const struct device *d, const char *stage, const float *v,
                                   uint64_t count);
