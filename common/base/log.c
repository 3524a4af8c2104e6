#include "common/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TAIL_BYTES 4096 // more than a line has

static const char *program_name = "underscore";
static enum log_level current_level = LOG_INFO;

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    current_level = level;
}

enum log_level log_level_get(void)
{
    return current_level;
}

static pthread_mutex_t tail_lock = PTHREAD_MUTEX_INITIALIZER;
static char tail[TAIL_BYTES]; // whole lines, newlines included
static size_t tail_bytes;

static void keep(const char *line, size_t bytes)
{
    pthread_mutex_lock(&tail_lock);
    while (tail_bytes + bytes > sizeof(tail)) {
        const size_t first = (size_t) ((char *) memchr(tail, '\n', tail_bytes) - tail) + 1;
        memmove(tail, tail + first, tail_bytes - first);
        tail_bytes -= first;
    }
    memcpy(tail + tail_bytes, line, bytes);
    tail_bytes += bytes;
    pthread_mutex_unlock(&tail_lock);
}

void log_tail(char *out, size_t room)
{
    out[0] = 0;
    pthread_mutex_lock(&tail_lock);
    size_t from = tail_bytes; // of the first line that is taken
    for (size_t i = tail_bytes; i-- > 0 && tail_bytes - i <= room;)
        if (i == 0 || tail[i - 1] == '\n')
            from = i;
    if (from < tail_bytes) {
        memcpy(out, tail + from, tail_bytes - from);
        out[tail_bytes - from - 1] = 0; // in the place of the last newline
    }
    pthread_mutex_unlock(&tail_lock);
}

__attribute__((format(printf, 2, 0))) static void write_line(const char *kind,
                                                             const char *format, va_list args)
{
    char line[2048];
    int n = snprintf(line, sizeof(line), "%s: %s", program_name, kind);
    if (n < 0)
        return;
    size_t used = (size_t) n < sizeof(line) - 2 ? (size_t) n : sizeof(line) - 2;
    n = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
    if (n < 0)
        return;
    used += strlen(line + used);
    for (size_t i = 0; i < used; i++)
        if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[used++] = '\n';
    keep(line, used);
    if (write(STDERR_FILENO, line, used) < 0)
        return; // nobody left to tell
}

void log_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line("error: ", format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    if (current_level < LOG_WARN)
        return;
    va_list args;
    va_start(args, format);
    write_line("warning: ", format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    if (current_level < LOG_INFO)
        return;
    va_list args;
    va_start(args, format);
    write_line("", format, args);
    va_end(args);
}

void log_debug(const char *format, ...)
{
    if (current_level < LOG_DEBUG)
        return;
    va_list args;
    va_start(args, format);
    write_line("debug: ", format, args);
    va_end(args);
}
