// music_clip: music as one small MP4 file in memory, for a page that plays it.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/media/music_stream.h"
#include "common/media/picture_file.h"

#define MUSIC_CLIP_BITRATE 160000
#define MUSIC_CLIP_TYPE "audio/mp4"

// About as many bytes as a clip of so many samples will have.
uint64_t music_clip_bytes(uint64_t samples);

// All of `music`, which is at its first sample, as AAC. ERR_UNAVAILABLE when this FFmpeg
// cannot write that, ERR_STOP; logs. On failure *out is zeroed.
ERR_CHECKED enum err music_clip_make(struct media_bytes *out, struct music_stream *music);
