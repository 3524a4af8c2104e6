// frames: the pictures a viewer would see at given times, as RGB.
//
// A window [start_ms, end_ms) of the film asks for the picture shown at every
// t = i / rate that lies in it, i counting from the film's time 0, so that
// neighbouring windows share one grid and never a frame. A window in which no
// such time falls gives the one frame shown at its start. A picture is shown
// from its time stamp until the next one's; the last one, to the end.
//
// Pictures come in display geometry: rotated, stretched to square pixels,
// deinterlaced if they are interlaced, tone-mapped to SDR if they are HDR (those
// shrunk first to at most 1080 lines or columns: memory). What need not be
// decoded is not, where that is safe. A picture that cannot be decoded is
// replaced by the last good one, or the first good one where there is none
// before it; the reader warns once and counts.
//
// Memory: a few pictures and at most 32 MiB of packets, whatever the film's
// length. One thread at a time per reader; decoding uses a few threads of its own.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/media_hooks.h"

enum frame_picking {
    FRAMES_SHOWN,   // as above
    FRAMES_STEPPED, // picture number i * max(1, int(int(fps) / rate)), as the published
                    // sampler counts; drifts, for parity only. Decodes everything.
};

struct frame_options {
    double rate; // per second; > 0
    enum frame_picking picking;
    const struct media_hooks *hooks; // cancelled() only; must outlive the reader
};

struct frame {
    const uint8_t *rgb; // [height, width, 3], rows without gaps; NULL after the last
    uint32_t width, height;
    int64_t index;  // i of the grid; -1 for the one frame of a window without a grid point
    double time_s;  // i / rate, or the window's start
    double shown_s; // when this picture came on, film time
};

struct frame_reader;

// Open `film` for reading; it must outlive the reader. On failure *out is NULL.
ERR_CHECKED enum err frame_reader_open(struct frame_reader **out, const struct film *film,
                                       const struct frame_options *options);
void frame_reader_close(struct frame_reader **r);

// Begin a window. Any order; ascending ones cost no more decoding than one
// long window. 0 <= start_ms < end_ms. It has frame_count() frames (common/timeline/frame_grid.h).
ERR_CHECKED enum err frame_reader_window(struct frame_reader *r, int64_t start_ms,
                                         int64_t end_ms);

// The window's next frame, valid until the next call on this reader; out->rgb
// is NULL when the window has no more. ERR_INPUT when nothing in the film can be
// decoded, ERR_STOP when cancelled.
ERR_CHECKED enum err frame_reader_next(struct frame_reader *r, struct frame *out);

// Pictures that could not be decoded so far.
uint64_t frame_reader_damaged(const struct frame_reader *r);
