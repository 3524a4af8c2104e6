// config: what a daemon is told: its table's fallbacks, then a file, then the command line.
//
// The file is libconfig's: `NAME = VALUE;`, the names those of the table's options. Whatever
// does not fit (another name, another type, out of its range) is refused with the file and
// the line. Files are not included from within files. One thread.
#pragma once

#include "common/config/options.h"

// What a file said; strings in the targets point into it.
struct config;

// Sets the targets that the text names. `name`: the file's, for messages. ERR_CONFIG: it
// does not fit, logged. config_close() in any case.
ERR_CHECKED enum err config_parse(struct config **out, const struct option_spec *table,
                                  const char *name, const char *text, size_t bytes);
void config_close(struct config **c); // NULL inside is fine

// A daemon's page: what options_parse() wants, and what all daemons can be told besides.
struct config_page {
    const char *program, *usage, *summary;
    const struct option_spec *table; // its own; begins with a heading, ends zeroed
    // What no single option can tell: an error, logged. May be NULL.
    enum err (*check)(const void *settings);
    const void *settings;
};

struct config_command {
    bool done;        // --help, --version, --check-config or --dump-config: nothing more to do
    const char *path; // of the file; NULL: none
    struct config *file;
};

// Fallbacks, file and command line, in this order, into the targets. Prints what it was
// asked for. ERR_USAGE, ERR_CONFIG, ERR_MISSING (the file): logged. config_close() the file
// in any case.
ERR_CHECKED enum err config_start(struct config_command *out, const struct config_page *page,
                                  int argc, char **argv);

// The table as a file: each option with its help, range and value, those that have their
// fallback's commented out.
void config_dump(const struct option_spec *table, void (*line)(void *user, const char *text),
                 void *user);

// Two tables of one daemon, `now` what it runs with and `fresh` what it was told since: what
// can change while it runs is taken over, unless this only asks. A line for each difference.
void config_take_over(const struct option_spec *now, const struct option_spec *fresh,
                      bool only_ask, void (*line)(void *user, const char *text), void *user);
