// wav_writer: music as a 24-bit stereo WAV file, RF64 where 32-bit sizes no
// longer do.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/loudness.h"
#include "common/media/music_stream.h"

#define WAV_MAX_HEADER 80

// The bytes before the first sample of `samples` stereo samples; returns how
// many. Sources: Microsoft, "Multimedia Programming Interface and Data
// Specifications 1.0" (RIFF WAVE); EBU Tech 3306 (RF64).
size_t wav_header(uint8_t out[WAV_MAX_HEADER], uint64_t samples, uint32_t sample_rate);

// Write all of `music`, at this level, and measure what was written. The file
// appears whole or not at all. ERR_CREATE, ERR_IO, ERR_STOP; logs.
ERR_CHECKED enum err wav_write(const char *path, struct music_stream *music,
                               const struct music_level *level, struct loudness *written);
