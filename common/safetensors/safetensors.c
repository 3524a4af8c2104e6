#include "common/safetensors/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/log.h"

// No model has a header of more than a few hundred kilobytes; jansson needs
// some 20 bytes for each byte of a hostile one.
#define HEADER_MAX (4u << 20)

struct entry {
    const char *name; // owned by the header
    struct tensor_view view;
    uint64_t begin, end; // within the data
};

struct safetensors {
    char *path;          // for messages; NULL: none
    struct file_map map; // empty when the caller keeps the bytes
    json_t *header;
    struct entry *entries;        // in the order of their data
    const struct entry **by_name; // the same, sorted
    size_t count;
};

static enum err refuse(const struct safetensors *s, const char *name, const char *why)
{
    if (s->path)
        log_error("%s: not a sound safetensors file: %s%s%s", s->path, name, *name ? ": " : "",
                  why);
    return ERR_INPUT;
}

static enum err out_of_memory(const char *path)
{
    log_error("%s: out of memory", path ? path : "safetensors");
    return ERR_NOMEM;
}

static bool parse_dtype(const json_t *value, enum dtype *out)
{
    const char *name = json_string_value(value);
    for (int t = 0; name && t < DTYPE_COUNT; t++)
        if (!strcmp(name, dtype_name((enum dtype) t))) {
            *out = (enum dtype) t;
            return true;
        }
    return false;
}

static bool parse_size(const json_t *value, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t) json_integer_value(value);
    return true;
}

// The shape into the view, and the bytes it needs.
static const char *parse_shape(const json_t *shape, struct tensor_view *v)
{
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_MAX_RANK)
        return "its shape is not a list of at most 8 numbers";
    v->rank = (uint32_t) json_array_size(shape);
    v->bytes = dtype_bytes(v->dtype);
    for (uint32_t i = 0; i < v->rank; i++)
        if (!parse_size(json_array_get(shape, i), &v->shape[i]) ||
            !size_mul(v->bytes, v->shape[i], &v->bytes))
            return "its shape is negative or too large";
    return NULL;
}

// Fill *e. NULL, or what is wrong.
static const char *parse_entry(struct entry *e, const json_t *value, const uint8_t *data,
                               uint64_t data_bytes)
{
    const json_t *offsets = json_object_get(value, "data_offsets");
    if (!parse_dtype(json_object_get(value, "dtype"), &e->view.dtype))
        return "its dtype is not known";
    const char *wrong = parse_shape(json_object_get(value, "shape"), &e->view);
    if (wrong)
        return wrong;
    if (json_array_size(offsets) != 2 || !parse_size(json_array_get(offsets, 0), &e->begin) ||
        !parse_size(json_array_get(offsets, 1), &e->end))
        return "its data_offsets are not two numbers";
    if (e->begin > e->end || e->end > data_bytes)
        return "its data lies outside the file";
    if (e->end - e->begin != e->view.bytes)
        return "its data is not of the size its shape needs";
    e->view.data = data + e->begin;
    return NULL;
}

static int compare_places(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const struct entry *const *) a)->name,
                  (*(const struct entry *const *) b)->name);
}

static int compare_name_to_entry(const void *name, const void *entry)
{
    return strcmp(name, (*(const struct entry *const *) entry)->name);
}

// The format allows neither overlaps nor holes.
static enum err check_places(const struct safetensors *s, uint64_t data_bytes)
{
    uint64_t end = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (s->entries[i].begin != end)
            return refuse(s, s->entries[i].name,
                          "its data overlaps another's, or follows a hole");
        end = s->entries[i].end;
    }
    if (end != data_bytes)
        return refuse(s, "", "bytes beyond the last tensor");
    return ERR_OK;
}

static enum err check_metadata(const struct safetensors *s)
{
    json_t *metadata = json_object_get(s->header, "__metadata__");
    if (!metadata)
        return ERR_OK;
    if (!json_is_object(metadata))
        return refuse(s, "__metadata__", "not an object");
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return refuse(
        s, "__metadata__", "a value is not a string");
    return ERR_OK;
}

static enum err parse_header(struct safetensors *s, const uint8_t *data, uint64_t data_bytes)
{
    const size_t room = json_object_size(s->header) + 1; // never 0
    s->entries = calloc(room, sizeof(*s->entries));
    s->by_name = calloc(room, sizeof(*s->by_name));
    if (!s->entries || !s->by_name)
        return out_of_memory(s->path);
    const char *name;
    json_t *value;
    json_object_foreach(s->header, name, value)
    {
        if (!strcmp(name, "__metadata__"))
            continue;
        struct entry *e = &s->entries[s->count];
        e->name = name;
        const char *wrong = parse_entry(e, value, data, data_bytes);
        if (wrong)
            return refuse(s, name, wrong);
        s->count++;
    }
    qsort(s->entries, s->count, sizeof(*s->entries), compare_places);
    for (size_t i = 0; i < s->count; i++)
        s->by_name[i] = &s->entries[i];
    qsort(s->by_name, s->count, sizeof(*s->by_name), compare_names);
    const enum err e = check_metadata(s);
    return e ? e : check_places(s, data_bytes);
}

static enum err parse(struct safetensors *s, const uint8_t *data, uint64_t bytes)
{
    if (bytes < 8)
        return refuse(s, "", "too short to have a header");
    if (!memcmp(data, "PK\3\4", 4))
        return refuse(s, "",
                      "a zip archive; if PyTorch wrote it, give it to underscore import");
    const uint64_t length = read_le64(data);
    if (length > HEADER_MAX || length > bytes - 8)
        return refuse(s, "", "its header would be longer than the file, or than 4 MiB");
    json_error_t error;
    s->header = json_loadb((const char *) data + 8, length, JSON_REJECT_DUPLICATES, &error);
    if (!s->header)
        return refuse(s, "its header", error.text);
    if (!json_is_object(s->header))
        return refuse(s, "its header", "not an object");
    return parse_header(s, data + 8 + length, bytes - 8 - length);
}

static enum err create(struct safetensors **out, const char *name)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return out_of_memory(name);
    if (!name)
        return ERR_OK;
    (*out)->path = strdup(name);
    return (*out)->path ? ERR_OK : out_of_memory(name);
}

enum err safetensors_parse(struct safetensors **out, const char *name, const void *data,
                           uint64_t bytes)
{
    enum err e = create(out, name);
    if (!e)
        e = parse(*out, data, bytes);
    if (e)
        safetensors_close(out);
    return e;
}

enum err safetensors_open(struct safetensors **out, const char *path)
{
    enum err e = create(out, path);
    if (!e)
        e = file_map(&(*out)->map, path);
    if (!e)
        e = parse(*out, (*out)->map.data, (*out)->map.bytes);
    if (e)
        safetensors_close(out);
    return e;
}

const struct file_map *safetensors_map(const struct safetensors *s)
{
    return &s->map;
}

void safetensors_close(struct safetensors **s)
{
    if (!*s)
        return;
    json_decref((*s)->header);
    free((*s)->by_name);
    free((*s)->entries);
    free((*s)->path);
    file_unmap(&(*s)->map);
    free(*s);
    *s = NULL;
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const char *safetensors_name(const struct safetensors *s, size_t i)
{
    return s->entries[i].name;
}

struct tensor_view safetensors_view(const struct safetensors *s, size_t i)
{
    return s->entries[i].view;
}

bool safetensors_find(const struct safetensors *s, const char *name, struct tensor_view *out)
{
    const struct entry *const *e =
        bsearch(name, s->by_name, s->count, sizeof(*s->by_name), compare_name_to_entry);
    if (!e)
        return false;
    *out = (*e)->view;
    return true;
}

const char *safetensors_metadata(const struct safetensors *s, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}
