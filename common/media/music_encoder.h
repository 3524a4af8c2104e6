// music_encoder: a music stream as packets of a stereo track, and what a player
// makes of them.
#pragma once

#include <libavcodec/avcodec.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/loudness.h"
#include "common/media/music_stream.h"

struct music_encoder;

struct music_codec {
    const char *name; // as struct delivery has it
    uint32_t bitrate; // lossy ones
    uint64_t lead;    // samples of silence before the music
};

// ERR_USAGE for a codec that is none of ours, ERR_UNAVAILABLE when FFmpeg was
// built without it; logs. On failure *out is NULL. `music` must outlive it and
// be started before the first packet; NULL to look at the parameters only.
ERR_CHECKED enum err music_encoder_create(struct music_encoder **out,
                                          const struct music_codec *codec,
                                          struct music_stream *music);
void music_encoder_destroy(struct music_encoder **m);

// The track's parameters; its time base is 1 / sample rate.
const AVCodecContext *music_encoder_context(const struct music_encoder *m);

// The next packet into the blank `p`, stamped from the track's start on; *got
// is false after the last.
ERR_CHECKED enum err music_encoder_next(struct music_encoder *m, AVPacket *p, bool *got);

bool music_codec_is_lossy(const char *name);

// Encode all of it, decode that again and measure. Starts `music` at `level`.
ERR_CHECKED enum err music_encoder_trial(struct loudness *out, const struct music_codec *codec,
                                         struct music_stream *music,
                                         const struct music_level *level);
