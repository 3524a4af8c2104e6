// decoded_music: measures a stereo track as its decoder gives it.
#pragma once

#include <libavcodec/avcodec.h>

#include "common/base/err.h"
#include "common/media/loudness.h"

struct decoded_music;

// On failure *out is NULL; logs.
ERR_CHECKED enum err decoded_music_create(struct decoded_music **out,
                                          const AVCodecParameters *par);
void decoded_music_destroy(struct decoded_music **d);

// Decode one packet; NULL after the last.
ERR_CHECKED enum err decoded_music_add(struct decoded_music *d, const AVPacket *p);

// The loudness and how many samples there were, the coder's padding included
// where the file does not mark it.
ERR_CHECKED enum err decoded_music_read(struct decoded_music *d, struct loudness *out);
