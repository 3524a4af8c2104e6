// model_hash: the SHA-256 of a model, as it comes by and of a file. Any thread, one per hash.
//
// A fast network is kept up with where the CPU has instructions for it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <nettle/sha2.h>

#include "common/base/err.h"

#define MODEL_HASH_TEXT 65 // hex digits and the closing zero

struct model_hash {
    struct sha256_ctx state;
};

void model_hash_begin(struct model_hash *h);
void model_hash_add(struct model_hash *h, const uint8_t *data, size_t bytes);
void model_hash_end(struct model_hash *h, char out[MODEL_HASH_TEXT]);

// Of all of a file, read from the disk as far as the system can be made to. `name` is for
// messages. ERR_IO, logged.
ERR_CHECKED enum err model_hash_file(int fd, const char *name, char out[MODEL_HASH_TEXT]);
