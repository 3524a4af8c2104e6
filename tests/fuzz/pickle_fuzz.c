// links: weights
//
// Checkpoints from elsewhere: as an archive and, to get past its directory, as the
// bare pickle in it. Of what is accepted every tensor is read.
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"
#include "worker/weights/torch_file.h"

static volatile float element; // that reading is not optimised away

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void read_tensor(struct torch_file *f, const struct pickle_value *v)
{
    struct tensor_view t;
    if (v->kind != PICKLE_TENSOR || torch_file_tensor(f, v, &t))
        return;
    require(t.bytes == tensor_elements(&t) * dtype_bytes(t.dtype));
    for (uint64_t i = 0; i < tensor_elements(&t); i++)
        element = tensor_at(&t, i);
}

static void read_archive(const uint8_t *data, size_t size)
{
    struct torch_file *f;
    if (torch_file_open(&f, "fuzz", data, size))
        return;
    const struct pickle_value *state = pickle_get(torch_file_root(f), "best_state");
    read_tensor(f, torch_file_root(f));
    for (uint32_t i = 1; state && state->kind == PICKLE_DICT && i < state->list.count; i += 2)
        read_tensor(f, state->list.items[i]);
    torch_file_close(&f);
}

// Whatever a tensor says, its last element is within its storage.
static void check_pickled(const struct pickle_value *v)
{
    if (!v || v->kind != PICKLE_TENSOR)
        return;
    unsigned __int128 elements = 1, last = v->tensor.offset;
    for (uint32_t i = 0; i < v->tensor.rank; i++) {
        elements *= v->tensor.shape[i];
        last += (unsigned __int128) (v->tensor.shape[i] - 1) * v->tensor.stride[i];
        if (elements == 0)
            return;
    }
    require(last < v->tensor.storage->storage.elements);
    require(elements <= v->tensor.storage->storage.elements);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pickle *p;
    read_archive(data, size);
    if (pickle_parse(&p, "fuzz", data, size))
        return 0;
    check_pickled(pickle_root(p));
    check_pickled(pickle_get(pickle_root(p), "t"));
    pickle_free(&p);
    return 0;
}
