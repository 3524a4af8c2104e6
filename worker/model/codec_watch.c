#include "worker/model/codec_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

#define MOST_TENSORS (2 * SEANET_MOST_LAYERS + 4)

struct tensor {
    char name[48];
    uint32_t channels;
    int32_t length;
    float *data; // [channels][length]
};

struct codec_watch {
    struct seanet_watch layers; // first: see() gets a pointer to it
    struct stream *stream;
    struct probe *probe;
    char half[4];
    struct tensor tensors[MOST_TENSORS];
    uint32_t count;
};

static void see_layer(struct seanet_watch *self, const struct seanet *n, const struct layer *l,
                      const struct signal *at, struct range valid, int32_t length)
{
    (void) n;
    char name[24];
    snprintf(name, sizeof(name), "model%u", l->index);
    const uint32_t channels = l->kind == LAYER_BLOCK ? l->second.out : l->first.out;
    codec_watch_see((struct codec_watch *) self, name, channels, at, valid, length);
}

enum err codec_watch_create(struct codec_watch **out, struct stream *s, const char *half,
                            struct probe *probe)
{
    struct codec_watch *w = *out = calloc(1, sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    w->layers.see = see_layer;
    w->stream = s;
    w->probe = probe;
    memcpy(w->half, half, 3);
    return ERR_OK;
}

void codec_watch_begin(struct codec_watch *w)
{
    if (!w)
        return;
    for (uint32_t i = 0; i < w->count; i++)
        free(w->tensors[i].data);
    w->count = 0;
}

void codec_watch_destroy(struct codec_watch **w)
{
    if (!*w)
        return;
    codec_watch_begin(*w);
    free(*w);
    *w = NULL;
}

struct seanet_watch *codec_watch_layers(struct codec_watch *w)
{
    return w ? &w->layers : NULL;
}

// The tensor of that name, made when it is seen first; NULL when out of memory.
static struct tensor *tensor_named(struct codec_watch *w, const char *name, uint32_t channels,
                                   int32_t length)
{
    char full[48];
    snprintf(full, sizeof(full), "codec.%s_%s", w->half, name);
    for (uint32_t i = 0; i < w->count; i++)
        if (!strcmp(w->tensors[i].name, full))
            return &w->tensors[i];
    struct tensor *t = &w->tensors[w->count];
    *t = (struct tensor){ .channels = channels, .length = length };
    snprintf(t->name, sizeof(t->name), "%s", full);
    t->data = calloc((size_t) channels * (size_t) length, sizeof(*t->data));
    if (!t->data)
        return NULL;
    w->count++;
    return t;
}

static enum err gather(struct codec_watch *w, struct tensor *t, const struct signal *at,
                       struct range valid)
{
    enum err e = stream_run(w->stream);
    const size_t rows = (size_t) (valid.hi - valid.lo), n = rows * t->channels;
    float *data = malloc(n * sizeof(*data));
    if (!data)
        return ERR_NOMEM;
    const uint64_t from = at->offset + (uint64_t) (valid.lo - at->first) * t->channels;
    if (!e)
        e = span_download(stream_device(w->stream), at->span, 4 * from, data,
                          n * sizeof(*data));
    for (size_t i = 0; !e && i < n; i++) {
        const size_t row = (size_t) valid.lo + i / t->channels;
        t->data[i % t->channels * (size_t) t->length + row] = data[i];
    }
    free(data);
    return e;
}

void codec_watch_see(struct codec_watch *w, const char *name, uint32_t channels,
                     const struct signal *at, struct range valid, int32_t length)
{
    if (!w)
        return;
    struct tensor *t = tensor_named(w, name, channels, length);
    const enum err e = t ? gather(w, t, at, valid) : ERR_NOMEM;
    if (e)
        stream_fail(w->stream, e);
}

enum err codec_watch_show(struct codec_watch *w)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; w && !e && i < w->count; i++) {
        const struct tensor *t = &w->tensors[i];
        const uint64_t shape[] = { t->channels, (uint64_t) t->length };
        e = w->probe->see(w->probe, t->name, t->data, 2, shape);
    }
    codec_watch_begin(w);
    return e;
}
