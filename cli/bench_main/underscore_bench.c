// underscore-bench: the engine alone, measured, on a random model of a
// published size. Links libvulkan, libm and libc, so that it runs on a bare GPU
// node: copy the one file there.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "worker/bench/bench.h"
#include "worker/model/random_source.h"

static const char help[] =
    "usage: underscore-bench [--preset tiny|small|large] [--f32] [--device WHICH] [--memory MiB]\n"
    "                        [--cache-dir DIR] [--quick] [--kernels] [--json] [--validate]\n\n"
    "Times every stage of a random model (small, f16) on a Vulkan device beside the floor\n"
    "measured in the same run: bytes read and multiply-adds a second. --kernels lists what\n"
    "each stage's kernels take; the stages are then slower than they are without.\n";

struct settings {
    const char *preset;
    bool f32, quick, kernels, json;
    struct device_params device;
};

static enum err parse(struct settings *s, int argc, char **argv)
{
    *s = (struct settings){ .preset = "small" };
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--f32")) {
            s->f32 = true;
        } else if (!strcmp(argv[i], "--quick")) {
            s->quick = true;
        } else if (!strcmp(argv[i], "--json")) {
            s->json = true;
        } else if (!strcmp(argv[i], "--kernels")) {
            s->kernels = true;
        } else if (!strcmp(argv[i], "--validate")) {
            s->device.validation = true;
        } else if (!strcmp(argv[i], "--preset") && value) {
            s->preset = argv[++i];
        } else if (!strcmp(argv[i], "--device") && value) {
            s->device.select = argv[++i];
        } else if (!strcmp(argv[i], "--cache-dir") && value) {
            s->device.cache_dir = argv[++i];
        } else if (!strcmp(argv[i], "--memory") && value) {
            s->device.memory_limit = strtoull(argv[++i], NULL, 10) << 20;
        } else {
            log_error("bad argument '%s'; see --help", argv[i]);
            return ERR_USAGE;
        }
    }
    if (s->kernels && s->json) {
        log_error("--kernels is a table: choose it or --json");
        return ERR_USAGE;
    }
    return ERR_OK;
}

static void say(void *user, const char *stage)
{
    (void) user;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "measuring: %s\n", stage);
}

static enum err run(const struct settings *s)
{
    struct model_config config;
    struct random_source *source = NULL;
    struct device *device = NULL;
    struct bench_result result;
    enum err e = model_config_preset(&config, s->preset);
    if (!e)
        e = random_source_create(&source, &config, 1, s->f32 ? DTYPE_F32 : DTYPE_F16);
    if (!e)
        e = device_open(&device, &s->device);
    if (!e)
        e = bench_run(&result, &(struct bench_params){ .device = device,
                                                       .tensors = random_source_tensors(source),
                                                       .quick = s->quick,
                                                       .kernels = s->kernels,
                                                       .say = say });
    if (!e) {
        char model[64];
        snprintf(model, sizeof(model), "%s, random, %s", s->preset, s->f32 ? "f32" : "f16");
        bench_print(&result, device_facts(device), model, s->json);
    }
    device_close(&device);
    random_source_destroy(&source);
    return e;
}

int main(int argc, char **argv)
{
    log_init("underscore-bench", LOG_INFO);
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        fputs(help, stdout);
        return 0;
    }
    struct settings s;
    enum err e = parse(&s, argc, argv);
    if (!e)
        e = run(&s);
    return err_exit_code(e);
}
