// screen: a few lines that are drawn again and again in their place on a terminal, and once
// each, one after the other, where standard output is none.
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "common/base/err.h"

struct screen {
    bool terminal;
    unsigned drawn; // lines that are there
    char *text;     // of the picture being made
    size_t bytes;
    FILE *f;
};

void screen_init(struct screen *s);

// Where the next picture is written, line by line. NULL: out of memory.
FILE *screen_begin(struct screen *s);

// Shows it; on a terminal in the place of the one before, as many lines as there is room for.
// ERR_IO: standard output takes no more; logged.
ERR_CHECKED enum err screen_show(struct screen *s);

// The terminal as it was: Ctrl-C may have swallowed the end of a picture.
void screen_finish(const struct screen *s);
