// scenes: when a film cuts, by FFmpeg's detector (scdet) over a small copy of
// every picture. One pass, memory independent of the length but for the result.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/media_hooks.h"

#define SCENES_DEFAULT_THRESHOLD 10.0

struct scene_options {
    double threshold; // percent of change, 0..100; 0 means SCENES_DEFAULT_THRESHOLD
    const struct media_hooks *hooks;
};

struct scene_cuts {
    int64_t *ms;    // film time of the first picture of each new scene, ascending, > 0
    double *scores; // how much changed there, 0..100
    size_t count;
    uint64_t damaged; // pictures that could not be decoded, left out
};

// ERR_STOP when cancelled, ERR_NOMEM; a film that never cuts is ERR_OK with
// count 0. On failure *out is zeroed. The caller ends with scene_cuts_release().
ERR_CHECKED enum err scenes_detect(struct scene_cuts *out, const struct film *film,
                                   const struct scene_options *options);
void scene_cuts_release(struct scene_cuts *c); // a zeroed one is fine
