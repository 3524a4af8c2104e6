#include "worker/main/worker_settings.h"

#include <string.h>

#include "common/wire/wire.h"

static void make_table(struct worker_settings *s)
{
    const struct option_spec table[] = {
        { .name = "Worker", .kind = OPTION_HEADING },
        { .name = "model",
          .letter = 'm',
          .kind = OPTION_STRING,
          .target = &s->model,
          .value = "FILE",
          .help =
              "as `underscore import` writes it; without one the coordinator\nsays which it is to have" },
        { .name = "models",
          .kind = OPTION_STRING,
          .target = &s->models,
          .value = "DIR",
          .fallback = "/var/cache/underscore-worker/models",
          .help =
              "where models that the coordinator sends are kept; workers of\na node may share it" },
        { .name = "dir",
          .kind = OPTION_STRING,
          .target = &s->directory,
          .value = "DIR",
          .fallback = "/var/lib/underscore-worker",
          .help = "where results are kept until they are accepted; each worker has\nits own" },
        { .name = "control",
          .kind = OPTION_STRING,
          .target = &s->control,
          .value = "ADDRESS",
          .fallback = "tcp://127.0.0.1:7480",
          .help = "where the coordinator listens" },
        { .name = "bulk",
          .kind = OPTION_STRING,
          .target = &s->bulk,
          .value = "ADDRESS",
          .fallback = "tcp://127.0.0.1:7481",
          .help = "likewise, for what is large" },
        { .name = "key",
          .kind = OPTION_STRING,
          .target = &s->keys.own,
          .value = "FILE",
          .help = "this node's own key, where the farm uses keys" },
        { .name = "coordinator-key",
          .kind = OPTION_STRING,
          .target = &s->keys.coordinator,
          .value = "FILE",
          .help = "the coordinator's .pub, by which it is known" },
        { .name = "device",
          .letter = 'd',
          .kind = OPTION_STRING,
          .target = &s->device,
          .value = "WHICH",
          .help =
              "index, name or UUID, as `underscore devices` lists them;\nby default the best" },
        { .name = "name",
          .kind = OPTION_STRING,
          .target = &s->name,
          .value = "NAME",
          .help = "what the farm calls this GPU; by default HOST/INDEX" },
        { .name = "batch",
          .kind = OPTION_INT,
          .target = &s->batch,
          .value = "N",
          .max = WIRE_MAX_WANT,
          .fallback = "0",
          .help = "segments composed side by side; 0: as many as fit" },
        { .name = "prefetch",
          .kind = OPTION_INT,
          .target = &s->prefetch,
          .value = "N",
          .max = WIRE_MAX_WANT,
          .fallback = "2",
          .reload = true,
          .help = "segments fetched beyond those" },
        { .name = "leave-when-idle",
          .kind = OPTION_SECONDS,
          .target = &s->idle_ms,
          .value = "TIME",
          .max = 30 * 86400,
          .fallback = "0",
          .unit = "s",
          .reload = true,
          .help = "leave after so long without work; 0: stay" },
        { .name = "memory",
          .kind = OPTION_BYTES,
          .target = &s->memory,
          .value = "SIZE",
          .fallback = "0",
          .help = "device memory to use at most; 0: what the driver says is free" },
        { .name = "cache-dir",
          .kind = OPTION_STRING,
          .target = &s->cache,
          .value = "DIR",
          .help = "for compiled kernels; by default they are not kept" },
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

enum err worker_settings_read(struct worker_settings *s, int argc, char **argv)
{
    *s = (struct worker_settings){ 0 };
    make_table(s);
    const struct config_page page = {
        .program = "underscore-worker",
        .usage = "underscore-worker [--model FILE] [OPTIONS]",
        .summary = "Composes for a coordinator, on one GPU.",
        .table = s->table,
    };
    return config_start(&s->command, &page, argc, argv);
}

void worker_settings_finish(struct worker_settings *s)
{
    config_close(&s->command.file);
}
