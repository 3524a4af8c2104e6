// film: what a film file is, found out without decoding more than its first
// picture.
//
// Time 0 of a film is when its first picture is shown, whatever time stamps the
// container uses; every millisecond elsewhere in the program counts from there.
// The duration is the picture's: from the first picture shown to the end of the
// last, edit lists obeyed. It is measured at the file's end, not believed from
// the header.
//
// Blocks on the disk. Films share nothing: any thread, one thread per film.
// FFmpeg's own messages become log_debug() lines.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

#define FILM_NAME_BYTES 48
#define FILM_TITLE_BYTES 256

struct film {
    char *path;
    char container[FILM_NAME_BYTES];     // libavformat's name: "matroska,webm"
    char picture_codec[FILM_NAME_BYTES]; // "h264"
    char audio_codec[FILM_NAME_BYTES];   // of the first audio track, "" without one
    char pixel_format[FILM_NAME_BYTES];  // "yuv420p10le"
    char title[FILM_TITLE_BYTES];        // as its tags have it, cut to fit; "" without one
    int64_t duration_ms;                 // rounded to the nearest, at least 1
    double frames_per_s;                 // on average
    uint32_t width, height;              // as displayed: rotated, square pixels
    uint32_t coded_width, coded_height;  // as stored
    int rotation;                        // 0, 90, 180, 270: clockwise, to show it
    bool mirrored;                       // left and right change places, before the rotation
    bool hidden_start;                   // an edit list hides the pictures before the first
    bool interlaced;                     // the first picture says so
    bool hdr;                            // PQ or HLG: frames.h tone-maps it
    uint32_t audio_tracks, subtitle_tracks, chapters;

    // The picture in its container's terms, for the rest of this room.
    uint32_t picture;         // stream index
    int64_t origin, duration; // in ticks of tick_num / tick_den seconds
    int64_t delay;            // how long after decoding the first picture is shown
    int32_t tick_num, tick_den;
};

// Look at the film in `path`. ERR_MISSING when there is no such file;
// ERR_INPUT when it is empty, not a film, without a picture, without length or
// cut short; each logged in one line that says what to do. On failure *out is
// zeroed. The caller ends with film_release().
ERR_CHECKED enum err film_probe(struct film *out, const char *path);
void film_release(struct film *f); // a zeroed one is fine

// round(duration * sample_rate): how long music for this film is, exactly.
uint64_t film_samples(const struct film *f, uint32_t sample_rate);

// Ticks that one picture lasts on average.
int64_t film_usual_ticks(const struct film *f);
