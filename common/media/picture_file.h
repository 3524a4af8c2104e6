// picture_file: pictures as the bytes of a file, for a page that carries them inside.
// Pure but for memory; any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

// The bytes of a file that was never on a disk.
struct media_bytes {
    uint8_t *data;
    size_t count;
};
void media_bytes_release(struct media_bytes *b); // a zeroed one is fine

// rgb: [height, width, 3], shrunk to fit into `side` by `side` pixels (never enlarged), as
// a baseline JPEG. ERR_UNAVAILABLE when this FFmpeg cannot write one; logs.
ERR_CHECKED enum err picture_jpeg(struct media_bytes *out, const uint8_t *rgb, uint32_t width,
                                  uint32_t height, uint32_t side);

// index: [height, width] into 256 colours, each 0xAARRGGBB, as a PNG. Errors as above.
ERR_CHECKED enum err picture_png(struct media_bytes *out, const uint8_t *index,
                                 const uint32_t palette[256], uint32_t width, uint32_t height);
