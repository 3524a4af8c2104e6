#include "worker/model/decoder_weights.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/model/sin_embedding.h"

#define PADDING 8 // elements: a 16-byte texel of halves

struct decoder_shape decoder_shape(const struct lm_config *c)
{
    struct decoder_shape s = {
        .width = (uint32_t) round_up(c->dim / c->heads, PADDING),
        .dim_stride = (uint32_t) round_up(c->dim, PADDING),
        .hidden_stride = (uint32_t) round_up(c->hidden, PADDING),
        .codebook_stride = (uint32_t) round_up(c->card, 4),
    };
    s.inner = c->heads * s.width;
    s.logit_stride = c->codebooks * s.codebook_stride;
    return s;
}

// What loading needs at every turn.
struct loader {
    struct decoder_weights *w;
    struct device *device;
    struct arena *arena;
    struct tensor_source *source;
    const struct lm_config *config;
    struct decoder_shape shape;
    char prefix[64]; // of the tensors' names
};

static enum err find(struct loader *l, struct tensor_view *out, const char *name, uint32_t rank,
                     uint64_t rows, uint64_t cols)
{
    char full[TENSOR_NAME_MAX];
    snprintf(full, sizeof(full), "%s%s", l->prefix, name);
    return tensor_require(l->source, out, full, rank, (const uint64_t[]){ rows, cols });
}

static enum err load_vector(struct loader *l, struct span *out, const char *name)
{
    const uint32_t n = l->config->dim;
    struct tensor_view v;
    enum err e = find(l, &v, name, 1, n, 0);
    float *values = e ? NULL : malloc(n * sizeof(*values));
    if (!e && !values)
        e = ERR_NOMEM;
    if (!e) {
        tensor_to_f32(&v, 0, n, values);
        e = arena_alloc(l->arena, n * sizeof(*values), out);
    }
    if (!e)
        e = span_upload(l->device, *out, 0, values, n * sizeof(*values));
    free(values);
    return e;
}

static enum err load_norm(struct loader *l, struct decoder_norm *out, const char *name)
{
    char full[64];
    snprintf(full, sizeof(full), "%s.weight", name);
    enum err e = load_vector(l, &out->gain, full);
    snprintf(full, sizeof(full), "%s.bias", name);
    if (!e)
        e = load_vector(l, &out->bias, full);
    return e;
}

// Rows first .. first + rows - 1 of a matrix as it is in the file.
static enum err load_rows(struct loader *l, struct matrix *out, const struct tensor_view *v,
                          uint32_t first, uint32_t rows)
{
    const uint32_t cols = (uint32_t) v->shape[1];
    const struct matrix_source from = {
        .data = (const uint8_t *) v->data + (uint64_t) first * cols * dtype_bytes(v->dtype),
        .f16 = v->dtype == DTYPE_F16,
        .row_stride = cols,
    };
    return matrix_load(out, l->device, l->arena, &from, rows, cols, l->w->f16);
}

static enum err load_matrix(struct loader *l, struct matrix *out, const char *name, uint32_t rows,
                            uint32_t cols)
{
    struct tensor_view v;
    const enum err e = find(l, &v, name, 2, rows, cols);
    return e ? e : load_rows(l, out, &v, 0, rows);
}

static enum err load_floats(struct loader *l, struct matrix *out, const float *data, uint32_t rows,
                            uint32_t cols)
{
    const struct matrix_source from = { .data = data, .row_stride = cols };
    return matrix_load(out, l->device, l->arena, &from, rows, cols, l->w->f16);
}

// Parts first .. first + parts - 1 (of q, k, v) of an in_proj_weight, every
// head's rows followed by rows of zeros up to the padded width.
static enum err load_in_proj(struct loader *l, struct matrix *out, const struct tensor_view *v,
                             uint32_t first, uint32_t parts)
{
    const uint32_t dim = l->config->dim, heads = l->config->heads, bare = dim / heads;
    if (bare == l->shape.width)
        return load_rows(l, out, v, first * dim, parts * dim);
    float *padded = calloc((size_t) parts * l->shape.inner * dim, sizeof(*padded));
    if (!padded)
        return ERR_NOMEM;
    for (uint32_t h = 0; h < parts * heads; h++)
        tensor_to_f32(v, ((uint64_t) first * dim + h * bare) * dim, (uint64_t) bare * dim,
                      padded + (size_t) h * l->shape.width * dim);
    const enum err e = load_floats(l, out, padded, parts * l->shape.inner, dim);
    free(padded);
    return e;
}

// An out_proj.weight, every head's columns followed by columns of zeros.
static enum err load_out_proj(struct loader *l, struct matrix *out, const char *name)
{
    const uint32_t dim = l->config->dim, heads = l->config->heads, bare = dim / heads;
    struct tensor_view v;
    enum err e = find(l, &v, name, 2, dim, dim);
    if (e || bare == l->shape.width)
        return e ? e : load_rows(l, out, &v, 0, dim);
    float *padded = calloc((size_t) dim * l->shape.inner, sizeof(*padded));
    if (!padded)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < dim * heads; i++)
        tensor_to_f32(&v, (uint64_t) i * bare, bare, padded + (size_t) i * l->shape.width);
    e = load_floats(l, out, padded, dim, l->shape.inner);
    free(padded);
    return e;
}

static enum err load_self_attention(struct loader *l, struct decoder_layer *y)
{
    const uint32_t dim = l->config->dim;
    struct tensor_view v;
    enum err e = find(l, &v, "self_attn.in_proj_weight", 2, 3ull * dim, dim);
    if (!e)
        e = load_in_proj(l, &y->self_in, &v, 0, 3);
    if (!e)
        e = load_out_proj(l, &y->self_out, "self_attn.out_proj.weight");
    return e;
}

static enum err load_cross_attention(struct loader *l, struct decoder_layer *y)
{
    const uint32_t dim = l->config->dim;
    struct tensor_view v;
    enum err e = find(l, &v, "cross_attention.in_proj_weight", 2, 3ull * dim, dim);
    if (!e)
        e = load_in_proj(l, &y->cross_q, &v, 0, 1);
    if (!e)
        e = load_in_proj(l, &y->cross_kv, &v, 1, 2);
    if (!e)
        e = load_out_proj(l, &y->cross_out, "cross_attention.out_proj.weight");
    return e;
}

static enum err load_layer(struct loader *l, struct decoder_layer *y, uint32_t i)
{
    const uint32_t dim = l->config->dim, hidden = l->config->hidden;
    snprintf(l->prefix, sizeof(l->prefix), "transformer.layers.%u.", i);
    enum err e = load_norm(l, &y->norm1, "norm1");
    if (!e)
        e = load_self_attention(l, y);
    if (!e)
        e = load_norm(l, &y->norm_cross, "norm_cross");
    if (!e)
        e = load_cross_attention(l, y);
    if (!e)
        e = load_norm(l, &y->norm2, "norm2");
    if (!e)
        e = load_matrix(l, &y->up, "linear1.weight", hidden, dim);
    if (!e)
        e = load_matrix(l, &y->down, "linear2.weight", dim, hidden);
    l->prefix[0] = '\0';
    return e;
}

// The codebooks' heads as one matrix, each padded with zero rows.
static enum err load_heads(struct loader *l)
{
    const struct lm_config *c = l->config;
    float *all = calloc((size_t) l->shape.logit_stride * c->dim, sizeof(*all));
    enum err e = all ? ERR_OK : ERR_NOMEM;
    for (uint32_t k = 0; !e && k < c->codebooks; k++) {
        char name[32];
        snprintf(name, sizeof(name), "linears.%u.weight", k);
        struct tensor_view v;
        e = find(l, &v, name, 2, c->card, c->dim);
        if (!e)
            tensor_to_f32(&v, 0, (uint64_t) c->card * c->dim,
                          all + (size_t) k * l->shape.codebook_stride * c->dim);
    }
    if (!e)
        e = load_floats(l, &l->w->heads, all, l->shape.logit_stride, c->dim);
    free(all);
    return e;
}

static uint64_t table_bytes(const struct lm_config *c, bool f16) // of one codebook
{
    return (c->card + 1ull) * c->dim * (f16 ? 2 : 4);
}

static enum err upload_rows(struct loader *l, struct span to, uint64_t offset,
                            const struct tensor_view *v)
{
    const uint64_t row = l->config->dim * (l->w->f16 ? 2ull : 4ull);
    enum err e = ERR_OK;
    for (uint64_t i = 0; !e && i < v->shape[0]; i++) {
        void *p;
        e = span_write_begin(l->device, to, offset + i * row, row, &p);
        if (e)
            break;
        if (l->w->f16)
            tensor_to_f16(v, i * v->shape[1], v->shape[1], p);
        else
            tensor_to_f32(v, i * v->shape[1], v->shape[1], p);
        e = span_write_end(l->device);
    }
    return e;
}

// The embeddings, as many codebooks in a table as one binding can hold.
static enum err load_tables(struct loader *l)
{
    struct decoder_weights *w = l->w;
    const struct lm_config *c = l->config;
    const uint64_t one = table_bytes(c, w->f16), most = device_facts(l->device)->max_storage_range;
    if (one > most) {
        log_error("%s: a codebook's embedding of %.1f MiB is more than the device can bind",
                  device_facts(l->device)->name, (double) one / 0x1p20);
        return ERR_DEVICE_MEM;
    }
    w->table_codebooks = most / one < c->codebooks ? (uint32_t) (most / one) : c->codebooks;
    w->table_count = (c->codebooks + w->table_codebooks - 1) / w->table_codebooks;
    w->tables = calloc(w->table_count, sizeof(*w->tables));
    enum err e = w->tables ? ERR_OK : ERR_NOMEM;
    for (uint32_t k = 0; !e && k < c->codebooks; k++) {
        struct span *table = &w->tables[k / w->table_codebooks];
        const uint32_t left = c->codebooks - k;
        if (k % w->table_codebooks == 0)
            e = arena_alloc(l->arena, one * (left < w->table_codebooks ? left : w->table_codebooks), table);
        char name[32];
        snprintf(name, sizeof(name), "emb.%u.weight", k);
        struct tensor_view v;
        if (!e)
            e = find(l, &v, name, 2, c->card + 1, c->dim);
        if (!e)
            e = upload_rows(l, *table, k % w->table_codebooks * one, &v);
    }
    return e;
}

static enum err load_positions(struct loader *l, uint32_t positions)
{
    const uint64_t row = l->config->dim * sizeof(float);
    enum err e = arena_alloc(l->arena, row * positions, &l->w->positions);
    for (uint32_t i = 0; !e && i < positions; i++) {
        void *p;
        e = span_write_begin(l->device, l->w->positions, i * row, row, &p);
        if (e)
            break;
        sin_embedding(i, l->config->dim, p);
        e = span_write_end(l->device);
    }
    return e;
}

// The precision of the model's matrices: that of the first.
static enum err find_precision(struct loader *l)
{
    const uint32_t dim = l->config->dim;
    struct tensor_view v;
    const enum err e = find(l, &v, "transformer.layers.0.self_attn.in_proj_weight", 2, 3ull * dim, dim);
    l->w->f16 = !e && v.dtype == DTYPE_F16;
    return e;
}

enum err decoder_weights_load(struct decoder_weights *out, struct device *d, struct arena *a,
                              struct tensor_source *source, uint32_t positions)
{
    const struct lm_config *c = &source->config->lm;
    *out = (struct decoder_weights){ .layers = calloc(c->layers, sizeof(*out->layers)) };
    struct loader l = { .w = out, .device = d, .arena = a, .source = source, .config = c,
                        .shape = decoder_shape(c) };
    enum err e = out->layers ? find_precision(&l) : ERR_NOMEM;
    for (uint32_t i = 0; !e && i < c->layers; i++)
        e = load_layer(&l, &out->layers[i], i);
    if (!e)
        e = load_norm(&l, &out->out_norm, "out_norm");
    if (!e)
        e = load_heads(&l);
    if (!e)
        e = load_tables(&l);
    if (!e)
        e = load_positions(&l, positions);
    if (e)
        decoder_weights_finish(out);
    return e;
}

void decoder_weights_finish(struct decoder_weights *w)
{
    free(w->layers);
    free(w->tables);
    *w = (struct decoder_weights){ 0 };
}

uint64_t decoder_weights_bytes(const struct lm_config *c, bool f16, uint32_t positions)
{
    const struct decoder_shape s = decoder_shape(c);
    const uint64_t layer = matrix_bytes(3 * s.inner, c->dim, f16, false) +
                           matrix_bytes(s.inner, c->dim, f16, false) +
                           matrix_bytes(2 * s.inner, c->dim, f16, false) +
                           2 * matrix_bytes(c->dim, s.inner, f16, false) +
                           matrix_bytes(c->hidden, c->dim, f16, false) +
                           matrix_bytes(c->dim, c->hidden, f16, false) + 6 * c->dim * 4ull;
    return layer * c->layers + matrix_bytes(s.logit_stride, c->dim, f16, false) +
           table_bytes(c, f16) * c->codebooks + (positions + 2ull) * c->dim * 4;
}
