// mastering: the gain and the limiter that bring music to its loudness.
#pragma once

#include <stdbool.h>

#include "common/base/err.h"
#include "common/media/loudness.h"
#include "common/media/music_stream.h"

struct master {
    struct music_level level;
    double aim_lufs;        // before any coding
    struct loudness before; // untouched
    struct loudness after;  // at that level, before any coding
    double reduction_db;    // the most the limiter takes off
};

struct master_target {
    bool keep_loudness; // no gain
    double lufs;
    double ceiling_dbtp;
};

#define MASTER_TOLERANCE_LU 0.1

// Find the level: plain gain when that stays under the ceiling, else gain into
// the limiter, more of it as long as that brings the loudness nearer. Silence
// stays as it is. Reads the music several times.
ERR_CHECKED enum err master_find(struct master *out, struct music_stream *music,
                                 const struct master_target *target);

// The same for what a lossy coder makes of it: `decoded` is what came of the
// level in *m. *again is true when the level was changed and must be tried.
ERR_CHECKED enum err master_correct(struct master *m, struct music_stream *music,
                                    const struct master_target *target,
                                    const struct loudness *decoded, bool *again);
