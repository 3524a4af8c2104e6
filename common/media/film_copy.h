// film_copy: a film into a new file, stream by stream as it is, with the music
// as one more track.
#pragma once

#include <libavformat/avformat.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/film.h"
#include "common/media/media_hooks.h"
#include "common/media/music_encoder.h"
#include "common/media/track_writer.h"

struct film_copy;

struct film_copy_options {
    const struct film *film;
    const AVOutputFormat *container;
    enum film_audio audio;
    const char *title, *language;
    const AVCodecContext *music; // of the music encoder
    const char *path; // to write; NULL: into memory, the header only, to see if it can be done
    const char *name; // of the output, for messages
};

// Open both and write the header. Everything in `options` must outlive it. ERR_INPUT when
// a stream does not fit, ERR_CREATE when the file cannot be written; logs. On
// failure *out is NULL.
ERR_CHECKED enum err film_copy_open(struct film_copy **out,
                                    const struct film_copy_options *options);
void film_copy_close(struct film_copy **c);

// Copy all of it and finish the file. ERR_FULL, ERR_IO when it cannot be written, ERR_STOP.
ERR_CHECKED enum err film_copy_run(struct film_copy *c, struct music_encoder *music,
                                   const struct media_hooks *hooks);

// Does this tag describe the form of a file, not the film, so that it is not copied?
bool film_copy_is_form_tag(const char *key);

// Samples of silence at DELIVERY_SAMPLE_RATE before the music, for a film whose
// picture starts after its sound. Opens the film.
ERR_CHECKED enum err film_copy_lead(const struct film *film, uint64_t *samples);
