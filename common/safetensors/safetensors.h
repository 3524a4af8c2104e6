// safetensors: the one file format of models and tensor dumps, read by mapping
// and written as a stream.
//
// Format: https://huggingface.co/docs/safetensors (an 8-byte length, a JSON
// header, the data). A file is hostile until proven good: every name, dtype,
// shape, size and offset is checked before use, overlaps and holes included.
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/tensor_view.h"

struct safetensors;

// Map and check `path`. On success the caller owns *out; views into it live
// until safetensors_close(). ERR_MISSING, ERR_INPUT, ERR_NOMEM; logs.
ERR_CHECKED enum err safetensors_open(struct safetensors **out, const char *path);

// The same over bytes the caller keeps alive; `name` is for messages, NULL for
// none.
ERR_CHECKED enum err safetensors_parse(struct safetensors **out, const char *name,
                                       const void *data, uint64_t bytes);
void safetensors_close(struct safetensors **s); // NULL inside is fine

// The whole file; nothing where the caller keeps the bytes.
const struct file_map *safetensors_map(const struct safetensors *s);

// Tensors in the order of their data.
size_t safetensors_count(const struct safetensors *s);
const char *safetensors_name(const struct safetensors *s, size_t i);
struct tensor_view safetensors_view(const struct safetensors *s, size_t i);

// False when there is no such tensor.
bool safetensors_find(const struct safetensors *s, const char *name, struct tensor_view *out);

// A string of __metadata__, or NULL.
const char *safetensors_metadata(const struct safetensors *s, const char *key);

struct safetensors_item {
    const char *name;
    enum dtype dtype; // as written: F32, F16, or the dtype of the data
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK];
    const void *data; // elements of `dtype`; NULL: ask the source, and convert
};

struct safetensors_string {
    const char *key, *value; // UTF-8
};

struct safetensors_write_params {
    const struct safetensors_item *items;
    size_t item_count;
    const struct safetensors_string *metadata;
    size_t metadata_count;
    struct tensor_source *source; // asked for each item without data, one at a time
    const atomic_bool *stop;      // may be NULL; once true, nothing is written: ERR_STOP
};

// Write `path`, whole or not at all. Data starts at a multiple of 64 bytes, and
// so does every tensor whose size is one. ERR_CREATE, ERR_FULL, ERR_IO, ERR_NOMEM,
// ERR_INPUT when what the source gives is not finite, or what the source says; logs.
ERR_CHECKED enum err safetensors_write(const char *path,
                                       const struct safetensors_write_params *p);
