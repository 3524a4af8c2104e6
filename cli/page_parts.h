// page_parts: what the files of the page share. Each part writes itself to `out`; what
// cannot be written is seen by the one who commits the file.
#pragma once

#include <stdio.h>

#include "cli/page.h"

struct page {
    const struct job_story *story;
    const struct delivery_options *options;
    FILE *out;
};

// The last name of a path.
const char *page_name(const char *path);

// The film or the music, and what plays them.
ERR_CHECKED enum err page_player(const struct page *p);

// Everything along one line of time.
ERR_CHECKED enum err page_score(const struct page *p);

// Tables: each cue; what was measured; how it was made.
void page_cues(const struct page *p);
void page_measures(const struct page *p);
void page_making(const struct page *p);
