#include "worker/weights/model_file.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/safetensors/safetensors.h"
#include "worker/weights/config_json.h"

#define FORMAT "1"

struct model_file {
    struct tensor_source tensors; // first: `find` gets a pointer to it
    struct safetensors *file;
    struct model_config config;
    char *path;
};

static enum err find(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    const struct model_file *m = (const struct model_file *) self;
    return safetensors_find(m->file, name, out) ? ERR_OK : ERR_MISSING;
}

static enum err require(void *context, const struct tensor_spec *spec)
{
    struct tensor_view unused;
    return tensor_require(context, &unused, spec->name, spec->rank, spec->shape);
}

static enum err read_config(struct model_file *m, const char *path)
{
    const char *format = safetensors_metadata(m->file, "underscore.format");
    const char *config = safetensors_metadata(m->file, "underscore.config");
    if (!format || !config) {
        log_error("%s: not a model of this program; underscore import makes one from the "
                  "published files, underscore init-model a random one",
                  path);
        return ERR_INPUT;
    }
    if (strcmp(format, FORMAT) != 0) {
        log_error("%s: a model of format %s; this program reads format " FORMAT, path, format);
        return ERR_INPUT;
    }
    return config_json_read(&m->config, config, path);
}

enum err model_file_open(struct model_file **out, const char *path)
{
    *out = NULL;
    struct model_file *m = calloc(1, sizeof(*m));
    if (m)
        m->path = strdup(path);
    if (!m || !m->path) {
        log_error("%s: out of memory", path);
        model_file_close(&m);
        return ERR_NOMEM;
    }
    m->tensors = (struct tensor_source){ find, &m->config, m->path };
    enum err e = safetensors_open(&m->file, path);
    if (!e)
        e = read_config(m, path);
    if (!e)
        e = model_tensors_each(&m->config, require, &m->tensors);
    if (e)
        model_file_close(&m);
    *out = m;
    return e;
}

void model_file_close(struct model_file **m)
{
    if (!*m)
        return;
    safetensors_close(&(*m)->file);
    free((*m)->path);
    free(*m);
    *m = NULL;
}

struct tensor_source *model_file_tensors(struct model_file *m)
{
    return &m->tensors;
}

const struct model_config *model_file_config(const struct model_file *m)
{
    return &m->config;
}

static const char *metadata_or_nothing(const struct model_file *m, const char *key)
{
    const char *text = safetensors_metadata(m->file, key);
    return text ? text : "";
}

const struct file_map *model_file_map(const struct model_file *m)
{
    return safetensors_map(m->file);
}

const char *model_file_license(const struct model_file *m)
{
    return metadata_or_nothing(m, "underscore.license");
}

const char *model_file_software(const struct model_file *m)
{
    return metadata_or_nothing(m, "underscore.software");
}

// The list of a model's tensors, as it is gathered. Names live in `specs`.
struct item_list {
    const struct model_file_write_params *params;
    struct tensor_spec *specs;
    struct safetensors_item *items;
    size_t count, room;
};

static enum err count_tensor(void *context, const struct tensor_spec *spec)
{
    (void) spec;
    ++*(size_t *) context;
    return ERR_OK;
}

static enum err choose_dtype(const struct item_list *l, const struct tensor_spec *spec,
                             enum dtype *out)
{
    *out = l->params->precision == PRECISION_F16 ? DTYPE_F16 : DTYPE_F32;
    if (tensor_spec_keeps_f32(spec))
        *out = DTYPE_F32;
    else if (l->params->precision == PRECISION_AS_SOURCE) {
        struct tensor_view t;
        const enum err e =
            tensor_require(l->params->source, &t, spec->name, spec->rank, spec->shape);
        if (e)
            return e;
        *out = t.dtype;
    }
    return ERR_OK;
}

static enum err list_tensor(void *context, const struct tensor_spec *spec)
{
    struct item_list *l = context;
    struct safetensors_item *item = &l->items[l->count];
    l->specs[l->count] = *spec;
    item->name = l->specs[l->count].name;
    item->rank = spec->rank;
    memcpy(item->shape, spec->shape, sizeof(item->shape));
    l->count++;
    return choose_dtype(l, spec, &item->dtype);
}

static enum err write_items(const char *path, const struct item_list *l)
{
    const char *license = l->params->license;
    char *config = config_json_write(l->params->source->config);
    if (!config) {
        log_error("%s: out of memory", path);
        return ERR_NOMEM;
    }
    const struct safetensors_string metadata[] = {
        { "underscore.format", FORMAT },
        { "underscore.config", config },
        { "underscore.software", UNDERSCORE_VERSION },
        { "underscore.license", license },
    };
    const enum err e = safetensors_write(path, &(struct safetensors_write_params){
                                                   .items = l->items,
                                                   .item_count = l->count,
                                                   .metadata = metadata,
                                                   .metadata_count = license ? 4 : 3,
                                                   .source = l->params->source,
                                                   .stop = l->params->stop,
                                               });
    free(config);
    return e;
}

enum err model_file_write(const char *path, const struct model_file_write_params *p)
{
    struct item_list l = { .params = p };
    enum err e = model_tensors_each(p->source->config, count_tensor, &l.room);
    if (e)
        return e;
    l.specs = calloc(l.room, sizeof(*l.specs));
    l.items = calloc(l.room, sizeof(*l.items));
    if (!l.specs || !l.items) {
        log_error("%s: out of memory", path);
        e = ERR_NOMEM;
    }
    if (!e)
        e = model_tensors_each(p->source->config, list_tensor, &l);
    if (!e)
        e = write_items(path, &l);
    free(l.specs);
    free(l.items);
    return e;
}
