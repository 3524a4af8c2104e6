#include "worker/model/decoder_trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BRANCHES 2

// All rows, [2][S], go through a layer before the next one starts, in pieces
// that fit the scratch: one layer's worth of activations is held.
struct trace {
    struct decoder_model *m;
    struct device *device;
    struct probe *probe;
    struct stream *stream;
    struct arena *arena;
    struct span rows, x, logits;
    uint32_t steps; // S
    float *raw;     // rows as they come from the device
    float *seen;    // [2][S][dim] on its way to the probe
    float *scores;  // [2][K][S][card] likewise
};

static enum err make_rows(struct trace *t)
{
    const uint32_t count = BRANCHES * t->steps;
    struct decode_row *rows = calloc(count, sizeof(*rows));
    enum err e = rows ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; !e && i < count; i++)
        rows[i] = (struct decode_row){ .branch = i / t->steps, .position = i % t->steps };
    if (!e)
        e = arena_alloc(t->arena, count * sizeof(*rows), &t->rows);
    if (!e)
        e = span_upload(t->device, t->rows, 0, rows, count * sizeof(*rows));
    free(rows);
    return e;
}

static enum err trace_open(struct trace *t)
{
    const struct decoder_model *m = t->m;
    const uint64_t rows = BRANCHES * (uint64_t) t->steps;
    t->seen = calloc(rows * m->config.dim, sizeof(*t->seen));
    t->scores = calloc(rows * m->config.codebooks * m->config.card, sizeof(*t->scores));
    t->raw = calloc((uint64_t) m->rows * (m->shape.dim_stride + m->shape.logit_stride),
                    sizeof(*t->raw));
    if (!t->seen || !t->scores || !t->raw)
        return ERR_NOMEM;
    enum err e = stream_create(&t->stream, t->device);
    if (!e)
        e = arena_create(&t->arena, t->device, MEMORY_DEVICE, "trace");
    if (!e)
        e = make_rows(t);
    if (!e)
        e = arena_alloc_texels(t->arena, rows * m->shape.dim_stride * sizeof(float), &t->x);
    if (!e)
        e = span_zero(t->device, t->x); // the padding must be finite
    if (!e)
        e = arena_alloc_texels(
            t->arena, (uint64_t) m->rows * m->shape.logit_stride * sizeof(float), &t->logits);
    if (!e)
        stream_label(t->stream, "decoder trace");
    return e;
}

static void trace_close(struct trace *t)
{
    stream_destroy(&t->stream);
    arena_destroy(&t->arena);
    free(t->seen);
    free(t->scores);
    free(t->raw);
}

// The pass of up to m->rows rows from `first` on.
static struct decoder_pass piece(const struct trace *t, uint32_t first)
{
    const uint32_t left = BRANCHES * t->steps - first;
    const uint32_t conditional = first < t->steps ? t->steps - first : 0;
    struct decoder_pass p = {
        .rows = t->rows,
        .first_row = first,
        .x = t->x,
        .x_offset = first * t->m->shape.dim_stride,
        .row_count = left < t->m->rows ? left : t->m->rows,
        .reach = t->steps,
    };
    p.cross_count = conditional < p.row_count ? conditional : p.row_count;
    if (t->m->config.cross_positions)
        p.cross_count = p.row_count;
    return p;
}

// Rows of dim_stride floats, `offset` elements into `from`, to rows `first` and
// on of t->seen.
static enum err collect(struct trace *t, struct span from, uint32_t offset,
                        const struct decoder_pass *p)
{
    const uint32_t stride = t->m->shape.dim_stride, dim = t->m->config.dim;
    const enum err e = span_download(t->device, from, offset * sizeof(float), t->raw,
                                     (uint64_t) p->row_count * stride * sizeof(float));
    for (uint32_t r = 0; !e && r < p->row_count; r++)
        memcpy(t->seen + (uint64_t) (p->first_row + r) * dim, t->raw + (uint64_t) r * stride,
               dim * sizeof(float));
    return e;
}

// Logits of a piece, [row_count][K][codebook_stride], to t->scores.
static enum err collect_logits(struct trace *t, const struct decoder_pass *p)
{
    const struct lm_config *c = &t->m->config;
    const struct decoder_shape *shape = &t->m->shape;
    const enum err e =
        span_download(t->device, t->logits, 0, t->raw,
                      (uint64_t) p->row_count * shape->logit_stride * sizeof(float));
    for (uint32_t r = 0; !e && r < p->row_count; r++) {
        const uint32_t branch = (p->first_row + r) / t->steps,
                       step = (p->first_row + r) % t->steps;
        for (uint32_t k = 0; k < c->codebooks; k++)
            memcpy(t->scores +
                       (((uint64_t) branch * c->codebooks + k) * t->steps + step) * c->card,
                   t->raw + (uint64_t) r * shape->logit_stride +
                       (uint64_t) k * shape->codebook_stride,
                   c->card * sizeof(float));
    }
    return e;
}

static enum err show_seen(struct trace *t, const char *name)
{
    const uint64_t shape[] = { BRANCHES, t->steps, t->m->config.dim };
    return t->probe->see(t->probe, name, t->seen, 3, shape);
}

// The embeddings, or a layer, over all rows; then a look at the result.
static enum err trace_stage(struct trace *t, const char *name, bool embed, uint32_t layer)
{
    enum err e = ERR_OK;
    for (uint32_t first = 0; !e && first < BRANCHES * t->steps; first += t->m->rows) {
        const struct decoder_pass p = piece(t, first);
        if (embed)
            pass_embed(t->m, t->stream, &p);
        else
            pass_layer(t->m, t->stream, &p, layer);
        e = stream_run(t->stream);
        if (!e)
            e = collect(t, p.x, p.x_offset, &p);
    }
    return e ? e : show_seen(t, name);
}

static enum err trace_logits(struct trace *t)
{
    const struct lm_config *c = &t->m->config;
    enum err e = ERR_OK;
    for (uint32_t first = 0; !e && first < BRANCHES * t->steps; first += t->m->rows) {
        const struct decoder_pass p = piece(t, first);
        pass_logits(t->m, t->stream, &p, t->logits);
        e = stream_run(t->stream);
        if (!e)
            e = collect(t, t->m->normed, 0, &p);
        if (!e)
            e = collect_logits(t, &p);
    }
    const uint64_t shape[] = { c->codebooks, t->steps, c->card };
    if (!e)
        e = show_seen(t, "lm.out_norm");
    if (!e)
        e = t->probe->see(t->probe, "lm.seq_logits_cond", t->scores, 3, shape);
    if (!e)
        e = t->probe->see(t->probe, "lm.seq_logits_null",
                          t->scores + shape[0] * shape[1] * shape[2], 3, shape);
    return e;
}

enum err decoder_model_trace(struct decoder_model *m, struct device *d, uint32_t steps,
                             struct probe *probe)
{
    struct trace t = { .m = m, .device = d, .probe = probe, .steps = steps };
    enum err e = trace_open(&t);
    if (!e)
        e = trace_stage(&t, "lm.embed_pos", true, 0);
    for (uint32_t i = 0; !e && i < m->config.layers; i++) {
        char name[32];
        snprintf(name, sizeof(name), "lm.layer%u", i);
        e = trace_stage(&t, name, false, i);
    }
    if (!e)
        e = trace_logits(&t);
    trace_close(&t);
    return e;
}
