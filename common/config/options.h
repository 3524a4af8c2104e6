// options: one table describes what a verb or a daemon can be told: parsing, defaults,
// ranges and `--help` all come from it, and so does a daemon's file (common/config/config.h).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum option_kind {
    OPTION_FLAG,    // bool; "--no-NAME" clears it
    OPTION_STRING,  // const char *, into argv
    OPTION_INT,     // int64_t
    OPTION_SEED,    // uint64_t, decimal or 0x...
    OPTION_NUMBER,  // double
    OPTION_SECONDS, // int64_t milliseconds, from "30", "1.5", "2:30", "1:02:30.5"
    OPTION_BYTES,   // uint64_t, from "512M", "2G", "1.5GiB"
    OPTION_CHOICE,  // int, an index into choices
    OPTION_LIST,    // struct option_list; may be given again
    OPTION_HEADING, // no option: a line in the help
};

#define OPTION_LIST_MOST 64

struct option_list {
    const char *items[OPTION_LIST_MOST + 1]; // ends with NULL
    size_t count;
    const void *source; // what the items are of: another one begins anew
};

struct option_spec {
    const char *name; // without dashes; the heading's text for OPTION_HEADING
    char letter;      // or 0
    enum option_kind kind;
    void *target;
    const char *value;          // its name in the help: "FILE"
    const char *help;           // what it does; lines after the first are indented by us
    double min, max;            // of a number; both 0: any. OPTION_SECONDS: in seconds
    const char *const *choices; // ends with NULL
    // What options_default() sets, as one would write it; NULL: nothing, and nothing is
    // what a string then may be.
    const char *fallback;
    const char *unit; // of a number: "s"
    // Of a string, or one in a list: false, and why not, in words that follow what was written. May be NULL.
    bool (*check)(const char *text, char *why, size_t room);
    bool reload; // of a daemon's: can change while it runs
};

#define OPTION_TEXT_BYTES 8192

struct verb_page {
    const char *usage;    // "underscore score FILM -o OUT [OPTIONS]"
    const char *summary;  // a few lines
    const char *examples; // likewise, or NULL
    // Tables, searched in order; `specs` ends with a zeroed entry.
    const struct option_spec *const *tables;
    size_t table_count;
    uint32_t min_arguments, max_arguments; // positional ones
};

struct verb_arguments {
    bool help_shown; // --help was printed: nothing more to do
    char **values;   // argv's, moved together
    uint32_t count;
};

// Parse argv[1...] into the tables' targets. ERR_USAGE logs which argument is
// wrong and what would be right.
ERR_CHECKED enum err options_parse(const struct verb_page *page, int argc, char **argv,
                                   struct verb_arguments *out);

// Every target to its fallback. ERR_BUG: one is out of its range, logged.
ERR_CHECKED enum err options_default(const struct option_spec *specs);

// One target from text. `where` begins what is logged of it: "--lease 0", "FILE:3: lease".
// `source`: see struct option_list. The text must stay. ERR_USAGE: it is not right, logged.
ERR_CHECKED enum err option_set(const struct option_spec *s, const char *where,
                                const void *source, const char *text);

// The target's value as a configuration file would have it: `30`, `"text"`, `[ "a", "b" ]`.
void option_text(char out[OPTION_TEXT_BYTES], const struct option_spec *s);

// What is allowed, in words: "1 to 86400 s". Empty: anything.
void option_range(char *out, size_t room, const struct option_spec *s);

// Has it its fallback?
bool option_is_default(const struct option_spec *s);

size_t option_bytes(const struct option_spec *s); // of its target
