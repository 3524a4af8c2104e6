#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/safetensors/safetensors.h"

#define ALIGNMENT 64
#define CHUNK 16384 // elements converted at a time

struct writer {
    const struct safetensors_write_params *params;
    const char *path;
    struct out_file file;
    const struct safetensors_item **order; // of the data
};

static uint64_t bytes_of(const struct safetensors_item *item)
{
    uint64_t bytes = dtype_bytes(item->dtype);
    for (uint32_t i = 0; i < item->rank; i++)
        bytes *= item->shape[i];
    return bytes;
}

// Those that fill whole alignments first, then the wider dtypes: with no holes
// between them every tensor is at least at a multiple of its element's size.
static int compare_items(const void *a, const void *b)
{
    const struct safetensors_item *x = *(const struct safetensors_item *const *) a;
    const struct safetensors_item *y = *(const struct safetensors_item *const *) b;
    const int ragged = (bytes_of(x) % ALIGNMENT != 0) - (bytes_of(y) % ALIGNMENT != 0);
    if (ragged)
        return ragged;
    const int narrower = (int) dtype_bytes(y->dtype) - (int) dtype_bytes(x->dtype);
    if (narrower && bytes_of(x) % ALIGNMENT)
        return narrower;
    return x < y ? -1 : 1; // as given
}

static json_t *describe(const struct safetensors_item *item, uint64_t begin)
{
    json_t *shape = json_array();
    for (uint32_t i = 0; i < item->rank; i++)
        json_array_append_new(shape, json_integer((json_int_t) item->shape[i]));
    const uint64_t end = begin + bytes_of(item);
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", dtype_name(item->dtype), "shape", shape,
                     "data_offsets", (json_int_t) begin, (json_int_t) end);
}

static enum err add_metadata(struct writer *w, json_t *header)
{
    const struct safetensors_write_params *p = w->params;
    json_t *metadata = json_object();
    if (p->metadata_count && json_object_set(header, "__metadata__", metadata) < 0) {
        json_decref(metadata);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < p->metadata_count; i++)
        if (json_object_set_new(metadata, p->metadata[i].key,
                                json_string(p->metadata[i].value))) {
            log_error("%s: %s is not UTF-8 text", w->path, p->metadata[i].key);
            json_decref(metadata);
            return ERR_INPUT;
        }
    json_decref(metadata);
    return ERR_OK;
}

static enum err put(struct writer *w, const void *data, uint64_t bytes)
{
    if (w->params->stop && atomic_load(w->params->stop))
        return ERR_STOP;
    if (fwrite(data, 1, bytes, w->file.stream) == bytes)
        return ERR_OK;
    const int why = errno;
    log_error("%s: cannot write: %s", w->path, strerror(why));
    return file_full_or(why, ERR_IO);
}

static enum err put_header_text(struct writer *w, const char *text)
{
    static const char spaces[ALIGNMENT + 1] =
        "                                                                ";
    const uint64_t length = strlen(text);
    const uint64_t padded = round_up(8 + length, ALIGNMENT) - 8;
    uint8_t prefix[8];
    for (int i = 0; i < 8; i++)
        prefix[i] = (uint8_t) (padded >> 8 * i);
    enum err e = put(w, prefix, 8);
    if (!e)
        e = put(w, text, length);
    if (!e)
        e = put(w, spaces, padded - length);
    return e;
}

static enum err put_header(struct writer *w)
{
    json_t *header = json_object();
    enum err e = add_metadata(w, header);
    uint64_t begin = 0;
    for (size_t i = 0; !e && i < w->params->item_count; i++) {
        if (json_object_set_new(header, w->order[i]->name, describe(w->order[i], begin)) < 0) {
            log_error("%s: cannot name a tensor %s", w->path, w->order[i]->name);
            e = ERR_INPUT;
        }
        begin += bytes_of(w->order[i]);
    }
    char *text = e ? NULL : json_dumps(header, JSON_COMPACT);
    if (text)
        e = put_header_text(w, text);
    else if (!e)
        e = ERR_NOMEM;
    free(text);
    json_decref(header);
    return e;
}

union floats {
    float f32[CHUNK];
    uint16_t f16[CHUNK];
};

static bool are_finite(const union floats *x, uint64_t count, enum dtype dtype)
{
    for (uint64_t i = 0; i < count; i++)
        if (dtype == DTYPE_F16 ? (x->f16[i] & 0x7c00) == 0x7c00 : !isfinite(x->f32[i]))
            return false;
    return true;
}

// One number that is none, or that is beyond what halves hold, spoils all that is computed with it.
static enum err put_floats(struct writer *w, const char *name, const struct tensor_view *t,
                           enum dtype dtype)
{
    union floats out;
    const uint64_t elements = tensor_elements(t);
    enum err e = ERR_OK;
    for (uint64_t first = 0; !e && first < elements; first += CHUNK) {
        const uint64_t n = elements - first < CHUNK ? elements - first : CHUNK;
        if (dtype == DTYPE_F16)
            tensor_to_f16(t, first, n, out.f16);
        else
            tensor_to_f32(t, first, n, out.f32);
        if (are_finite(&out, n, dtype)) {
            e = put(w, &out, n * dtype_bytes(dtype));
            continue;
        }
        log_error("%s: a number of the tensor %s is not finite%s", w->path, name,
                  dtype == DTYPE_F16 ? ", or too large for half precision: try --f32" : "");
        e = ERR_INPUT;
    }
    return e;
}

static enum err put_item(struct writer *w, const struct safetensors_item *item)
{
    if (item->data)
        return put(w, item->data, bytes_of(item));
    struct tensor_view t;
    const enum err e = w->params->source->find(w->params->source, item->name, &t);
    if (e == ERR_MISSING)
        log_error("%s: there is no tensor %s to write", w->path, item->name);
    if (e)
        return e;
    if (t.rank != item->rank || memcmp(t.shape, item->shape, t.rank * sizeof(*t.shape)) != 0) {
        log_error("%s: the tensor %s is not of the shape it should have", w->path, item->name);
        return ERR_INPUT;
    }
    if (item->dtype != DTYPE_F32 && item->dtype != DTYPE_F16)
        return ERR_BUG;
    return put_floats(w, item->name, &t, item->dtype);
}

static enum err write_all(struct writer *w)
{
    for (size_t i = 0; i < w->params->item_count; i++)
        w->order[i] = &w->params->items[i];
    qsort(w->order, w->params->item_count, sizeof(*w->order), compare_items);
    enum err e = out_file_open(&w->file, w->path);
    if (e)
        return e;
    e = put_header(w);
    for (size_t i = 0; !e && i < w->params->item_count; i++)
        e = put_item(w, w->order[i]);
    if (!e)
        return out_file_commit(&w->file);
    out_file_discard(&w->file);
    return e;
}

enum err safetensors_write(const char *path, const struct safetensors_write_params *p)
{
    struct writer w = { .params = p, .path = path };
    w.order = calloc(p->item_count + 1, sizeof(*w.order));
    if (!w.order) {
        log_error("%s: out of memory", path);
        return ERR_NOMEM;
    }
    const enum err e = write_all(&w);
    free(w.order);
    return e;
}
