// stream_fate: what becomes of each of a film's streams in another container.
#pragma once

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/media/track_writer.h"

enum stream_fate {
    STREAM_COPY,      // packet by packet, untouched
    STREAM_TEXT,      // a text subtitle, rewritten in the container's own form
    STREAM_COVER,     // a cover picture, as an attachment
    STREAM_DROP,      // asked to go, or written anew by the container: not worth a word
    STREAM_LEAVE_OUT, // cannot be held, the film is whole without it: a warning
    STREAM_REFUSE,    // cannot be held, and the film would not be the same
};

struct stream_plan {
    enum stream_fate fate;
    enum AVCodecID text; // STREAM_TEXT: what it becomes
    const char *what;    // for messages: "bitmap subtitles"
};

struct stream_plan stream_fate_of(const AVFormatContext *film, const AVStream *s,
                                  const AVOutputFormat *to, enum film_audio audio);

// False for a sound or picture that a transport stream names where none of it can be seen yet:
// no container takes it.
bool stream_is_known(const AVStream *s);

// The four-letter code of `s` if the container knows it for that codec, else 0:
// the container chooses.
uint32_t stream_tag_in(const AVStream *s, const AVOutputFormat *to);
