#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/verb.h"
#include "common/base/file.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/config/options.h"
#include "worker/weights/import.h"

#define LICENSE_MAX (1u << 20)

struct settings {
    const char *output, *license;
    bool f16, f32;
};

static enum err parse(struct settings *s, struct verb_arguments *a, int argc, char **argv)
{
    const struct option_spec specs[] = {
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &s->output,
          .value = "MODEL",
          .help = "where to write it" },
        { .name = "f16",
          .kind = OPTION_FLAG,
          .target = &s->f16,
          .help = "store matrices in half precision: half the size, and\n"
                  "faster (default: as the checkpoint has them)" },
        { .name = "f32",
          .kind = OPTION_FLAG,
          .target = &s->f32,
          .help = "store matrices in single precision" },
        { .name = "license",
          .kind = OPTION_STRING,
          .target = &s->license,
          .value = "FILE",
          .help = "a text kept in the model and shown wherever it is used" },
        { .name = NULL },
    };
    const struct option_spec *const tables[] = { specs };
    const struct verb_page page = {
        .usage = "underscore import state_dict.bin CODEC -o MODEL.safetensors [OPTIONS]",
        .summary =
            "Makes one model file of the published PyTorch files. CODEC is\n"
            "compression_state_dict.bin or, where that only points at\n"
            "facebook/encodec_32khz, that model's model.safetensors. Nothing in the files is\n"
            "run. The weights published with MusicGen's are CC-BY-NC: give --license.",
        .tables = tables,
        .table_count = 1,
        .min_arguments = 2,
        .max_arguments = 2,
    };
    *s = (struct settings){ 0 };
    const enum err e = options_parse(&page, argc, argv, a);
    if (e || a->help_shown)
        return e;
    if (s->output && !(s->f16 && s->f32))
        return ERR_OK;
    log_error("import needs -o MODEL.safetensors, and at most one of --f16 and --f32; "
              "see underscore import --help");
    return ERR_USAGE;
}

// The caller frees *out, NULL when there is none.
static enum err read_license(const char *path, char **out)
{
    *out = NULL;
    if (!path)
        return ERR_OK;
    struct file_map map;
    const enum err e = file_map(&map, path);
    if (e)
        return e;
    const bool fits = map.bytes <= LICENSE_MAX && !(map.data && memchr(map.data, 0, map.bytes));
    if (fits)
        *out = strndup(map.data ? (const char *) map.data : "", map.bytes);
    file_unmap(&map);
    if (!fits)
        log_error("%s: not a licence text: it is over 1 MiB, or has zeros in it", path);
    else if (!*out)
        log_error("%s: out of memory", path);
    return !fits ? ERR_INPUT : *out ? ERR_OK : ERR_NOMEM;
}

// Written over, what was to be imported would be gone.
static enum err check_output(const struct settings *s, const struct verb_arguments *a)
{
    const char *const inputs[] = { a->values[0], a->values[1], s->license };
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++)
        if (inputs[i] && file_is_same(inputs[i], s->output)) {
            log_error("%s: is one of the inputs; choose another output", s->output);
            return ERR_USAGE;
        }
    return ERR_OK;
}

static enum err write_model(const struct settings *s, struct model_import *m)
{
    char *license;
    enum err e = read_license(s->license, &license);
    if (e)
        return e;
    e = model_file_write(s->output, &(struct model_file_write_params){
                                        .source = model_import_tensors(m),
                                        .precision = s->f16   ? PRECISION_F16
                                                     : s->f32 ? PRECISION_F32
                                                              : PRECISION_AS_SOURCE,
                                        .license = license,
                                        .stop = interrupt_watch(),
                                    });
    free(license);
    return e;
}

enum err verb_import(int argc, char **argv)
{
    struct settings s;
    struct verb_arguments a;
    enum err e = parse(&s, &a, argc, argv);
    if (e || a.help_shown)
        return e;
    e = check_output(&s, &a);
    if (e)
        return e;
    struct model_import *m;
    e = model_import_open(&m, a.values[0], a.values[1]);
    if (e)
        return e;
    e = write_model(&s, m);
    model_import_close(&m);
    return e;
}
