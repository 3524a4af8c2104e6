// deliver: parts on disk, stitched and written as a film's music.
#pragma once

#include <jansson.h>

#include "common/media/film.h"
#include "common/media/media_hooks.h"
#include "common/media/track_writer.h"
#include "common/parts/parts.h"
#include "common/timeline/stitch.h"

// The parts in `directory`, stitched as they are read; cast back from `source`.
struct parts_music {
    struct pcm_source source;
    struct stitch *stitch;
    struct part_loader loader;
};

// `p` and `directory` must outlast it, and it must not be moved. ERR_INPUT,
// ERR_NOMEM; logged, and then there is nothing to close.
ERR_CHECKED enum err parts_music_open(struct parts_music *m, const struct plan *p,
                                      const char *directory);
void parts_music_close(struct parts_music *m);

// Stitch the parts in `directory` and deliver. ERR_STOP when cancelled, otherwise
// what the parts, the stitch or the track writer say; logged. On success the
// caller owns *seams, stitch_seams_to_json(), when `seams` is not NULL.
ERR_CHECKED enum err deliver_parts(const struct plan *p, const char *directory,
                                   const struct film *film, const struct delivery *delivery,
                                   const struct media_hooks *hooks,
                                   struct delivery_report *report, json_t **seams);
