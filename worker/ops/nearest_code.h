// nearest_code: one step of residual vector quantisation: the entry of a
// codebook that is nearest to a vector, and what it leaves of the vector for the
// next codebook.
//
// One thread, that of the device. op_nearest_code() records; loading blocks.
#pragma once

#include "worker/engine/stream.h"

// One codebook laid out for searching: [width][bins rounded up to 4] f32, the
// entries' coordinates side by side, zeros beyond the last.
struct codes {
    struct span span;
    uint32_t bins, width;
};

uint64_t codes_bytes(uint32_t bins, uint32_t width);

// `embed` is [bins][width]. ERR_DEVICE_MEM, ERR_NOMEM.
ERR_CHECKED enum err codes_load(struct codes *out, struct device *d, struct arena *a,
                                const float *embed, uint32_t bins, uint32_t width);

// What a search finds for a row; `code` is no code where x held a NaN.
struct nearest {
    float distance; // squared
    uint32_t code;
};

struct nearest_code {
    const struct codes *codes;
    // Both f32, [rows][width]. y: what the nearest entry leaves of x; it may not be x itself.
    struct span x, y;
    struct span best; // struct nearest, [first_row + rows]
    uint32_t rows;
    uint32_t first_row; // of `best`
};

void op_nearest_code(struct stream *s, const struct nearest_code *n);
