// id_map: from 64-bit numbers to places in an array, in constant time.
//
// One owner, any thread. A zeroed one is empty.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct id_map {
    struct id_slot *slots; // open addressing, no more than half full
    size_t count, room;    // room: 0 or a power of two
};

struct id_slot {
    uint64_t id;
    uint64_t place; // and one; 0: free
};

// Room for `count` in all, so that as many id_map_put() cannot fail. ERR_NOMEM.
ERR_CHECKED enum err id_map_reserve(struct id_map *m, size_t count);
// Needs room for it, if it is not there yet.
void id_map_put(struct id_map *m, uint64_t id, size_t place);
void id_map_remove(struct id_map *m, uint64_t id);        // one that is not there: nothing
int64_t id_map_find(const struct id_map *m, uint64_t id); // -1: it is not there
void id_map_finish(struct id_map *m);
