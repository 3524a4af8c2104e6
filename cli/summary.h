// summary: what was made, on one screen: each cue with its outline and loudness, the seams
// between them, the whole. On a terminal of at least SUMMARY_MIN_COLUMNS that writes UTF-8; plain
// lines without outlines elsewhere.
#pragma once

#include "cli/finish_film.h"

#define SUMMARY_MIN_COLUMNS 60

// To standard output.
void summary_print(const struct job_story *story, const struct delivery_options *options);
