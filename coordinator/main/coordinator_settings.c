#include "coordinator/main/coordinator_settings.h"

#include <string.h>
#include <sys/stat.h>

#include "common/base/log.h"
#include "coordinator/children/children.h"
#include "coordinator/mounts/mounts.h"
#include "coordinator/page/status_server.h"
#include "coordinator/schedule/weight.h"

static bool is_offer(const char *text, char *why, size_t room)
{
    struct require offer;
    return !require_parse_offer(&offer, text, why, room);
}

static void make_table(struct coordinator_settings *s)
{
    const struct option_spec table[] = {
        { .name = "Coordinator", .kind = OPTION_HEADING },
        { .name = "dir",
          .kind = OPTION_STRING,
          .target = &s->directory,
          .value = "DIR",
          .fallback = "/var/lib/underscored",
          .help = "where the ledger and the work under way are kept" },
        { .name = "media",
          .kind = OPTION_LIST,
          .target = &s->media,
          .value = "DIR",
          .reload = true,
          .help = "films and outputs must lie here; several may be given" },
        { .name = "control",
          .kind = OPTION_STRING,
          .target = &s->control,
          .value = "ADDRESS",
          .fallback = "tcp://127.0.0.1:7480",
          .help = "where workers and clients find it" },
        { .name = "bulk",
          .kind = OPTION_STRING,
          .target = &s->bulk,
          .value = "ADDRESS",
          .fallback = "tcp://127.0.0.1:7481",
          .help = "where what is large travels" },
        { .name = "status",
          .kind = OPTION_STRING,
          .target = &s->status,
          .value = "ADDRESS",
          .help = "of the status page and /metrics, ADDRESS:PORT, or none\n(" STATUS_ADDRESS
                  ", if that is free)" },
        { .name = "key",
          .kind = OPTION_STRING,
          .target = &s->key,
          .value = "FILE",
          .help =
              "its own key, as `underscore key gen` makes it; needed where\nothers than this machine can reach it" },
        { .name = "allow",
          .kind = OPTION_STRING,
          .target = &s->allow,
          .value = "FILE",
          .help =
              "the keys that are let in, as `underscore key add` keeps them;\nchanges count at once" },
        { .name = "lease",
          .kind = OPTION_NUMBER,
          .target = &s->lease_s,
          .value = "SECONDS",
          .min = 1,
          .max = 86400,
          .fallback = "30",
          .unit = "s",
          .reload = true,
          .help = "a worker that gets on with nothing for so long has lost what\nit had" },
        { .name = "beat",
          .kind = OPTION_NUMBER,
          .target = &s->beat_s,
          .value = "SECONDS",
          .min = 0.05,
          .max = 60,
          .fallback = "1",
          .unit = "s",
          .reload = true,
          .help = "how often workers report" },
        { .name = "films",
          .kind = OPTION_INT,
          .target = &s->films,
          .value = "N",
          .min = 1,
          .max = CHILDREN_MOST,
          .fallback = "2",
          .reload = true,
          .help = "films looked at or written side by side, each in a process of\nits own" },
        { .name = "child-memory",
          .kind = OPTION_BYTES,
          .target = &s->child_memory,
          .value = "SIZE",
          .min = 256u << 20,
          .max = 1099511627776.0,
          .fallback = "4G",
          .reload = true,
          .help = "memory that each of those processes may use" },
        { .name = "child-time",
          .kind = OPTION_SECONDS,
          .target = &s->child_ms,
          .value = "TIME",
          .min = 60,
          .max = 30 * 86400,
          .fallback = "86400",
          .unit = "s",
          .reload = true,
          .help = "CPU time that each of those processes may use" },
        { .name = "watch",
          .kind = OPTION_LIST,
          .target = &s->watch,
          .value = "DIR",
          .reload = true,
          .help =
              "films that appear here are submitted; several may be given,\nall in media folders" },
        { .name = "watch-output",
          .kind = OPTION_STRING,
          .target = &s->watch_output,
          .value = "DIR",
          .reload = true,
          .help = "where the scored films of watched folders go" },
        { .name = "watch-owner",
          .kind = OPTION_STRING,
          .target = &s->watch_owner,
          .value = "NAME",
          .fallback = "watch",
          .reload = true,
          .help = "whose share of the farm they use" },
        { .name = "watch-settle",
          .kind = OPTION_NUMBER,
          .target = &s->watch_settle_s,
          .value = "SECONDS",
          .min = 1,
          .max = 86400,
          .fallback = "10",
          .unit = "s",
          .reload = true,
          .help = "a film is whole when it has not changed for so long" },
        { .name = "weight",
          .kind = OPTION_LIST,
          .target = &s->weights,
          .value = "OWNER=N",
          .reload = true,
          .check = weight_check,
          .help =
              "how much of the farm an owner gets beside others, each of whom\nhas 1; several may be given" },
        { .name = "models",
          .kind = OPTION_LIST,
          .target = &s->models,
          .value = "DIR",
          .help = "workers that have no model get those that lie here; several\nmay be given" },
        { .name = "start-command",
          .kind = OPTION_STRING,
          .target = &s->start_command,
          .value = "COMMAND",
          .reload = true,
          .help = "the shell runs it to have one more worker, when work waits" },
        { .name = "start-offers",
          .kind = OPTION_STRING,
          .target = &s->start_offers,
          .value = "FACTS",
          .reload = true,
          .check = is_offer,
          .help =
              "what such a worker has, as --require asks for it, such as\nvram=24G,vendor=amd: not for work that needs something else" },
        { .name = "start-most",
          .kind = OPTION_INT,
          .target = &s->start_most,
          .value = "N",
          .max = 100000,
          .fallback = "8",
          .reload = true,
          .help = "not when so many workers are here or on their way" },
        { .name = "start-after",
          .kind = OPTION_SECONDS,
          .target = &s->start_after_ms,
          .value = "TIME",
          .max = 86400,
          .fallback = "30",
          .unit = "s",
          .reload = true,
          .help = "work must have waited so long" },
        { .name = "start-pause",
          .kind = OPTION_SECONDS,
          .target = &s->start_pause_ms,
          .value = "TIME",
          .min = 1,
          .max = 86400,
          .fallback = "60",
          .unit = "s",
          .reload = true,
          .help = "from one start to the next; longer when the command fails" },
        { .name = "start-patience",
          .kind = OPTION_SECONDS,
          .target = &s->start_patience_ms,
          .value = "TIME",
          .min = 1,
          .max = 30 * 86400,
          .fallback = "3600",
          .unit = "s",
          .reload = true,
          .help =
              "a worker that is not here so long after the last start is no\nlonger expected" },
        { .name = "verbose",
          .letter = 'v',
          .kind = OPTION_FLAG,
          .target = &s->verbose,
          .reload = true,
          .help = "say more" },
    };
    _Static_assert(sizeof(table) / sizeof(table[0]) < sizeof(s->table) / sizeof(s->table[0]),
                   "room for the end");
    memcpy(s->table, table, sizeof(table));
}

static bool watches_its_output(const struct coordinator_settings *s)
{
    // A running coordinator is told to read its file again, and has other things to do.
    struct mounts mounts = { 0 };
    struct stat output, folder;
    bool same = false;
    for (size_t i = 0; i < s->watch.count; i++)
        same = same ||
               (mounts_answer(&mounts, NULL, s->watch_output, 0) &&
                mounts_answer(&mounts, NULL, s->watch.items[i], 0) &&
                stat(s->watch_output, &output) == 0 && stat(s->watch.items[i], &folder) == 0 &&
                output.st_dev == folder.st_dev && output.st_ino == folder.st_ino);
    mounts_finish(&mounts);
    return same;
}

// What no single option can tell.
static enum err check(const void *settings)
{
    const struct coordinator_settings *s = settings;
    if (!s->media.count)
        log_error("at least one media folder is needed: --media DIR");
    else if (!s->key != !s->allow)
        log_error(
            "key and allow go together: one is this coordinator's own, the other who is let in");
    else if (s->watch.count && !s->watch_output)
        log_error("watched folders need a watch-output: where are the scored films to go?");
    else if (watches_its_output(s))
        log_error("watch-output %s: is watched itself; scored films would be scored again",
                  s->watch_output);
    else if (strlen(s->watch_owner) >= WIRE_NAME_BYTES)
        log_error("watch-owner %.40s...: too long", s->watch_owner);
    else if (s->beat_s * 3 > s->lease_s)
        log_error("a lease of %g s is too short for a beat of %g s: at least three are needed",
                  s->lease_s, s->beat_s);
    else
        return ERR_OK;
    return s->command.path ? ERR_CONFIG : ERR_USAGE;
}

enum err coordinator_settings_read(struct coordinator_settings *s, int argc, char **argv)
{
    *s = (struct coordinator_settings){ 0 };
    make_table(s);
    const struct config_page page = {
        .program = "underscored",
        .usage = "underscored --media DIR [OPTIONS]",
        .summary = "The coordinator of a farm that composes music for films.",
        .table = s->table,
        .check = check,
        .settings = s,
    };
    return config_start(&s->command, &page, argc, argv);
}

void coordinator_settings_finish(struct coordinator_settings *s)
{
    config_close(&s->command.file);
}

void coordinator_settings_to_hub(const struct coordinator_settings *s, struct hub_params *p)
{
    p->control = s->control;
    p->bulk = s->bulk;
    p->key = s->key;
    p->allow = s->allow;
    p->status = s->status;
    p->directory = s->directory;
    p->media = s->media.items;
    p->watch = s->watch.items;
    p->models = s->models.items;
    p->weights = s->weights.items;
    p->watch_output = s->watch_output;
    p->watch_owner = s->watch_owner;
    p->watch_settle_s = s->watch_settle_s;
    p->start_command = s->start_command;
    char why[128];
    if (require_parse_offer(&p->start_offers, s->start_offers ? s->start_offers : "", why,
                            sizeof(why)))
        p->start_offers = (struct require){ 0 }; // checked when it was read
    p->elastic = (struct elastic_rules){
        .most = (uint32_t) s->start_most,
        .after_s = (double) s->start_after_ms / 1000,
        .pause_s = (double) s->start_pause_ms / 1000,
        .patience_s = (double) s->start_patience_ms / 1000,
    };
    p->beat_s = s->beat_s;
    p->lease_s = s->lease_s;
    p->children = (uint32_t) s->films;
    p->child_memory = s->child_memory;
    p->child_cpu_s = (uint32_t) (s->child_ms / 1000);
}
