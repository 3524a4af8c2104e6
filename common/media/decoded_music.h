// decoded_music: measures a stereo track as its decoder gives it.
#pragma once

#include <libavcodec/avcodec.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/loudness.h"

struct decoded_music;

// Measure `count` samples after the first `skip` of what is decoded. On failure
// *out is NULL; logs.
ERR_CHECKED enum err decoded_music_create(struct decoded_music **out,
                                          const AVCodecParameters *par, uint64_t skip,
                                          uint64_t count);
void decoded_music_destroy(struct decoded_music **d);

// Decode one packet; NULL after the last.
ERR_CHECKED enum err decoded_music_add(struct decoded_music *d, const AVPacket *p);

ERR_CHECKED enum err decoded_music_read(struct decoded_music *d, struct loudness *out);

// How many samples were decoded in all, a coder's padding included where the
// file does not mark it.
uint64_t decoded_music_samples(const struct decoded_music *d);
