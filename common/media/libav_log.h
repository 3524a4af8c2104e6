// libav_log: FFmpeg's own messages as log_debug() lines, the last one that
// matters kept for our message.
//
// FFmpeg has one message callback for the process; libav_log_start() sets it.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

// Any thread, any number of times.
void libav_log_start(void);

// An AVCodecContext whose `opaque` points to one of these has its errors counted,
// those of its threads too. Zero it first.
struct libav_complaints {
    atomic_uint errors;
};

// Forget the kept line of this thread; before a call whose failure will be told.
void libav_log_forget(void);

// True if a demuxer logged an error on this thread since: it steps over damage
// in a file and returns the next packet as if nothing were missing.
bool libav_log_demuxer_failed(void);

// Why FFmpeg's call just failed with `code`: the last error it logged on this
// thread, else the text of the code. Valid until this thread's next call here.
const char *libav_log_reason(int code);
