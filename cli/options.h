// options: one table describes a verb's command line: parsing, ranges and
// `--help` all come from it.
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
    OPTION_HEADING, // no option: a line in the help
};

struct option_spec {
    const char *name; // without dashes; the heading's text for OPTION_HEADING
    char letter;      // or 0
    enum option_kind kind;
    void *target;
    const char *value; // its name in the help: "FILE"
    const char *help;  // what it does; lines after the first are indented by us
    double min, max;   // of a number; both 0: any. OPTION_SECONDS: in seconds
    const char *const *choices; // ends with NULL
};

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
    char **values; // argv's, moved together
    uint32_t count;
};

// Parse argv[1...] into the tables' targets. ERR_USAGE logs which argument is
// wrong and what would be right.
ERR_CHECKED enum err options_parse(const struct verb_page *page, int argc, char **argv,
                                   struct verb_arguments *out);
