// text_track: text subtitles from one form to another, through FFmpeg's ASS.
#pragma once

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdbool.h>

#include "common/base/err.h"

struct text_track;

// ERR_UNAVAILABLE when FFmpeg cannot convert `from` to `to`; logs. On failure
// *out is NULL.
ERR_CHECKED enum err text_track_create(struct text_track **out, const AVStream *from,
                                       enum AVCodecID to);
void text_track_destroy(struct text_track **t);

// The new form's parameters.
const AVCodecContext *text_track_context(const struct text_track *t);

// `in` becomes what it says in the new form, in the same time base; *shown is false
// when it says nothing. A line that cannot be read counts as nothing.
ERR_CHECKED enum err text_track_convert(struct text_track *t, AVPacket *in, bool *shown);
