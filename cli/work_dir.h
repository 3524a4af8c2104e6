// work_dir: where a run keeps its parts until the film is delivered, so that an
// interrupted one can be taken up.
#pragma once

#include <stdbool.h>

#include "common/base/err.h"

// "OUT.underscore", or "OUT.underscore-VERB" of a verb that keeps nothing there to be taken up.
// The caller frees; NULL when out of memory.
char *work_dir_path(const char *output, const char *verb);

// Make it. One with parts in it is taken up when `resume`, emptied when
// `restart`, and otherwise refused (ERR_CREATE) with a line that says so; so is one in which another
// run is at work. It is this one's until work_dir_release(lock), which is called even on failure.
ERR_CHECKED enum err work_dir_begin(const char *path, bool resume, bool restart, int *lock);
void work_dir_release(int *lock); // -1 is fine, and what is left there

// Remove it with the parts, plan and temporary files in it, and nothing else
// that somebody may have put there.
void work_dir_remove(const char *path);

// Are there finished parts in it, worth taking up?
bool work_dir_has_parts(const char *path);
