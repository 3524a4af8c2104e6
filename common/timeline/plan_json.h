// plan_json: a plan as text: for people to read, for other programs to keep.
//
// The JSON form is what `underscore plan FILM -o plan.json` writes and what
// `compose` and `stitch` read, perhaps on another machine and by another build:
// it carries a version, and every number a foreign engine needs. Seeds are
// decimal strings, because JSON readers lose digits past 2^53.
//
//   { "version": 1,
//     "film": { "path", "duration_ms", "bytes"?, "sha256"? },
//     "settings": { "segment_ms", "overlap_ms", "crossfade_ms", "cut": "scene"|"none",
//                   "min_cue_ms", "max_cue_ms", "seed": "0" },
//     "model": { "sample_rate", "hop", "max_duration_ms" },
//     "cuts": [ { "at_ms", "strength" } ],                  the scene changes found
//     "cues": [ { "cue", "cut_ms", "next_cut_ms", "start_ms", "end_ms",
//                 "opening": "start"|"scene"|"forced", "first_segment", "segments" } ],
//     "segments": [ { "segment", "cue", "index", "start_ms", "end_ms", "overlap_ms",
//                     "first_column", "columns", "prompt_columns", "seed": "...",
//                     "prompt_from": N|null } ] }
//
// Pure; any thread.
#pragma once

#include <jansson.h>

#include "common/timeline/plan.h"

#define PLAN_VERSION 1

// The whole plan. A new reference for the caller; NULL when out of memory, logged.
// Bytes of the film's path that are not UTF-8, which JSON cannot say, become U+FFFD,
// with a warning: such a film has to be named again where the plan is used.
json_t *plan_to_json(const struct plan *p);

// Strict: a key that is missing, unknown, doubled, of the wrong type or out of
// range, an unknown version, and anything plan_check() would refuse is ERR_INPUT and one
// logged line. `what` names the source in messages (a file name). On success the
// caller owns *out. `root` is only read.
ERR_CHECKED enum err plan_from_json(struct plan **out, const json_t *root, const char *what);

// The same over text, which need not end in a zero byte. plan_to_text() gives one
// item a line and a newline at the end; the caller frees it; NULL as above.
char *plan_to_text(const struct plan *p);
ERR_CHECKED enum err plan_from_text(struct plan **out, const char *text, size_t bytes,
                                    const char *what);

// For people: the film, a line for each cue with its times, length, what opened it
// and its segments. The caller frees it; NULL when out of memory.
char *plan_to_table(const struct plan *p);
