// picture_reader: decoded pictures of a film in the order they are shown, from
// any time on, with what nobody will look at left undecoded.
//
// Times are ticks of the picture stream (film->tick_num / tick_den seconds), as
// the container counts them: film->origin is the film's time 0.
//
// One thread per reader; decoding uses a few threads of its own, until the
// decoder complains: FFmpeg's threads make of a damaged film what chance wants,
// one alone makes the same of it every time.
#pragma once

#include <libavutil/frame.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/media_hooks.h"

struct picture_reader;

struct picture_options {
    // True if a picture shown from `from` until before `to` must be decoded. NULL: all
    // must. Asked in decoding order; pictures that others are predicted from are
    // decoded in any case.
    bool (*wanted)(void *user, int64_t from, int64_t to);
    void *user;
    bool rough;                      // a little blockiness where it does not spread is fine
    const struct media_hooks *hooks; // cancelled()
};

// `film` must outlive the reader. On failure *out is NULL.
ERR_CHECKED enum err picture_reader_open(struct picture_reader **out, const struct film *film,
                                         const struct picture_options *options);
void picture_reader_close(struct picture_reader **r);

// The next picture, ascending in *ticks, owned by the reader until the next
// call; NULL at the end. Damaged ones come too, and are counted.
ERR_CHECKED enum err picture_reader_next(struct picture_reader *r, const AVFrame **out,
                                         int64_t *ticks);

// What comes next may start at any picture shown at or before `ticks`: pictures
// before it are skipped as far as that is free.
ERR_CHECKED enum err picture_reader_skip_to(struct picture_reader *r, int64_t ticks);

// Go back (or far ahead) so that the next picture is shown at or before `ticks`, or is the
// film's first. `margin` ticks earlier than necessary, for a second attempt.
ERR_CHECKED enum err picture_reader_seek(struct picture_reader *r, int64_t ticks,
                                         int64_t margin);

// The newest picture read from the file, decoded or not.
int64_t picture_reader_position(const struct picture_reader *r);

// Where decoding last began after a seek or a skip: if the first picture given
// comes on later than this, those between were lost. INT64_MIN from the start.
int64_t picture_reader_began(const struct picture_reader *r);

uint64_t picture_reader_damaged(const struct picture_reader *r);
