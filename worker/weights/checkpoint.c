#include "worker/weights/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/safetensors/safetensors.h"
#include "worker/weights/torch_file.h"

struct named_tensor {
    const char *name;
    const struct pickle_value *pickled; // NULL: in `safe`
    bool used;
};

struct checkpoint {
    char *path;
    struct file_map map;
    struct torch_file *torch; // one of the two
    struct safetensors *safe;
    struct named_tensor *tensors; // sorted by name
    uint32_t count;
};

static enum err out_of_memory(const struct checkpoint *c)
{
    log_error("%s: out of memory", c->path);
    return ERR_NOMEM;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named_tensor *) a)->name,
                  ((const struct named_tensor *) b)->name);
}

static int compare_name_to_tensor(const void *name, const void *tensor)
{
    return strcmp(name, ((const struct named_tensor *) tensor)->name);
}

static enum err sort_names(struct checkpoint *c)
{
    qsort(c->tensors, c->count, sizeof(*c->tensors), compare_names);
    for (uint32_t i = 1; i < c->count; i++)
        if (!strcmp(c->tensors[i - 1].name, c->tensors[i].name)) {
            log_error("%s: two tensors are named %s", c->path, c->tensors[i].name);
            return ERR_INPUT;
        }
    return ERR_OK;
}

static enum err list_state(struct checkpoint *c, const struct pickle_value *state)
{
    c->tensors = calloc(state->list.count / 2 + 1, sizeof(*c->tensors));
    if (!c->tensors)
        return out_of_memory(c);
    for (uint32_t i = 0; i + 1 < state->list.count; i += 2) {
        const struct pickle_value *key = state->list.items[i],
                                  *value = state->list.items[i + 1];
        if (key->kind == PICKLE_TEXT && value->kind == PICKLE_TENSOR)
            c->tensors[c->count++] = (struct named_tensor){ key->text, value, false };
    }
    return sort_names(c);
}

static enum err open_torch(struct checkpoint *c)
{
    enum err e = torch_file_open(&c->torch, c->path, c->map.data, c->map.bytes);
    if (e)
        return e;
    const struct pickle_value *state = pickle_get(torch_file_root(c->torch), "best_state");
    if (state && state->kind == PICKLE_DICT)
        return list_state(c, state);
    if (checkpoint_pretrained(c))
        return ERR_OK; // for the caller to explain
    log_error("%s: it has no best_state, which an exported checkpoint keeps its tensors in",
              c->path);
    return ERR_INPUT;
}

static enum err open_safetensors(struct checkpoint *c)
{
    enum err e = safetensors_parse(&c->safe, c->path, c->map.data, c->map.bytes);
    if (e)
        return e;
    const size_t count = safetensors_count(c->safe);
    c->tensors = calloc(count + 1, sizeof(*c->tensors));
    if (!c->tensors)
        return out_of_memory(c);
    for (; c->count < count; c->count++)
        c->tensors[c->count].name = safetensors_name(c->safe, c->count);
    return sort_names(c);
}

// A safetensors file starts with the length of its header, then its JSON.
static bool looks_like_safetensors(const struct file_map *m)
{
    return m->bytes > 8 && m->data[8] == '{';
}

enum err checkpoint_open(struct checkpoint **out, const char *path)
{
    *out = NULL;
    struct checkpoint *c = calloc(1, sizeof(*c));
    if (c)
        c->path = strdup(path);
    if (!c || !c->path) {
        log_error("%s: out of memory", path);
        checkpoint_close(&c);
        return ERR_NOMEM;
    }
    enum err e = file_map(&c->map, path);
    if (!e)
        e = looks_like_safetensors(&c->map) ? open_safetensors(c) : open_torch(c);
    if (e)
        checkpoint_close(&c);
    *out = c;
    return e;
}

void checkpoint_close(struct checkpoint **c)
{
    if (!*c)
        return;
    free((*c)->tensors);
    torch_file_close(&(*c)->torch);
    safetensors_close(&(*c)->safe);
    file_unmap(&(*c)->map);
    free((*c)->path);
    free(*c);
    *c = NULL;
}

const char *checkpoint_path(const struct checkpoint *c)
{
    return c->path;
}

static const char *text_of(const struct checkpoint *c, const char *key)
{
    const struct pickle_value *v = c->torch ? pickle_get(torch_file_root(c->torch), key) : NULL;
    return v && v->kind == PICKLE_TEXT ? v->text : NULL;
}

const char *checkpoint_config(const struct checkpoint *c)
{
    return text_of(c, "xp.cfg");
}

const char *checkpoint_pretrained(const struct checkpoint *c)
{
    return text_of(c, "pretrained");
}

uint32_t checkpoint_count(const struct checkpoint *c)
{
    return c->count;
}

const char *checkpoint_name(const struct checkpoint *c, uint32_t i)
{
    return c->tensors[i].name;
}

bool checkpoint_used(const struct checkpoint *c, uint32_t i)
{
    return c->tensors[i].used;
}

enum err checkpoint_find(struct checkpoint *c, const char *name, struct tensor_view *out)
{
    struct named_tensor *t = c->tensors ? bsearch(name, c->tensors, c->count,
                                                  sizeof(*c->tensors), compare_name_to_tensor)
                                        : NULL;
    if (!t)
        return ERR_MISSING;
    t->used = true;
    if (t->pickled)
        return torch_file_tensor(c->torch, t->pickled, out);
    return safetensors_find(c->safe, name, out) ? ERR_OK : ERR_MISSING;
}
