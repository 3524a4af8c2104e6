#include "worker/model/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

// Bring the rows together, in place.
static void close_up(float *data, uint64_t rows, uint64_t cols, uint64_t stride)
{
    for (uint64_t r = 1; r < rows; r++)
        memmove(data + r * cols, data + r * stride, cols * sizeof(*data));
}

float *watch_fetch(const struct watch *w, struct span from, uint64_t count)
{
    if (!w->probe)
        return NULL;
    float *data = malloc(count * sizeof(*data));
    enum err e = data ? stream_run(w->stream) : ERR_NOMEM;
    if (e == ERR_NOMEM)
        log_error("out of memory for a tensor of %llu numbers", (unsigned long long) count);
    if (!e)
        e = span_download(stream_device(w->stream), from, 0, data, count * sizeof(*data));
    if (!e)
        return data;
    stream_fail(w->stream, e);
    free(data);
    return NULL;
}

void watch_see(const struct watch *w, const char *name, const float *data, uint32_t rank,
               const uint64_t *shape)
{
    const enum err e = w->probe->see(w->probe, name, data, rank, shape);
    if (e)
        stream_fail(w->stream, e);
}

void watch_show(const struct watch *w, const struct watched *t, const char *format, ...)
{
    const uint64_t cols = t->shape[t->rank - 1];
    const uint64_t stride = t->stride ? t->stride : cols;
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        rows *= t->shape[i];
    float *data = watch_fetch(w, t->span, (rows - 1) * stride + cols);
    if (!data)
        return;
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    close_up(data, rows, cols, stride);
    watch_see(w, name, data, t->rank, t->shape);
    free(data);
}
