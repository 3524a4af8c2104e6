// tensor_view: numbers in memory with a dtype and a shape, and a source that is
// asked for them by name. Pure but for the source; any thread.
#pragma once

#include <stdint.h>

#include "common/base/err.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_I64,
    DTYPE_I32,
    DTYPE_I16,
    DTYPE_I8,
    DTYPE_U64,
    DTYPE_U32,
    DTYPE_U16,
    DTYPE_U8,
    DTYPE_BOOL,
    DTYPE_COUNT,
};

#define TENSOR_MAX_RANK 8
#define TENSOR_NAME_MAX 192 // bytes, the closing zero included

struct tensor_view {
    enum dtype dtype;
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK];
    const void *data; // row-major, little-endian, perhaps unaligned
    uint64_t bytes;
};

uint32_t dtype_bytes(enum dtype t);
const char *dtype_name(enum dtype t); // as safetensors spells it: "F32"
uint64_t tensor_elements(const struct tensor_view *t);

// Element i as float. Any dtype.
float tensor_at(const struct tensor_view *t, uint64_t i);

// Elements first .. first + count - 1, converted; to half rounds to nearest
// even. The caller keeps the range inside the tensor. Any dtype.
void tensor_to_f32(const struct tensor_view *t, uint64_t first, uint64_t count, float *out);
void tensor_to_f16(const struct tensor_view *t, uint64_t first, uint64_t count, uint16_t *out);

struct model_config;

struct tensor_source {
    // ERR_OK and *out, valid until the next call on this source; ERR_MISSING
    // without logging when there is no such tensor.
    enum err (*find)(struct tensor_source *self, const char *name, struct tensor_view *out);
    const struct model_config *config;
    const char *name; // the file's, for messages; NULL: "the model"
};
