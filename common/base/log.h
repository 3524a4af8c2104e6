// log: one line a message, to standard error.
//
// The level and the program's name are the process's only global state beside the last
// lines; main sets them once, before it starts a thread. Any thread may log: a line is one
// write(2). The text has no trailing newline; control characters in it (a
// hostile file name) are printed as '?'.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_QUIET, // nothing but errors
    LOG_WARN,
    LOG_INFO, // the default
    LOG_DEBUG,
};

// `program` must stay valid; it starts every line. Where standard error is systemd's journal
// (JOURNAL_STREAM), lines start with their priority instead, as sd-daemon(3) has it: "<3>".
// What log_event() is given goes to the journal with its fields. Standard streams that are closed
// become /dev/null.
void log_init(const char *program, enum log_level level);
enum log_level log_level_get(void);

// Until it is given NULL: the text of the last error is put there, too, without the
// program's name. Of the calling thread.
void log_keep_error(char *out, size_t room);
// The last lines that were written, as many whole ones as fit and are kept (4 KiB),
// with newlines between them.
void log_tail(char *out, size_t room);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

// What an event of a farm is about. Zeroed is nothing.
struct log_subject {
    int64_t job; // 0: none
    bool has_segment;
    uint32_t segment;
    const char *worker; // NULL: none
};

// One message, whose text says it all. The journal gets the subject as fields beside it, to be
// searched by: UNDERSCORE_JOB, UNDERSCORE_SEGMENT, UNDERSCORE_WORKER (`journalctl UNDERSCORE_JOB=7`).
void log_event(enum log_level level, const struct log_subject *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Events go to that socket, as systemd-journald(8) listens at one, whatever standard error is; if
// nobody listens there, they are lines like the others. Before any thread is started.
void log_journal(const char *path);
