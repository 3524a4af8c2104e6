// tensor_dump: named tensors gathered in memory and written as one safetensors
// file. It is a probe: what the stages of a model show lands in it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/model/probe.h"
#include "worker/model/tensors.h"

struct tensor_dump {
    struct probe probe; // first
    struct safetensors_item *items;
    size_t count, room;
};

void tensor_dump_init(struct tensor_dump *d);
void tensor_dump_finish(struct tensor_dump *d); // a zeroed one is fine

// Copy a tensor in. One that is there already grows by it along the first
// extent. ERR_BUG when the rest of the shape differs; ERR_NOMEM; logs.
ERR_CHECKED enum err tensor_dump_add(struct tensor_dump *d, const char *name, enum dtype dtype,
                                     const void *data, uint32_t rank, const uint64_t *shape);

// The same for tokens, [rows][cols], as I64.
ERR_CHECKED enum err tensor_dump_tokens(struct tensor_dump *d, const char *name,
                                        const int32_t *tokens, uint32_t rows, uint64_t cols);

// All of it to `path`, whole or not at all.
ERR_CHECKED enum err tensor_dump_write(const struct tensor_dump *d, const char *path);
