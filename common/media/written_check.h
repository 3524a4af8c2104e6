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
    const char *name;        // it will have, for messages
    const struct film *film; // it was made from
    enum film_audio audio;
    uint64_t lead, samples; // silence before the music, and the music
    bool exact;             // decoding gives just so many; lossy coders pad
    const char *language;   // asked for; NULL: any
    const struct media_hooks *hooks;
};

struct written_music {
    struct loudness loudness; // as decoded from the file
    uint32_t track, streams; // as a reader counts them: covers and chapters may stand elsewhere
};

// ERR_INPUT when anything is not as it should be: a film that cannot be copied as
// it is; logs what.
ERR_CHECKED enum err written_check(const struct written_film *w, struct written_music *music);
