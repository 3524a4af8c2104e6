// film_input: an opened film file and its picture stream, for the files of this
// room. The one place that decides what FFmpeg may open.
#pragma once

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/media/libav_log.h"

struct film_input {
    const char *path; // not owned
    AVFormatContext *demuxer;
    AVStream *picture;                  // NULL until found
    AVCodecContext *decoder;            // NULL until film_input_decode()
    struct libav_complaints complaints; // of the decoder
};

// Open the file and read its header and stream list. Only local files, only
// demuxers that read nothing but the file itself. Errors as film_probe().
ERR_CHECKED enum err film_input_open(struct film_input *out, const char *path);
void film_input_close(struct film_input *in); // a zeroed one is fine

// Choose the picture: the default one if there are several, else the largest; never a
// cover or a thumbnail. ERR_INPUT when there is none; logs.
ERR_CHECKED enum err film_input_find_picture(struct film_input *in);

// Read from now on nothing but stream `index`.
void film_input_only(struct film_input *in, unsigned index);

// Open the picture's decoder; `in` stays where it is from then on. ERR_UNAVAILABLE when FFmpeg was built without it.
ERR_CHECKED enum err film_input_decode(struct film_input *in, int threads);

// How many threads are worth it here: the processors, at most 4 (each holds
// pictures).
int film_input_threads(void);

// Time stamp of a packet for those that have only one; AV_NOPTS_VALUE for none.
int64_t packet_time(const AVPacket *p);

// The decoding times of one stream, packet after packet. A few that fall back are damage; many
// are another recording behind the first, whose pictures would all be shown at once. Begins as
// { AV_NOPTS_VALUE, 0 }.
struct stamp_watch {
    int64_t furthest; // in the stream's time base
    uint32_t behind;  // packets in a row that lie a second or more before it
};
// ERR_INPUT: these are many. Logged.
ERR_CHECKED enum err stamps_follow(struct stamp_watch *w, const char *path, const AVStream *s,
                                   const AVPacket *p);

// FFmpeg's code as ours: ENOMEM, ENOSPC and the like, else `otherwise`.
enum err err_from_libav(int code, enum err otherwise);

// True if the decoder says that parts of `f` were lost.
bool picture_is_damaged(const AVFrame *f);
