// sound_picture: what music looks like: its outline, its spectrogram, and how loud its
// parts are. One reading of the music, memory independent of its length.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/media/loudness.h"
#include "common/media/music_stream.h"

struct sound_picture_options {
    uint32_t columns;      // of outline and spectrogram; fewer for music of fewer samples
    uint32_t bands;        // of the spectrogram
    const uint64_t *parts; // [part_count + 1], ascending: part i is samples parts[i] ..
                           // parts[i + 1] of the music
    uint32_t part_count;
};

// Column c is samples c N / columns .. (c + 1) N / columns of the N.
struct sound_picture {
    uint32_t columns, bands, part_count;
    float *peak, *rms;      // [columns], of full scale
    uint8_t *shade;         // [bands][columns], the highest band first: 255 is the loudest
                            // there is, 0 is SOUND_PICTURE_RANGE_DB below it or less
    struct loudness *parts; // [part_count]
};

// The bands divide 40 Hz .. 16 kHz evenly on the mel scale (m = 2595 log10(1 + f / 700));
// each is a triangle between its neighbours' centres over the power spectrum of Hann windows.
#define SOUND_PICTURE_RANGE_DB 80.0

// Read all of `music`, which is at its first sample. On failure *out is zeroed. The caller
// ends with sound_picture_release().
ERR_CHECKED enum err sound_picture_take(struct sound_picture *out, struct music_stream *music,
                                        const struct sound_picture_options *options);
void sound_picture_release(struct sound_picture *p); // a zeroed one is fine
