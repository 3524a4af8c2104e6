// written_check: opens a film just written again and holds it against what it
// should be.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/loudness.h"
#include "common/media/media_hooks.h"
#include "common/media/track_writer.h"

struct written_film {
    const char *path;
    const struct film *film; // it was made from
    enum film_audio audio;
    uint32_t streams, track; // how many, and which the music is
    uint64_t samples;        // of the music track
    bool exact;              // decoding gives just so many; lossy coders pad
    const struct media_hooks *hooks;
};

// *music is the music as decoded from the file. ERR_IO when anything is not as
// it should be; logs what.
ERR_CHECKED enum err written_check(const struct written_film *w, struct loudness *music);
