// array: growing ones.
#pragma once

#include <stddef.h>

#include "common/base/err.h"

// Room for one more than `count` in an array from malloc (or NULL) that has `room` places of
// so many bytes; it may move. ERR_NOMEM: it is as it was.
ERR_CHECKED enum err array_grow(void **items, size_t count, size_t *room, size_t bytes);
