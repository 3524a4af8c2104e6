// films: the films that a command line means, and the output of each.
//
// An argument is a file, a folder (the films in it, and with `recursive` in the folders
// below), or a pattern of those. Everything is known and checked before anything is done.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

struct film_output {
    char *film, *output; // absolute
    // The same with the links of their folders followed: what they are compared by.
    char *film_is, *output_is;
    bool found; // in a folder or by a pattern: not named
};

struct films {
    struct film_output *items;
    size_t count, room;
};

// All films of `arguments`, each once, in their order, those of a folder by name. A name
// that is not there stays: it may be elsewhere. ERR_MISSING: a folder or pattern without
// films; logged. The caller ends with films_free(), on failure too.
ERR_CHECKED enum err films_collect(struct films *out, char *const *arguments, size_t count,
                                   bool recursive);
void films_free(struct films *f); // a zeroed one is fine

// Names each output by `pattern`, in which {dir}, {name} and {ext} are those of the film; {ext} is
// "mkv" where no film that ends so can be written. A
// film that was found and is the output of another is no film of this command, and leaves.
// ERR_USAGE logs: an unknown {word}, two films with one output, a film named that is
// another's output.
ERR_CHECKED enum err films_name_outputs(struct films *f, const char *pattern);
