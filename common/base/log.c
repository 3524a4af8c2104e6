#include "common/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_BYTES 4096 // more than a line has

static const char *program_name = "underscore";
static enum log_level current_level = LOG_INFO;
static bool to_journal;
static _Thread_local char *kept_error;
static _Thread_local size_t kept_room;

static bool is_journal(void)
{
    const char *set = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return set && sscanf(set, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *program, enum log_level level)
{
    program_name = program;
    current_level = level;
    to_journal = is_journal();
}

enum log_level log_level_get(void)
{
    return current_level;
}

void log_keep_error(char *out, size_t room)
{
    kept_error = out;
    kept_room = room;
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

__attribute__((format(printf, 3, 0))) static void write_line(int priority, const char *kind,
                                                             const char *format, va_list args)
{
    char line[2048];
    int n = to_journal ? snprintf(line, sizeof(line), "<%d>", priority)
                       : snprintf(line, sizeof(line), "%s: %s", program_name, kind);
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
    write_line(3, "error: ", format, args);
    va_end(args);
    if (!kept_error)
        return;
    va_start(args, format);
    vsnprintf(kept_error, kept_room, format, args);
    va_end(args);
}

void log_warn(const char *format, ...)
{
    if (current_level < LOG_WARN)
        return;
    va_list args;
    va_start(args, format);
    write_line(4, "warning: ", format, args);
    va_end(args);
}

void log_info(const char *format, ...)
{
    if (current_level < LOG_INFO)
        return;
    va_list args;
    va_start(args, format);
    write_line(6, "", format, args);
    va_end(args);
}

void log_debug(const char *format, ...)
{
    if (current_level < LOG_DEBUG)
        return;
    va_list args;
    va_start(args, format);
    write_line(7, "debug: ", format, args);
    va_end(args);
}
