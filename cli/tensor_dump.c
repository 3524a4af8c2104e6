#include "cli/tensor_dump.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/safetensors/safetensors.h"

static enum err no_memory(const char *name)
{
    log_error("out of memory for %s", name);
    return ERR_NOMEM;
}

static uint64_t bytes_of(enum dtype dtype, uint32_t rank, const uint64_t *shape)
{
    uint64_t n = dtype_bytes(dtype);
    for (uint32_t i = 0; i < rank; i++)
        n *= shape[i];
    return n;
}

static struct safetensors_item *item_named(struct tensor_dump *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->items[i].name, name))
            return &d->items[i];
    return NULL;
}

static struct safetensors_item *new_item(struct tensor_dump *d, const char *name)
{
    if (d->count == d->room) {
        const size_t room = d->room ? 2 * d->room : 64;
        struct safetensors_item *items = realloc(d->items, room * sizeof(*items));
        if (!items)
            return NULL;
        d->items = items;
        d->room = room;
    }
    struct safetensors_item *item = &d->items[d->count];
    *item = (struct safetensors_item){ .name = strdup(name) };
    if (!item->name)
        return NULL;
    d->count++;
    return item;
}

// What an item holds is the dump's own, whatever its type says.
static void *owned(const void *p)
{
    union {
        const void *in;
        void *out;
    } u = { .in = p };
    return u.out;
}

static enum err append(struct safetensors_item *item, const void *data, const uint64_t *shape)
{
    if (memcmp(item->shape + 1, shape + 1, (item->rank - 1) * sizeof(*shape)) != 0) {
        log_error("%s came in pieces that do not fit together", item->name);
        return ERR_BUG;
    }
    const uint64_t had = bytes_of(item->dtype, item->rank, item->shape);
    const uint64_t more = bytes_of(item->dtype, item->rank, shape);
    uint8_t *all = realloc(owned(item->data), had + more + 1);
    if (!all)
        return no_memory(item->name);
    memcpy(all + had, data, more);
    item->data = all;
    item->shape[0] += shape[0];
    return ERR_OK;
}

enum err tensor_dump_add(struct tensor_dump *d, const char *name, enum dtype dtype,
                         const void *data, uint32_t rank, const uint64_t *shape)
{
    struct safetensors_item *item = item_named(d, name);
    if (item && item->rank == rank && rank > 0 && item->dtype == dtype)
        return append(item, data, shape);
    if (item || rank > TENSOR_MAX_RANK) {
        log_error("%s came twice, and differently", name);
        return ERR_BUG;
    }
    item = new_item(d, name);
    if (!item)
        return no_memory(name);
    item->dtype = dtype;
    item->rank = rank;
    memcpy(item->shape, shape, rank * sizeof(*shape));
    const uint64_t bytes = bytes_of(dtype, rank, shape);
    void *copy = malloc(bytes + 1);
    if (!copy)
        return no_memory(name);
    memcpy(copy, data, bytes);
    item->data = copy;
    return ERR_OK;
}

enum err tensor_dump_tokens(struct tensor_dump *d, const char *name, const int32_t *tokens,
                            uint32_t rows, uint64_t cols)
{
    int64_t *wide = malloc((rows * cols + 1) * sizeof(*wide));
    if (!wide)
        return no_memory(name);
    for (uint64_t i = 0; i < rows * cols; i++)
        wide[i] = tokens[i];
    const enum err e =
        tensor_dump_add(d, name, DTYPE_I64, wide, 2, (const uint64_t[]){ rows, cols });
    free(wide);
    return e;
}

static enum err see(struct probe *self, const char *name, const float *data, uint32_t rank,
                    const uint64_t *shape)
{
    return tensor_dump_add((struct tensor_dump *) self, name, DTYPE_F32, data, rank, shape);
}

void tensor_dump_init(struct tensor_dump *d)
{
    *d = (struct tensor_dump){ .probe.see = see };
}

void tensor_dump_finish(struct tensor_dump *d)
{
    for (size_t i = 0; i < d->count; i++) {
        free(owned(d->items[i].name));
        free(owned(d->items[i].data));
    }
    free(d->items);
    *d = (struct tensor_dump){ 0 };
}

enum err tensor_dump_write(const struct tensor_dump *d, const char *path)
{
    return safetensors_write(path, &(struct safetensors_write_params){
                                       .items = d->items,
                                       .item_count = d->count,
                                       .stop = interrupt_watch(),
                                   });
}
