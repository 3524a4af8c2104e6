// local_copy: a node's copy of the model while it comes in, and the rules by which it becomes
// the file.
//
// What comes in is compared with the file that is there under that name, if it has the right
// size: as long as they are the same, nothing is written. Otherwise it goes to a temporary
// file beside it, which is synced, read back, compared with the model's SHA-256 and only then
// renamed. After an error there is nothing to clean up.
//
// One thread. Errors are logged: ERR_CREATE (the folder, the file), ERR_IO (a full disk; not
// what was sent), ERR_NOMEM.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct local_copy {
    char *path, *temporary; // the temporary file is there from the first byte that is new
    int out, old;           // -1: not open
    uint64_t bytes, at;
};

// The folder is made. What copies that were killed left in it is removed.
ERR_CHECKED enum err local_copy_begin(struct local_copy *c, const char *directory,
                                      const char *name, uint64_t bytes);
ERR_CHECKED enum err local_copy_add(struct local_copy *c, const uint8_t *data, size_t bytes);
// All of it has come. *was_there: the file was the right one, and is as it was.
ERR_CHECKED enum err local_copy_finish(struct local_copy *c, const char *sha256,
                                       bool *was_there);
void local_copy_discard(struct local_copy *c); // a zeroed or finished one is fine

// Whether a file of that SHA-256 is there; *bytes is its size then.
bool local_copy_is_there(const char *directory, const char *name, const char *sha256,
                         uint64_t *bytes);
