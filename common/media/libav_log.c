#include "common/media/libav_log.h"

#include <libavcodec/avcodec.h>
#include <libavutil/avstring.h>
#include <libavutil/error.h>
#include <libavutil/log.h>
#include <stdarg.h>
#include <string.h>
#include <threads.h>

#include "common/base/log.h"

#define LINE_BYTES 512

static _Thread_local char kept[LINE_BYTES];
static _Thread_local bool demuxer_failed;
static _Thread_local int at_line_start = 1;
static once_flag started = ONCE_FLAG_INIT;

static void trim(char *line)
{
    size_t n = strlen(line);
    while (n && (line[n - 1] == '\n' || line[n - 1] == ' ' || line[n - 1] == '.'))
        line[--n] = 0;
}

// "[mov,mp4 @ 0x55d0] text": the address says nothing to a user.
static const char *without_address(const char *line)
{
    const char *end = line[0] == '[' ? strstr(line, "] ") : NULL;
    return end ? end + 2 : line;
}

static bool is_demuxer(void *who)
{
    if (!who)
        return false;
    const AVClass *class = *(AVClass **) who;
    return class && class->get_category &&
           class->get_category(who) == AV_CLASS_CATEGORY_DEMUXER;
}

static void count_complaint(void *who)
{
    if (!who || *(const AVClass **) who != avcodec_get_class())
        return;
    struct libav_complaints *c = ((const AVCodecContext *) who)->opaque;
    if (c)
        atomic_fetch_add(&c->errors, 1);
}

static void take_line(void *who, int level, const char *format, va_list args)
{
    if (level > AV_LOG_VERBOSE)
        return;
    char line[LINE_BYTES];
    av_log_format_line2(who, level, format, args, line, sizeof(line), &at_line_start);
    trim(line);
    const char *text = without_address(line);
    if (!text[0])
        return;
    log_debug("ffmpeg: %s", line);
    if (level > AV_LOG_ERROR)
        return;
    av_strlcpy(kept, text, sizeof(kept));
    demuxer_failed |= is_demuxer(who);
    count_complaint(who);
}

static void start(void)
{
    av_log_set_callback(take_line);
}

void libav_log_start(void)
{
    call_once(&started, start);
}

void libav_log_forget(void)
{
    kept[0] = 0;
    demuxer_failed = false;
}

bool libav_log_demuxer_failed(void)
{
    return demuxer_failed;
}

const char *libav_log_reason(int code)
{
    if (!kept[0])
        av_strerror(code, kept, sizeof(kept));
    return kept;
}
