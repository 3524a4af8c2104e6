// coordinator_settings: all that the coordinator can be told, in one table: names, ranges, defaults,
// units, and what can change while it runs.
#pragma once

#include "common/config/config.h"
#include "coordinator/hub/hub.h"

struct coordinator_settings {
    struct option_spec table[32]; // over the members below
    struct config_command command;
    const char *directory, *control, *bulk, *status, *key, *allow;
    struct option_list media;
    struct option_list watch;
    struct option_list models;
    struct option_list weights;
    const char *watch_output, *watch_owner;
    double watch_settle_s;
    const char *start_command, *start_offers;
    int64_t start_most;
    int64_t start_after_ms, start_pause_ms, start_patience_ms;
    double lease_s, beat_s;
    int64_t films, child_ms;
    uint64_t child_memory;
    bool verbose;
};

// From fallbacks, file and command line. The errors of config_start(), and ERR_USAGE for
// what is missing; logged. coordinator_settings_finish() in any case.
ERR_CHECKED enum err coordinator_settings_read(struct coordinator_settings *s, int argc,
                                               char **argv);
void coordinator_settings_finish(struct coordinator_settings *s);

// What of it the hub wants; points into it.
void coordinator_settings_to_hub(const struct coordinator_settings *s, struct hub_params *p);
