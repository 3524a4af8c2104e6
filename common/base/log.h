// log: one line a message, to standard error.
//
// The level and the program's name are the process's only global state beside the last
// lines; main sets them once, before it starts a thread. Any thread may log: a line is one
// write(2). The text has no trailing newline; control characters in it (a
// hostile file name) are printed as '?'.
#pragma once

#include <stddef.h>

enum log_level {
    LOG_QUIET, // nothing but errors
    LOG_WARN,
    LOG_INFO, // the default
    LOG_DEBUG,
};

// `program` must stay valid; it starts every line. Where standard error is systemd's journal
// (JOURNAL_STREAM), lines start with their priority instead, as sd-daemon(3) has it: "<3>".
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
