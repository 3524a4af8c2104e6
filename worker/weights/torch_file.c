#include "worker/weights/torch_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/weights/zip.h"

struct torch_file {
    char *name; // for messages
    struct zip *zip;
    struct pickle *pickle;
    char *folder; // all entries are in it: "archive/"
    void *copy;   // of the tensor last asked for, when it was not contiguous
};

static enum err refuse(const struct torch_file *f, const char *why)
{
    log_error("%s: not a checkpoint this program reads: %s", f->name, why);
    return ERR_INPUT;
}

static enum err out_of_memory(const struct torch_file *f)
{
    log_error("%s: out of memory", f->name);
    return ERR_NOMEM;
}

static const struct zip_entry *find(const struct torch_file *f, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s%s", f->folder, name) < 0)
        return NULL;
    const struct zip_entry *e = zip_find(f->zip, path);
    free(path);
    return e;
}

// The folder that holds data.pkl. torch.save names it after the file.
static enum err find_folder(struct torch_file *f)
{
    static const char pickle[] = "/data.pkl";
    const uint32_t length = sizeof(pickle) - 1;
    for (uint32_t i = 0; i < zip_count(f->zip); i++) {
        const struct zip_entry *e = zip_at(f->zip, i);
        const uint32_t folder = e->name_bytes - length; // when it ends so
        if (e->name_bytes <= length || memcmp(e->name + folder, pickle, length) != 0 ||
            memchr(e->name, '/', folder) || memchr(e->name, 0, folder))
            continue;
        f->folder = strndup(e->name, folder + 1);
        return f->folder ? ERR_OK : out_of_memory(f);
    }
    return refuse(f, "a zip archive without a data.pkl");
}

static enum err check_byte_order(const struct torch_file *f)
{
    const struct zip_entry *e = find(f, "byteorder"); // absent before PyTorch 2
    if (e && (e->bytes != 6 || memcmp(e->data, "little", 6) != 0))
        return refuse(f, "its numbers are not little-endian");
    return ERR_OK;
}

static enum err open_parts(struct torch_file *f, const uint8_t *data, uint64_t bytes)
{
    if (bytes >= 2 && data[0] == 0x80 && data[1] < 6)
        return refuse(f, "a bare pickle, as PyTorch wrote before 1.6; load and save it again "
                         "with a newer PyTorch");
    enum err e = zip_open(&f->zip, f->name, data, bytes);
    if (!e)
        e = find_folder(f);
    if (!e)
        e = check_byte_order(f);
    if (e)
        return e;
    const struct zip_entry *pickle = find(f, "data.pkl");
    return pickle ? pickle_parse(&f->pickle, f->name, pickle->data, pickle->bytes)
                  : out_of_memory(f);
}

enum err torch_file_open(struct torch_file **out, const char *name, const void *data,
                         uint64_t bytes)
{
    *out = NULL;
    struct torch_file *f = calloc(1, sizeof(*f));
    if (f)
        f->name = strdup(name);
    if (!f || !f->name) {
        log_error("%s: out of memory", name);
        torch_file_close(&f);
        return ERR_NOMEM;
    }
    const enum err e = open_parts(f, data, bytes);
    if (e)
        torch_file_close(&f);
    *out = f;
    return e;
}

void torch_file_close(struct torch_file **f)
{
    if (!*f)
        return;
    pickle_free(&(*f)->pickle);
    zip_close(&(*f)->zip);
    free((*f)->folder);
    free((*f)->copy);
    free((*f)->name);
    free(*f);
    *f = NULL;
}

const struct pickle_value *torch_file_root(const struct torch_file *f)
{
    return pickle_root(f->pickle);
}

// The bytes of a tensor's storage.
static enum err find_storage(const struct torch_file *f, const struct pickle_value *storage,
                             const uint8_t **out)
{
    char *name = NULL;
    if (asprintf(&name, "data/%s", storage->storage.key) < 0)
        return out_of_memory(f);
    const struct zip_entry *e = find(f, name);
    free(name);
    uint64_t needed;
    if (!e)
        return refuse(f, "a tensor's storage is missing");
    if (!size_mul(storage->storage.elements, dtype_bytes(storage->storage.dtype), &needed) ||
        e->bytes < needed)
        return refuse(f, "a tensor's storage is cut short");
    *out = e->data;
    return ERR_OK;
}

static bool is_contiguous(const struct pickle_value *t)
{
    uint64_t step = 1;
    for (uint32_t i = t->tensor.rank; i-- > 0;) {
        if (t->tensor.shape[i] != 1 && t->tensor.stride[i] != step)
            return false;
        step *= t->tensor.shape[i];
    }
    return true;
}

// Elements in row-major order into `out`.
static void gather(const struct pickle_value *t, const uint8_t *storage, uint32_t element,
                   uint64_t elements, uint8_t *out)
{
    uint64_t index[TENSOR_MAX_RANK] = { 0 };
    uint64_t place = t->tensor.offset;
    for (uint64_t n = 0; n < elements; n++, out += element) {
        memcpy(out, storage + place * element, element);
        for (uint32_t d = t->tensor.rank; d-- > 0;) {
            place += t->tensor.stride[d];
            if (++index[d] < t->tensor.shape[d])
                break;
            place -= t->tensor.stride[d] * t->tensor.shape[d];
            index[d] = 0;
        }
    }
}

enum err torch_file_tensor(struct torch_file *f, const struct pickle_value *tensor,
                           struct tensor_view *out)
{
    const uint8_t *storage;
    const enum err e = find_storage(f, tensor->tensor.storage, &storage);
    if (e)
        return e;
    *out = (struct tensor_view){ .dtype = tensor->tensor.storage->storage.dtype,
                                 .rank = tensor->tensor.rank };
    memcpy(out->shape, tensor->tensor.shape, sizeof(out->shape));
    const uint64_t elements = tensor_elements(out); // no more than the storage has
    const uint32_t element = dtype_bytes(out->dtype);
    out->bytes = elements * element;
    out->data = storage + (elements ? tensor->tensor.offset * element : 0);
    if (elements == 0 || is_contiguous(tensor))
        return ERR_OK;
    free(f->copy);
    f->copy = malloc(out->bytes);
    if (!f->copy)
        return out_of_memory(f);
    gather(tensor, storage, element, elements, f->copy);
    out->data = f->copy;
    return ERR_OK;
}
