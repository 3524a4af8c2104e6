#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/model_path.h"
#include "cli/verb.h"
#include "common/config/options.h"
#include "common/safetensors/safetensors.h"
#include "worker/weights/config_json.h"
#include "worker/weights/model_file.h"

struct settings {
    bool json, verbose;
};

static enum err parse(struct settings *s, struct verb_arguments *a, int argc, char **argv)
{
    const struct option_spec specs[] = {
        { .name = "json", .kind = OPTION_FLAG, .target = &s->json, .help = "for programs" },
        { .name = "verbose",
          .letter = 'v',
          .kind = OPTION_FLAG,
          .target = &s->verbose,
          .help = "every tensor too" },
        { .name = NULL },
    };
    const struct option_spec *const tables[] = { specs };
    const struct verb_page page = {
        .usage = "underscore inspect [MODEL.safetensors] [--json] [-v]",
        .summary =
            "Prints what a model is: its sizes, the parameters and bytes of each part, how\n"
            "it samples by default, and its licence. Any other safetensors file is listed.\n"
            "Without a file: the model that the other verbs would use.",
        .tables = tables,
        .table_count = 1,
        .max_arguments = 1,
    };
    *s = (struct settings){ 0 };
    return options_parse(&page, argc, argv, a);
}

struct share {
    uint64_t tensors, parameters, bytes;
};

static void add_share(struct share *s, const struct tensor_view *t)
{
    s->tensors++;
    s->parameters += tensor_elements(t);
    s->bytes += t->bytes;
}

// What inspect knows of a file.
struct report {
    const char *path;
    struct safetensors *file;
    struct model_file *model; // NULL: some other safetensors file
    struct share all, by_dtype[DTYPE_COUNT], by_part[PART_COUNT];
};

static enum err add_part(void *context, const struct tensor_spec *spec)
{
    struct report *r = context;
    struct tensor_view t;
    if (safetensors_find(r->file, spec->name, &t))
        add_share(&r->by_part[spec->part], &t);
    return ERR_OK;
}

static enum err gather(struct report *r, const char *path)
{
    r->path = path;
    enum err e = safetensors_open(&r->file, path);
    if (!e && safetensors_metadata(r->file, "underscore.format"))
        e = model_file_open(&r->model, path);
    if (e)
        return e;
    for (size_t i = 0; i < safetensors_count(r->file); i++) {
        const struct tensor_view t = safetensors_view(r->file, i);
        add_share(&r->all, &t);
        add_share(&r->by_dtype[t.dtype], &t);
    }
    return r->model ? model_tensors_each(model_file_config(r->model), add_part, r) : ERR_OK;
}

static void release(struct report *r)
{
    model_file_close(&r->model);
    safetensors_close(&r->file);
}

static void print_share(const char *name, const struct share *s)
{
    printf("  %-15s %8.1f M parameters %10.1f MB\n", name, (double) s->parameters / 1e6,
           (double) s->bytes / 1e6);
}

static void print_sizes(const struct model_config *c)
{
    printf("  visual encoder  ViT of %u layers, %u wide, %u px in patches of %u\n",
           c->vit.layers, c->vit.width, c->vit.image, c->vit.patch);
    printf("                  Q-Former of %u layers, %u queries; %g frames a second\n",
           c->qformer.layers, c->qformer.queries, c->frames_per_s);
    printf("  decoder         %u layers, %u wide, %u heads; %u codebooks of %u\n", c->lm.layers,
           c->lm.dim, c->lm.heads, c->lm.codebooks, c->lm.card);
    printf("  codec           %u Hz, %g columns a second, %u filters, ratios",
           c->codec.sample_rate, codec_frame_rate(&c->codec), c->codec.filters);
    for (uint32_t i = 0; i < c->codec.ratio_count; i++)
        printf(" %u", c->codec.ratios[i]);
    printf(", %s padding\n", c->codec.pad == PAD_REFLECT ? "reflect" : "constant");
    printf("  sampling        temperature %g, top-k %u, top-p %g, guidance %g; at most %g s\n",
           (double) c->lm.temperature, c->lm.top_k, (double) c->lm.top_p,
           (double) c->lm.guidance, c->lm.max_duration_s);
}

// Text from the file, safe for a terminal, its lines indented.
static void print_text(const char *text)
{
    for (; *text; text++)
        if (*text == '\n')
            printf("\n                  ");
        else
            putchar((unsigned char) *text < 0x20 || *text == 0x7f ? '?' : *text);
    putchar('\n');
}

static void print_model(const struct report *r)
{
    print_sizes(model_file_config(r->model));
    printf("  written by      underscore ");
    print_text(model_file_software(r->model));
    printf("  licence         ");
    const char *license = model_file_license(r->model);
    print_text(*license ? license : "none was given to import");
    putchar('\n');
    for (int p = 0; p < PART_COUNT; p++)
        print_share(model_part_name((enum model_part) p), &r->by_part[p]);
}

static void print_tensors(const struct report *r)
{
    for (size_t i = 0; i < safetensors_count(r->file); i++) {
        const struct tensor_view t = safetensors_view(r->file, i);
        printf("  %-5s [", dtype_name(t.dtype));
        for (uint32_t d = 0; d < t.rank; d++)
            printf("%s%llu", d ? ", " : "", (unsigned long long) t.shape[d]);
        printf("]  ");
        print_text(safetensors_name(r->file, i));
    }
}

static void print_report(const struct report *r, bool verbose)
{
    printf("%s: %llu tensors\n", r->path, (unsigned long long) r->all.tensors);
    if (r->model)
        print_model(r);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (r->by_dtype[t].tensors)
            print_share(dtype_name((enum dtype) t), &r->by_dtype[t]);
    print_share("in all", &r->all);
    if (verbose)
        print_tensors(r);
}

static json_t *share_json(const struct share *s)
{
    return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t) s->tensors, "parameters",
                     (json_int_t) s->parameters, "bytes", (json_int_t) s->bytes);
}

static json_t *tensors_json(const struct report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < safetensors_count(r->file); i++) {
        const struct tensor_view t = safetensors_view(r->file, i);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t.rank; d++)
            json_array_append_new(shape, json_integer((json_int_t) t.shape[d]));
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o}", "name", safetensors_name(r->file, i),
                                        "dtype", dtype_name(t.dtype), "shape", shape));
    }
    return list;
}

static void add_model_json(json_t *object, const struct report *r)
{
    char *config = config_json_write(model_file_config(r->model));
    json_object_set_new(object, "config", config ? json_loads(config, 0, NULL) : json_null());
    free(config);
    json_object_set_new(object, "license", json_string(model_file_license(r->model)));
    json_object_set_new(object, "software", json_string(model_file_software(r->model)));
    json_t *parts = json_object();
    for (int p = 0; p < PART_COUNT; p++)
        json_object_set_new(parts, model_part_name((enum model_part) p),
                            share_json(&r->by_part[p]));
    json_object_set_new(object, "parts", parts);
}

static enum err print_json(const struct report *r, bool verbose)
{
    json_t *object = share_json(&r->all);
    json_object_set_new(object, "model", json_boolean(r->model != NULL));
    if (r->model)
        add_model_json(object, r);
    json_t *dtypes = json_object();
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (r->by_dtype[t].tensors)
            json_object_set_new(dtypes, dtype_name((enum dtype) t),
                                share_json(&r->by_dtype[t]));
    json_object_set_new(object, "dtypes", dtypes);
    if (verbose)
        json_object_set_new(object, "list", tensors_json(r));
    const int failed = json_dumpf(object, stdout, JSON_INDENT(2));
    json_decref(object);
    putchar('\n');
    return failed ? ERR_IO : ERR_OK;
}

enum err verb_inspect(int argc, char **argv)
{
    struct settings s;
    struct verb_arguments a;
    enum err e = parse(&s, &a, argc, argv);
    if (e || a.help_shown)
        return e;
    struct report r = { 0 };
    char *path;
    e = model_path_find(&path, a.count > 0 ? a.values[0] : NULL);
    if (!e)
        e = gather(&r, path);
    if (!e && s.json)
        e = print_json(&r, s.verbose);
    else if (!e)
        print_report(&r, s.verbose);
    release(&r);
    free(path);
    return e;
}
