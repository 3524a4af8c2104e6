// shortfall: is a film file cut short? Read off the sizes at the container's
// outermost level: ISO boxes (MP4, MOV), EBML (Matroska), RIFF (AVI). Other
// containers do not say how long they should be.
#pragma once

#include <stdint.h>

// Bytes that `path` should have beyond those it has; 0 when it is whole, when
// its container does not tell or when it cannot be read.
uint64_t file_shortfall(const char *path);
