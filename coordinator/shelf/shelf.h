// shelf: the model files that the coordinator can hand out, by their SHA-256.
//
// A thread of its own looks through the folders every few seconds and hashes what is new or has
// changed; until it has, a file is not on the shelf. Everything here may be called from any
// thread and waits for no disk, but for shelf_close(), which waits for a hash under way.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define SHELF_SHA256_BYTES 65

struct shelf;

// `folders` ends with NULL and is copied; their *.safetensors count. ERR_NOMEM.
ERR_CHECKED enum err shelf_open(struct shelf **out, const char *const *folders);
void shelf_close(struct shelf **s); // NULL inside is fine

// The file of that hash: its path, cut to `room`, and size. False: it is not here. A NULL
// shelf is empty.
bool shelf_find(struct shelf *s, const char *sha256, char *path, size_t room, uint64_t *bytes);
// The hash of the only one there is; false: there are none, or several, or there may be: not all
// that was there at first is hashed yet.
bool shelf_only(struct shelf *s, char sha256[SHELF_SHA256_BYTES]);
