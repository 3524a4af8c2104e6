// bench: the engine measured, with a model of one's own or a random one.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/settings.h"
#include "cli/verb.h"
#include "worker/bench/bench.h"
#include "worker/model/random_source.h"
#include "worker/weights/model_file.h"

struct bench_verb {
    struct talk_settings talk;
    const char *model, *device;
    int preset;
    uint64_t memory;
    bool f32, fast;
};

static const char *const presets[] = { "small", "tiny", "large", NULL };

static void say(void *user, const char *stage)
{
    const struct bench_verb *v = user;
    if (!v->talk.quiet)
        fprintf(stderr, "measuring: %s\n", stage);
}

static enum err run(struct bench_verb *v)
{
    struct model_file *file = NULL;
    struct random_source *random = NULL;
    struct device *device = NULL;
    struct model_config config;
    struct bench_result result;
    char name[96];
    enum err e = v->model ? model_file_open(&file, v->model)
                          : model_config_preset(&config, presets[v->preset]);
    if (!e && !v->model)
        e = random_source_create(&random, &config, 1, v->f32 ? DTYPE_F32 : DTYPE_F16);
    if (!e)
        e = device_open_for(
            &device, &(struct model_options){ .device = v->device, .memory = v->memory });
    if (!e)
        e = bench_run(&result,
                      &(struct bench_params){ .device = device,
                                              .tensors = file ? model_file_tensors(file)
                                                              : random_source_tensors(random),
                                              .quick = v->fast,
                                              .say = say,
                                              .user = v });
    if (!e) {
        snprintf(name, sizeof(name), "%.80s%s", v->model ? v->model : presets[v->preset],
                 v->model ? ""
                 : v->f32 ? ", random, f32"
                          : ", random, f16");
        bench_print(&result, device_facts(device), name, v->talk.json);
    }
    device_close(&device);
    random_source_destroy(&random);
    model_file_close(&file);
    return e;
}

enum err verb_bench(int argc, char **argv)
{
    struct bench_verb v = { 0 };
    if (argc > 1 && !strcmp(argv[1], "farm"))
        return verb_bench_farm(argc - 1, argv + 1);
    struct option_spec talk[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Bench", .kind = OPTION_HEADING },
        { .name = "model",
          .letter = 'm',
          .kind = OPTION_STRING,
          .target = &v.model,
          .value = "FILE",
          .help = "measure this model, not a random one" },
        { .name = "preset",
          .letter = 'p',
          .kind = OPTION_CHOICE,
          .target = &v.preset,
          .value = "SIZE",
          .choices = presets,
          .help = "of the random model" },
        { .name = "f32",
          .kind = OPTION_FLAG,
          .target = &v.f32,
          .help = "random weights in f32, not f16" },
        { .name = "device",
          .letter = 'd',
          .kind = OPTION_STRING,
          .target = &v.device,
          .value = "WHICH",
          .help = "index, name or UUID" },
        { .name = "memory",
          .kind = OPTION_BYTES,
          .target = &v.memory,
          .value = "SIZE",
          .help = "device memory to use at most" },
        { .name = "fast",
          .kind = OPTION_FLAG,
          .target = &v.fast,
          .help = "fewer batches and repetitions" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    const struct option_spec *const tables[] = { own, talk };
    const struct verb_page page = {
        .usage = "underscore bench [OPTIONS]\n       underscore bench farm [OPTIONS]",
        .summary =
            "Time every stage beside the floor of the device, measured in the same run: how fast it\n"
            "reads memory, how many multiply-adds it does. `underscore-bench` is the same, without films.",
        .tables = tables,
        .table_count = 2,
        .min_arguments = 0,
        .max_arguments = 0,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    return run(&v);
}
