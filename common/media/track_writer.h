// track_writer: music into a film, or into a WAV file of its own.
//
// The music is resampled to 48 kHz, made exactly as long as the picture, sent
// to both channels, brought to a target loudness and kept under a true-peak
// ceiling, by a look-ahead limiter where plain gain would pass it. All of that
// is measured on what a player will decode: a lossy coder that adds peaks is run
// again under a lower ceiling.
//
// Everything else in the film is copied as it is: picture, its own audio (or
// none, FILM_AUDIO_REPLACE), subtitles, chapters, tags, attachments, cover,
// rotation, HDR data. A text subtitle changes form where the container asks for
// it; what a container cannot hold at all is refused, or for bitmap subtitles, data
// tracks, attachments and tags left out with a warning.
//
// The file is written under a temporary name, opened again and checked, then
// renamed; a failure leaves nothing. Blocks; one thread per call.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/loudness.h"
#include "common/media/media_hooks.h"
#include "common/media/pcm_source.h"

#define DELIVERY_SAMPLE_RATE 48000
#define DELIVERY_DEFAULT_LUFS (-14.0)
#define DELIVERY_DEFAULT_DBTP (-1.0)

enum film_audio {
    FILM_AUDIO_ADD,     // the film's own audio stays, and stays the default
    FILM_AUDIO_REPLACE, // the music is the only audio
};

// What to write. Zero means default everywhere.
struct delivery {
    const char *film; // .mp4, .m4v, .mov or .mkv; NULL: no film
    const char *wav;  // 24-bit WAV, RF64 past 4 GiB; NULL: none
    enum film_audio audio;
    double target_lufs;   // 0: DELIVERY_DEFAULT_LUFS
    bool keep_loudness;   // no target at all; the ceiling still holds
    double ceiling_dbtp;  // 0: DELIVERY_DEFAULT_DBTP
    const char *codec;    // NULL: the container's first of
                          //   MP4 aac, alac, flac; MOV pcm_s24le, aac, alac;
                          //   MKV flac, pcm_s24le, alac, opus
    uint32_t bitrate;     // of aac and opus, bits per second; 0: 256000
    const char *title;    // of the track; NULL: "Underscore"
    const char *language; // ISO 639-2; NULL: "zxx", no linguistic content
};

#define DELIVERY_NAME_BYTES 16

struct delivery_report {
    struct loudness before; // the music as it came, on both channels
    struct loudness after;  // as decoded from what was written
    double gain_db;         // applied to all of it
    double limiter_db;      // the most the limiter took off, >= 0
    double ceiling_dbtp;    // the one used in the end
    uint64_t samples;       // at 48 kHz, per channel
    char codec[DELIVERY_NAME_BYTES];
    char container[DELIVERY_NAME_BYTES]; // "mp4", "mov", "matroska"; "wav" without a film
    uint32_t track;                      // stream index of the music in the film
    uint32_t streams;                    // in the film written
    double lead_s;                       // of silence before the music, in the film
};

// How the output of a film of this name can end: as it does, where such a file can be written, else
// "mkv". Points into `film` or is static.
const char *track_writer_ending(const char *film);

// Everything that can be refused before there is any music: the names, the
// directory, the container, its codecs. ERR_USAGE for a name or option,
// ERR_INPUT for a film whose streams do not fit, ERR_CREATE for a directory that
// cannot be written; each logged.
ERR_CHECKED enum err track_writer_check(const struct film *film, const struct delivery *d);

// The same without looking at what is on the disk; `film` NULL: without the film, too.
ERR_CHECKED enum err track_writer_check_settings(const struct film *film,
                                                 const struct delivery *d);

// Write it. `music` is at its first sample; it is read and rewound several times.
// Its length must be the film's within 100 ms (the end is cut or padded with
// silence to the sample). ERR_FULL, ERR_IO, ERR_STOP when cancelled;
// nothing is left behind. Calls track_writer_check() itself.
ERR_CHECKED enum err track_writer_run(const struct film *film, const struct delivery *d,
                                      struct pcm_source *music, const struct media_hooks *hooks,
                                      struct delivery_report *report);

// The music once more as `report` says that it was delivered, before any coding: *out is at
// its first sample. `music` and `hooks` must outlive it. Errors as music_stream_start().
struct music_stream;
ERR_CHECKED enum err track_writer_listen(struct music_stream **out, const struct film *film,
                                         struct pcm_source *music,
                                         const struct delivery_report *report,
                                         const struct media_hooks *hooks);
