// worker_settings: all that a worker can be told, in one table: names, ranges, defaults,
// units, and what can change while it runs.
#pragma once

#include "common/config/config.h"
#include "common/keys/curve.h"

struct worker_settings {
    struct option_spec table[24]; // over the members below
    struct config_command command;
    const char *model, *models, *directory, *control, *bulk, *device, *name, *cache;
    struct curve_files keys;
    int64_t batch, prefetch, idle_ms;
    uint64_t memory;
    bool verbose;
};

// From fallbacks, file and command line. The errors of config_start(), and ERR_USAGE for
// what is missing; logged. worker_settings_finish() in any case.
ERR_CHECKED enum err worker_settings_read(struct worker_settings *s, int argc, char **argv);
void worker_settings_finish(struct worker_settings *s);
