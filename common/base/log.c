#include "common/base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_BYTES 2048
#define TAIL_BYTES 4096 // more than a line has

static const char *program_name = "underscore";
static enum log_level current_level = LOG_INFO;
static bool to_journal;
static int journal = -1; // a socket to it, or none
static _Thread_local char *kept_error;
static _Thread_local size_t kept_room;
static _Thread_local bool written_elsewhere; // the line under way is in the journal already

static bool is_journal(void)
{
    const char *set = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return set && sscanf(set, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

// In the place of a closed standard stream the next file that is opened would be written into, be
// it the film that is delivered. Writing there fails as before.
static void fill_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

void log_init(const char *program, enum log_level level)
{
    fill_standard_streams();
    program_name = program;
    current_level = level;
    to_journal = is_journal();
    if (to_journal && journal < 0)
        log_journal("/run/systemd/journal/socket");
}

void log_journal(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (journal >= 0)
        close(journal);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (journal >= 0 &&
        connect(journal, (const struct sockaddr *) &address, sizeof(address)) != 0) {
        close(journal);
        journal = -1;
    }
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

static void make_printable(char *line)
{
    for (; *line; line++)
        if ((unsigned char) *line < 0x20 || *line == 0x7f)
            *line = '?';
}

__attribute__((format(printf, 3, 0))) static void write_line(int priority, const char *kind,
                                                             const char *format, va_list args)
{
    char line[LINE_BYTES];
    int n = to_journal ? snprintf(line, sizeof(line), "<%d>", priority)
                       : snprintf(line, sizeof(line), "%s: %s", program_name, kind);
    if (n < 0)
        return;
    size_t used = (size_t) n < sizeof(line) - 2 ? (size_t) n : sizeof(line) - 2;
    n = vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
    if (n < 0)
        return;
    used += strlen(line + used);
    make_printable(line);
    line[used++] = '\n';
    keep(line, used);
    if (!written_elsewhere && write(STDERR_FILENO, line, used) < 0)
        return; // nobody left to tell
}

static const struct {
    int priority;
    const char *kind;
} kinds[] = {
    [LOG_QUIET] = { 3, "error: " },
    [LOG_WARN] = { 4, "warning: " },
    [LOG_INFO] = { 6, "" },
    [LOG_DEBUG] = { 7, "debug: " },
};

// One line of "NAME=value" for each field, as systemd's native protocol has it; the text has
// no control characters, so that no field can be slipped in.
__attribute__((format(printf, 3, 0))) static bool
send_event(enum log_level level, const struct log_subject *s, const char *format, va_list args)
{
    char text[LINE_BYTES], worker[256], record[LINE_BYTES + 1024];
    if (journal < 0 || vsnprintf(text, sizeof(text), format, args) < 0)
        return false;
    snprintf(worker, sizeof(worker), "%s", s->worker ? s->worker : "");
    make_printable(text), make_printable(worker);
    int n = snprintf(record, sizeof(record), "MESSAGE=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n",
                     text, kinds[level].priority, program_name);
    const size_t room = sizeof(record);
    if (s->job > 0)
        n += snprintf(record + n, room - (size_t) n, "UNDERSCORE_JOB=%lld\n",
                      (long long) s->job);
    if (s->has_segment)
        n += snprintf(record + n, room - (size_t) n, "UNDERSCORE_SEGMENT=%u\n", s->segment);
    if (*worker)
        n += snprintf(record + n, room - (size_t) n, "UNDERSCORE_WORKER=%s\n", worker);
    return send(journal, record, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT) == n;
}

void log_event(enum log_level level, const struct log_subject *subject, const char *format, ...)
{
    va_list args;
    if (current_level < level)
        return;
    va_start(args, format);
    written_elsewhere = send_event(level, subject, format, args);
    va_end(args);
    va_start(args, format);
    write_line(kinds[level].priority, kinds[level].kind, format, args);
    va_end(args);
    written_elsewhere = false;
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
