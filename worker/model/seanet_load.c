// seanet_load: the convolutions' weights, laid out for op_matmul().
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/model/seanet.h"

static uint32_t matrix_rows(const struct conv *v)
{
    return v->fold * v->up * v->out;
}

static uint32_t matrix_cols(const struct conv *v)
{
    return (v->kernel + (v->fold - 1) * v->stride) * v->in;
}

static uint64_t conv_bytes(const struct conv *v, bool f16)
{
    return v->in ? matrix_bytes(matrix_rows(v), matrix_cols(v), f16, true) : 0;
}

uint64_t seanet_weights_bytes(const struct seanet *n, bool f16)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n->count; i++)
        bytes += conv_bytes(&n->layers[i].first, f16) + conv_bytes(&n->layers[i].second, f16);
    return bytes;
}

// Where in the checkpoint's tensor the weight is that joins output channel `o`
// of the step's row `u` to input channel `i` of its row `t`.
static uint64_t source_index(const struct conv *v, uint32_t u, uint32_t o, uint32_t t,
                             uint32_t i)
{
    if (v->transposed) // [in, out, 2 * up]; the older of the two rows gives the later half
        return ((uint64_t) i * v->out + o) * 2 * v->up + (t == 0 ? v->up : 0) + u;
    return ((uint64_t) o * v->in + i) * v->kernel + t; // [out, in, kernel]
}

// The matrix's row for fold j, row u and channel o; `element` bytes each, and
// zeros where the fold does not look.
static void fill_row(uint8_t *to, const struct conv *v, const uint8_t *from, uint32_t element,
                     uint32_t j, uint32_t u, uint32_t o)
{
    to += (size_t) j * v->stride * v->in * element;
    for (uint32_t t = 0; t < v->kernel; t++)
        for (uint32_t i = 0; i < v->in; i++, to += element)
            memcpy(to, from + source_index(v, u, o, t, i) * element, element);
}

static void fill_matrix(uint8_t *to, const struct conv *v, const uint8_t *from,
                        uint32_t element)
{
    const size_t row = (size_t) matrix_cols(v) * element;
    for (uint32_t j = 0; j < v->fold; j++)
        for (uint32_t u = 0; u < v->up; u++)
            for (uint32_t o = 0; o < v->out; o++, to += row)
                fill_row(to, v, from, element, j, u, o);
}

static enum err find(struct tensor_source *source, struct tensor_view *out, const char *prefix,
                     const char *what, uint32_t rank, const uint64_t *shape)
{
    char name[TENSOR_NAME_MAX];
    snprintf(name, sizeof(name), "%s.%s", prefix, what);
    return tensor_require(source, out, name, rank, shape);
}

static enum err load_bias(float *out, const struct conv *v, struct tensor_source *source,
                          const char *prefix)
{
    struct tensor_view t;
    const enum err e = find(source, &t, prefix, "bias", 1, (const uint64_t[]){ v->out });
    if (e)
        return e;
    for (uint32_t i = 0; i < v->fold * v->up; i++)
        tensor_to_f32(&t, 0, v->out, out + (size_t) i * v->out);
    return ERR_OK;
}

static enum err load_with(struct conv *v, struct device *d, struct arena *a,
                          struct tensor_source *source, const char *prefix, float *bias,
                          uint8_t *weights)
{
    enum err e = load_bias(bias, v, source, prefix);
    if (e)
        return e;
    struct tensor_view t;
    if (v->transposed)
        e = find(source, &t, prefix, "weight", 3,
                 (const uint64_t[]){ v->in, v->out, 2ull * v->up });
    else
        e = find(source, &t, prefix, "weight", 3,
                 (const uint64_t[]){ v->out, v->in, v->kernel });
    if (e)
        return e;
    fill_matrix(weights, v, t.data, dtype_bytes(t.dtype));
    const struct matrix_source from = {
        .data = weights,
        .f16 = t.dtype == DTYPE_F16,
        .row_stride = matrix_cols(v),
        .bias = bias,
    };
    return matrix_load(&v->w, d, a, &from, matrix_rows(v), matrix_cols(v), from.f16);
}

static enum err load_conv(struct conv *v, struct device *d, struct arena *a,
                          struct tensor_source *source, const char *prefix)
{
    float *bias = calloc(matrix_rows(v), sizeof(*bias));
    void *weights = calloc(matrix_rows(v), matrix_cols(v) * sizeof(float)); // or halves
    enum err e = ERR_NOMEM;
    if (bias && weights)
        e = load_with(v, d, a, source, prefix, bias, weights);
    else
        log_error("out of memory for %s", prefix);
    free(bias);
    free(weights);
    return e;
}

static enum err load_layer(struct layer *l, const char *half, struct device *d, struct arena *a,
                           struct tensor_source *source)
{
    char prefix[96];
    const int n = snprintf(prefix, sizeof(prefix), "codec.%s.model.%u.", half, l->index);
    char *end = prefix + n;
    const size_t left = sizeof(prefix) - (size_t) n;
    if (l->kind == LAYER_CONV) {
        snprintf(end, left, "%s", l->first.transposed ? "convtr" : "conv");
        return load_conv(&l->first, d, a, source, prefix);
    }
    snprintf(end, left, "block.1.conv");
    const enum err e = load_conv(&l->first, d, a, source, prefix);
    if (e)
        return e;
    snprintf(end, left, "block.3.conv");
    return load_conv(&l->second, d, a, source, prefix);
}

enum err seanet_load(struct seanet *n, struct device *d, struct arena *a,
                     struct tensor_source *source)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const enum err e = load_layer(&n->layers[i], n->half, d, a, source);
        if (e)
            return e;
    }
    return ERR_OK;
}
