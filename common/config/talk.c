#include "common/config/talk.h"

#include <string.h>

#include "common/base/log.h"

void talk_table(struct talk_settings *t, struct option_spec *specs)
{
    *t = (struct talk_settings){ 0 };
    const struct option_spec table[] = {
        { .name = "Output", .kind = OPTION_HEADING },
        { .name = "json",
          .kind = OPTION_FLAG,
          .target = &t->json,
          .help = "results as JSON on standard output" },
        { .name = "quiet",
          .letter = 'q',
          .kind = OPTION_FLAG,
          .target = &t->quiet,
          .help = "errors only, no progress" },
        { .name = "verbose",
          .letter = 'v',
          .kind = OPTION_FLAG,
          .target = &t->verbose,
          .help = "say more" },
        { 0 },
    };
    _Static_assert(sizeof(table) / sizeof(*table) <= SETTINGS_MAX_SPECS, "SETTINGS_MAX_SPECS");
    memcpy(specs, table, sizeof(table));
}

void talk_apply(const struct talk_settings *t)
{
    log_init("underscore", t->verbose ? LOG_DEBUG : t->quiet ? LOG_QUIET : LOG_INFO);
}
