#include "cli/verb.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/config/options.h"
#include "worker/model/random_source.h"
#include "worker/weights/model_file.h"

struct settings {
    int preset;
    uint64_t seed;
    bool f16, f32;
    const char *output;
};

static const char *const presets[] = { "tiny", "small", "large", NULL };

static enum err parse(struct settings *s, struct verb_arguments *a, int argc, char **argv)
{
    const struct option_spec specs[] = {
        { .name = "preset",
          .letter = 'p',
          .kind = OPTION_CHOICE,
          .target = &s->preset,
          .value = "SIZE",
          .choices = presets,
          .help = "a few megabytes, or a published size\n(0.9 and 2.3 billion parameters)" },
        { .name = "seed",
          .letter = 's',
          .kind = OPTION_SEED,
          .target = &s->seed,
          .value = "N",
          .help = "another number, another model (default 0)" },
        { .name = "f16",
          .kind = OPTION_FLAG,
          .target = &s->f16,
          .help = "store matrices in half precision (default)" },
        { .name = "f32",
          .kind = OPTION_FLAG,
          .target = &s->f32,
          .help = "store matrices in single precision" },
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &s->output,
          .value = "MODEL",
          .help = "where to write it" },
        { .name = NULL },
    };
    const struct option_spec *const tables[] = { specs };
    const struct verb_page page = {
        .usage = "underscore init-model --preset SIZE [OPTIONS] -o MODEL.safetensors",
        .summary = "Writes a model made of random numbers. It composes noise; it is for\n"
                   "benchmarks and tests.",
        .tables = tables,
        .table_count = 1,
    };
    *s = (struct settings){ .preset = -1 };
    const enum err e = options_parse(&page, argc, argv, a);
    if (e || a->help_shown)
        return e;
    if (s->preset >= 0 && s->output && !(s->f16 && s->f32))
        return ERR_OK;
    log_error("init-model needs --preset and -o, and at most one of --f16 and --f32; "
              "see underscore init-model --help");
    return ERR_USAGE;
}

static enum err write_model(const struct settings *s)
{
    struct model_config config;
    enum err e = model_config_preset(&config, presets[s->preset]);
    if (e)
        return e;
    struct random_source *random;
    e = random_source_create(&random, &config, s->seed, s->f32 ? DTYPE_F32 : DTYPE_F16);
    if (e)
        return e;
    e = model_file_write(s->output, &(struct model_file_write_params){
                                        .source = random_source_tensors(random),
                                        .precision = s->f32 ? PRECISION_F32 : PRECISION_F16,
                                        .stop = interrupt_watch(),
                                    });
    random_source_destroy(&random);
    return e;
}

enum err verb_init_model(int argc, char **argv)
{
    struct settings s;
    struct verb_arguments a;
    const enum err e = parse(&s, &a, argc, argv);
    return e || a.help_shown ? e : write_model(&s);
}
