#include "worker/model/loader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/log.h"

void loader_enter(struct loader *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->prefix, sizeof(l->prefix), format, args);
    va_end(args);
}

// False after a failure, now or before.
static bool find(struct loader *l, struct tensor_view *out, const char *name, uint32_t rank,
                 const uint64_t *shape)
{
    if (l->error)
        return false;
    char full[TENSOR_NAME_MAX];
    snprintf(full, sizeof(full), "%s%s", l->prefix, name);
    l->error = tensor_require(l->source, out, full, rank, shape);
    return !l->error;
}

static void *take(struct loader *l, uint64_t bytes)
{
    void *p = l->error ? NULL : malloc(bytes);
    if (!p && !l->error) {
        log_error("out of memory for %llu bytes of weights", (unsigned long long) bytes);
        l->error = ERR_NOMEM;
    }
    return p;
}

float *load_floats(struct loader *l, const char *name, uint32_t rank, const uint64_t *shape)
{
    struct tensor_view t;
    if (!find(l, &t, name, rank, shape))
        return NULL;
    const uint64_t count = tensor_elements(&t);
    float *floats = take(l, count * sizeof(*floats));
    if (floats)
        tensor_to_f32(&t, 0, count, floats);
    return floats;
}

struct span load_vector(struct loader *l, const char *name, uint32_t count)
{
    struct span s = { 0 };
    float *floats = load_floats(l, name, 1, (const uint64_t[]){ count });
    if (floats)
        l->error = arena_alloc_texels(l->arena, count * 4ull, &s);
    if (floats && !l->error)
        l->error = span_upload(l->device, s, 0, floats, count * 4ull);
    free(floats);
    return s;
}

static struct matrix upload(struct loader *l, const struct matrix_source *from, uint32_t rows,
                            uint32_t cols)
{
    struct matrix m = { 0 };
    if (!l->error)
        l->error = matrix_load(&m, l->device, l->arena, from, rows, cols, from->f16);
    return m;
}

struct matrix load_rows(struct loader *l, const struct matrix_rows *m)
{
    float *bias = m->bias ? load_floats(l, m->bias, 1, (const uint64_t[]){ m->all }) : NULL;
    struct tensor_view t;
    struct matrix out = { 0 };
    if (find(l, &t, m->weight, 2, (const uint64_t[]){ m->all, m->cols }))
        out = upload(l,
                     &(struct matrix_source){
                         .data = (const uint8_t *) t.data +
                                 (uint64_t) m->first * m->cols * dtype_bytes(t.dtype),
                         .f16 = t.dtype == DTYPE_F16,
                         .row_stride = m->cols,
                         .bias = bias ? bias + m->first : NULL,
                     },
                     m->rows, m->cols);
    free(bias);
    return out;
}

struct matrix load_matrix(struct loader *l, const char *weight, const char *bias, uint32_t rows,
                          uint32_t cols)
{
    return load_rows(l, &(struct matrix_rows){ weight, bias, rows, 0, rows, cols });
}

struct matrix load_reshaped(struct loader *l, const char *weight, uint32_t rank,
                            const uint64_t *shape, uint32_t rows, uint32_t cols)
{
    struct tensor_view t;
    if (!find(l, &t, weight, rank, shape))
        return (struct matrix){ 0 };
    return upload(l,
                  &(struct matrix_source){
                      .data = t.data,
                      .f16 = t.dtype == DTYPE_F16,
                      .row_stride = cols,
                  },
                  rows, cols);
}

static void transpose(uint8_t *to, const uint8_t *from, uint32_t rows, uint32_t cols,
                      uint32_t bytes)
{
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; c < cols; c++)
            for (uint32_t b = 0; b < bytes; b++)
                to[(r * cols + c) * bytes + b] = from[(c * rows + r) * bytes + b];
}

struct matrix load_transposed(struct loader *l, const char *weight, uint32_t rows,
                              uint32_t cols)
{
    struct tensor_view t;
    if (!find(l, &t, weight, 2, (const uint64_t[]){ cols, rows }))
        return (struct matrix){ 0 };
    uint8_t *turned = take(l, t.bytes);
    if (turned)
        transpose(turned, t.data, rows, cols, dtype_bytes(t.dtype));
    const struct matrix m = upload(l,
                                   &(struct matrix_source){
                                       .data = turned,
                                       .f16 = t.dtype == DTYPE_F16,
                                       .row_stride = cols,
                                   },
                                   rows, cols);
    free(turned);
    return m;
}

struct norm load_norm(struct loader *l, const char *name, uint32_t count)
{
    char full[TENSOR_NAME_MAX];
    struct norm n;
    snprintf(full, sizeof(full), "%s.weight", name);
    n.gain = load_vector(l, full, count);
    snprintf(full, sizeof(full), "%s.bias", name);
    n.bias = load_vector(l, full, count);
    return n;
}
