#include "worker/model/decoder_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
struct decoder_loader {
    struct loader l;
    struct decoder_weights *w;
    const struct lm_config *config;
    struct decoder_shape shape;
};

static struct matrix upload_floats(struct decoder_loader *d, const float *data, uint32_t rows,
                                   uint32_t cols)
{
    struct matrix m = { 0 };
    if (!d->l.error)
        d->l.error = matrix_load(&m, d->l.device, d->l.arena,
                                 &(struct matrix_source){ .data = data, .row_stride = cols },
                                 rows, cols, d->w->f16);
    return m;
}

static float *take_zeros(struct decoder_loader *d, uint64_t count)
{
    float *zeros = d->l.error ? NULL : calloc(count, sizeof(*zeros));
    if (!zeros && !d->l.error)
        d->l.error = ERR_NOMEM;
    return zeros;
}

// Parts first .. first + parts - 1 (of q, k, v) of an in_proj_weight, every
// head's rows followed by rows of zeros up to the padded width.
static struct matrix load_in_proj(struct decoder_loader *d, const char *name, uint32_t first,
                                  uint32_t parts)
{
    const uint32_t dim = d->config->dim, heads = d->config->heads, bare = dim / heads;
    if (bare == d->shape.width)
        return load_rows(
            &d->l, &(struct matrix_rows){ name, NULL, 3 * dim, first * dim, parts * dim, dim });
    float *all = load_floats(&d->l, name, 2, (const uint64_t[]){ 3ull * dim, dim });
    float *padded = take_zeros(d, (uint64_t) parts * d->shape.inner * dim);
    for (uint64_t h = 0; padded && h < (uint64_t) parts * heads; h++)
        memcpy(padded + h * d->shape.width * dim,
               all + ((uint64_t) first * dim + h * bare) * dim,
               (uint64_t) bare * dim * sizeof(*all));
    const struct matrix m = upload_floats(d, padded, parts * d->shape.inner, dim);
    free(all);
    free(padded);
    return m;
}

// An out_proj.weight, every head's columns followed by columns of zeros.
static struct matrix load_out_proj(struct decoder_loader *d, const char *name)
{
    const uint32_t dim = d->config->dim, heads = d->config->heads, bare = dim / heads;
    if (bare == d->shape.width)
        return load_matrix(&d->l, name, NULL, dim, dim);
    float *all = load_floats(&d->l, name, 2, (const uint64_t[]){ dim, dim });
    float *padded = take_zeros(d, (uint64_t) dim * d->shape.inner);
    for (uint64_t i = 0; padded && i < (uint64_t) dim * heads; i++)
        memcpy(padded + i * d->shape.width, all + i * bare, bare * sizeof(*all));
    const struct matrix m = upload_floats(d, padded, dim, d->shape.inner);
    free(all);
    free(padded);
    return m;
}

static struct decoder_layer load_layer(struct decoder_loader *d, uint32_t i)
{
    const uint32_t dim = d->config->dim, hidden = d->config->hidden;
    loader_enter(&d->l, "transformer.layers.%u.", i);
    const struct decoder_layer y = {
        .norm1 = load_norm(&d->l, "norm1", dim),
        .self_in = load_in_proj(d, "self_attn.in_proj_weight", 0, 3),
        .self_out = load_out_proj(d, "self_attn.out_proj.weight"),
        .norm_cross = load_norm(&d->l, "norm_cross", dim),
        .cross_q = load_in_proj(d, "cross_attention.in_proj_weight", 0, 1),
        .cross_kv = load_in_proj(d, "cross_attention.in_proj_weight", 1, 2),
        .cross_out = load_out_proj(d, "cross_attention.out_proj.weight"),
        .norm2 = load_norm(&d->l, "norm2", dim),
        .up = load_matrix(&d->l, "linear1.weight", NULL, hidden, dim),
        .down = load_matrix(&d->l, "linear2.weight", NULL, dim, hidden),
    };
    loader_enter(&d->l, "%s", "");
    return y;
}

// The codebooks' heads as one matrix, each padded with zero rows.
static void load_heads(struct decoder_loader *d)
{
    const struct lm_config *c = d->config;
    float *all = take_zeros(d, (uint64_t) d->shape.logit_stride * c->dim);
    for (uint32_t k = 0; k < c->codebooks; k++) {
        char name[32];
        snprintf(name, sizeof(name), "linears.%u.weight", k);
        float *one = load_floats(&d->l, name, 2, (const uint64_t[]){ c->card, c->dim });
        if (one)
            memcpy(all + (uint64_t) k * d->shape.codebook_stride * c->dim, one,
                   (uint64_t) c->card * c->dim * sizeof(*one));
        free(one);
    }
    d->w->heads = upload_floats(d, all, d->shape.logit_stride, c->dim);
    free(all);
}

static uint64_t table_bytes(const struct lm_config *c, bool f16) // of one codebook
{
    return (c->card + 1ull) * c->dim * (f16 ? 2 : 4);
}

// A codebook's embeddings into its place in a table.
static enum err upload_table(struct decoder_loader *d, struct span to, uint64_t offset,
                             const struct tensor_view *v)
{
    const uint64_t row = d->config->dim * (d->w->f16 ? 2ull : 4ull);
    enum err e = ERR_OK;
    for (uint64_t i = 0; !e && i < v->shape[0]; i++) {
        void *p;
        e = span_write_begin(d->l.device, to, offset + i * row, row, &p);
        if (e)
            break;
        if (d->w->f16)
            tensor_to_f16(v, i * v->shape[1], v->shape[1], p);
        else
            tensor_to_f32(v, i * v->shape[1], v->shape[1], p);
        e = span_write_end(d->l.device);
    }
    return e;
}

static enum err make_tables(struct decoder_loader *d)
{
    struct decoder_weights *w = d->w;
    const uint32_t codebooks = d->config->codebooks;
    const uint64_t one = table_bytes(d->config, w->f16);
    const uint64_t most = device_facts(d->l.device)->max_storage_range;
    if (one > most) {
        log_error("%s: a codebook's embedding of %.1f MiB is more than the device can bind",
                  device_facts(d->l.device)->name, (double) one / 0x1p20);
        return ERR_DEVICE_MEM;
    }
    w->table_codebooks = most / one < codebooks ? (uint32_t) (most / one) : codebooks;
    w->table_count = (codebooks + w->table_codebooks - 1) / w->table_codebooks;
    w->tables = calloc(w->table_count, sizeof(*w->tables));
    enum err e = w->tables ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; !e && i < w->table_count; i++) {
        const uint32_t left = codebooks - i * w->table_codebooks;
        const uint32_t held = left < w->table_codebooks ? left : w->table_codebooks;
        e = arena_alloc(d->l.arena, one * held, &w->tables[i]);
    }
    return e;
}

// The embeddings, as many codebooks in a table as one binding can hold.
static void load_tables(struct decoder_loader *d)
{
    const struct lm_config *c = d->config;
    const uint64_t shape[] = { c->card + 1ull, c->dim };
    if (!d->l.error)
        d->l.error = make_tables(d);
    for (uint32_t k = 0; !d->l.error && k < c->codebooks; k++) {
        char name[32];
        snprintf(name, sizeof(name), "emb.%u.weight", k);
        struct tensor_view v;
        d->l.error = tensor_require(d->l.source, &v, name, 2, shape);
        if (!d->l.error)
            d->l.error =
                upload_table(d, d->w->tables[k / d->w->table_codebooks],
                             k % d->w->table_codebooks * table_bytes(c, d->w->f16), &v);
    }
}

static void make_positions(struct decoder_loader *d, uint32_t positions)
{
    const uint64_t row = d->config->dim * sizeof(float);
    if (!d->l.error)
        d->l.error = arena_alloc(d->l.arena, row * positions, &d->w->positions);
    for (uint32_t i = 0; !d->l.error && i < positions; i++) {
        void *p;
        d->l.error = span_write_begin(d->l.device, d->w->positions, i * row, row, &p);
        if (d->l.error)
            return;
        sin_embedding(i, d->config->dim, p);
        d->l.error = span_write_end(d->l.device);
    }
}

// The precision of the model's matrices: that of the first.
static void find_precision(struct decoder_loader *d)
{
    const uint64_t dim = d->config->dim;
    struct tensor_view v;
    d->l.error =
        tensor_require(d->l.source, &v, "transformer.layers.0.self_attn.in_proj_weight", 2,
                       (const uint64_t[]){ 3 * dim, dim });
    d->w->f16 = !d->l.error && v.dtype == DTYPE_F16;
}

enum err decoder_weights_load(struct decoder_weights *out, struct device *device,
                              struct arena *a, struct tensor_source *source, uint32_t positions)
{
    const struct lm_config *c = &source->config->lm;
    *out = (struct decoder_weights){ .layers = calloc(c->layers, sizeof(*out->layers)) };
    if (!out->layers)
        return ERR_NOMEM;
    struct decoder_loader d = { { .device = device, .arena = a, .source = source },
                                out,
                                c,
                                decoder_shape(c) };
    find_precision(&d);
    for (uint32_t i = 0; i < c->layers; i++)
        out->layers[i] = load_layer(&d, i);
    out->out_norm = load_norm(&d.l, "out_norm", c->dim);
    load_heads(&d);
    load_tables(&d);
    make_positions(&d, positions);
    if (d.l.error)
        decoder_weights_finish(out);
    return d.l.error;
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
                           matrix_bytes(c->dim, c->hidden, f16, false) + 24ull * c->dim;
    return layer * c->layers + matrix_bytes(s.logit_stride, c->dim, f16, false) +
           table_bytes(c, f16) * c->codebooks + (positions + 2ull) * c->dim * 4;
}
