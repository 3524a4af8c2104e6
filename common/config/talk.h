// talk: how a verb talks: the options that all verbs have, and what they mean.
#pragma once

#include <stdbool.h>

#include "common/config/options.h"

// Entries of a table of options that several verbs share.
#define SETTINGS_MAX_SPECS 16

struct talk_settings {
    bool quiet, verbose, json;
};

// Fills the struct with defaults and builds the option table over it in `specs`
// (SETTINGS_MAX_SPECS entries).
void talk_table(struct talk_settings *t, struct option_spec *specs);

// Sets the log level.
void talk_apply(const struct talk_settings *t);
