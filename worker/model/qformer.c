#include "worker/model/qformer.h"

#include <stdlib.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/ops/attention.h"
#include "worker/ops/layernorm.h"

#define QFORMER "condition_provider.conditioners.visual_content.clip.visual.qformer."

static uint32_t inner_stride(const struct qformer_config *c)
{
    return (uint32_t) round_up(c->hidden, 8); // rows start at whole texels
}

static void load_self(struct qformer_layer *a, struct loader *l, uint32_t width)
{
    a->self_in =
        load_matrix(l, "attention.in_proj_weight", "attention.in_proj_bias", 3 * width, width);
    a->self_out =
        load_matrix(l, "attention.out_proj.weight", "attention.out_proj.bias", width, width);
    a->self_dense =
        load_matrix(l, "self_output.dense.weight", "self_output.dense.bias", width, width);
    a->self_norm = load_norm(l, "self_output.LayerNorm", width);
}

static void load_cross(struct qformer_layer *a, struct loader *l, uint32_t width)
{
    struct matrix_rows in = { "crossattention.in_proj_weight",
                              "crossattention.in_proj_bias",
                              3 * width,
                              0,
                              width,
                              width };
    a->cross = true;
    a->cross_query = load_rows(l, &in);
    in.first = width;
    in.rows = 2 * width;
    a->cross_in = load_rows(l, &in);
    a->cross_out = load_matrix(l, "crossattention.out_proj.weight",
                               "crossattention.out_proj.bias", width, width);
    a->cross_dense =
        load_matrix(l, "cross_output.dense.weight", "cross_output.dense.bias", width, width);
    a->cross_norm = load_norm(l, "cross_output.LayerNorm", width);
}

static void load_layer(struct qformer_layer *a, struct loader *l, const struct qformer *q,
                       bool cross)
{
    const uint32_t width = q->width, hidden = q->config.hidden;
    load_self(a, l, width);
    if (cross)
        load_cross(a, l, width);
    a->dense_in = load_matrix(l, "intermediate_query.dense.weight",
                              "intermediate_query.dense.bias", hidden, width);
    a->dense_out =
        load_matrix(l, "output_query.dense.weight", "output_query.dense.bias", width, hidden);
    a->norm = load_norm(l, "output_query.LayerNorm", width);
}

static struct span load_query_tokens(struct loader *l, uint32_t queries, uint32_t width)
{
    struct span s = { 0 };
    const uint64_t bytes = (uint64_t) queries * width * sizeof(float);
    float *tokens = load_floats(l, "query_tokens", 3, (const uint64_t[]){ 1, queries, width });
    if (tokens)
        l->error = arena_alloc_texels(l->arena, bytes, &s);
    if (tokens && !l->error)
        l->error = span_upload(l->device, s, 0, tokens, bytes);
    free(tokens);
    return s;
}

void qformer_load(struct qformer *q, struct loader *l, const struct model_config *c)
{
    const uint32_t grid = c->vit.image / c->vit.patch;
    *q = (struct qformer){ .config = c->qformer,
                           .width = c->vit.width,
                           .heads = c->vit.heads,
                           .tokens = 1 + grid * grid };
    q->layers = calloc(c->qformer.layers, sizeof(*q->layers));
    if (!q->layers) {
        log_error("out of memory for the Q-Former's layers");
        l->error = ERR_NOMEM;
        return;
    }
    loader_enter(l, "condition_provider.conditioners.visual_content.clip.visual.");
    q->query_tokens = load_query_tokens(l, c->qformer.queries, q->width);
    loader_enter(l, QFORMER);
    q->layernorm = load_norm(l, "layernorm", q->width);
    for (uint32_t i = 0; i < c->qformer.layers && !l->error; i++) {
        loader_enter(l, QFORMER "encoder.layer.%u.", i);
        load_layer(&q->layers[i], l, q, c->qformer.cross[i]);
    }
}

void qformer_finish(struct qformer *q)
{
    free(q->layers);
    *q = (struct qformer){ 0 };
}

uint64_t qformer_query_bytes(const struct model_config *c, uint32_t frames)
{
    return (uint64_t) frames * c->qformer.queries * c->vit.width * sizeof(float);
}

// Holds queries, keys and values of the self-attention, then the inside of the
// dense pair.
uint64_t qformer_inner_bytes(const struct model_config *c, uint32_t frames)
{
    const uint32_t stride = inner_stride(&c->qformer), qkv = 3 * c->vit.width;
    return (uint64_t) frames * c->qformer.queries * (stride > qkv ? stride : qkv) *
           sizeof(float);
}

uint64_t qformer_picture_bytes(const struct model_config *c, uint32_t frames)
{
    const uint64_t grid = c->vit.image / c->vit.patch;
    return frames * (1 + grid * grid) * 2 * c->vit.width * sizeof(float);
}

uint64_t qformer_attention_bytes(const struct device *d, const struct model_config *c,
                                 uint32_t frames)
{
    const uint32_t grid = c->vit.image / c->vit.patch;
    struct attention a = { .batches = frames,
                           .heads = c->vit.heads,
                           .dims = c->vit.width / c->vit.heads,
                           .queries = c->qformer.queries,
                           .keys = c->qformer.queries };
    const uint64_t self = attention_scratch_bytes(d, &a);
    a.keys = 1 + grid * grid;
    const uint64_t cross = attention_scratch_bytes(d, &a);
    return self > cross ? self : cross;
}

// y = LayerNorm(x) (+ residual), all of them rows of queries.
static void record_norm(const struct qformer *q, struct stream *s, const struct norm *n,
                        struct span x, struct span y, struct span residual, uint32_t frames)
{
    op_layernorm(s, &(struct layernorm){
                        .x = x,
                        .y = y,
                        .gain = n->gain,
                        .bias = n->bias,
                        .residual = residual,
                        .rows = frames * q->config.queries,
                        .cols = q->width,
                        .epsilon = q->config.epsilon,
                    });
}

static void record_linear(const struct qformer *q, struct stream *s, const struct matrix *m,
                          struct span x, struct span y, uint32_t frames)
{
    op_matmul(s,
              &(struct matmul){ .w = m, .x = x, .y = y, .rows = frames * q->config.queries });
}

static struct attention attention_of(const struct qformer *q, uint32_t keys, uint32_t frames)
{
    return (struct attention){ .batches = frames,
                               .heads = q->heads,
                               .dims = q->width / q->heads,
                               .queries = q->config.queries,
                               .keys = keys };
}

// h = LN(dense(SelfAttention(q)))
static void record_self(const struct qformer *q, const struct qformer_layer *a,
                        struct stream *s, const struct qformer_scratch *scratch,
                        uint32_t frames)
{
    const uint32_t stride = 3 * q->width;
    struct attention of = attention_of(q, q->config.queries, frames);
    of.q = (struct attention_rows){ scratch->inner, 0, stride, 0 };
    of.k = (struct attention_rows){ scratch->inner, q->width, stride, 0 };
    of.v = (struct attention_rows){ scratch->inner, 2 * q->width, stride, 0 };
    of.y = (struct attention_rows){ scratch->y, 0, 0, 0 };
    of.scratch = scratch->attention;
    record_linear(q, s, &a->self_in, scratch->q, scratch->inner, frames);
    op_attention(s, &of);
    record_linear(q, s, &a->self_out, scratch->y, scratch->h, frames);
    record_linear(q, s, &a->self_dense, scratch->h, scratch->y, frames);
    record_norm(q, s, &a->self_norm, scratch->y, scratch->h, (struct span){ 0 }, frames);
}

// h = LN(dense(CrossAttention(h, x, x)))
static void record_cross(const struct qformer *q, const struct qformer_layer *a,
                         struct stream *s, const struct qformer_scratch *scratch, struct span x,
                         uint32_t frames)
{
    const uint32_t stride = 2 * q->width;
    struct attention of = attention_of(q, q->tokens, frames);
    of.q = (struct attention_rows){ scratch->y, 0, 0, 0 };
    of.k = (struct attention_rows){ scratch->picture, 0, stride, 0 };
    of.v = (struct attention_rows){ scratch->picture, q->width, stride, 0 };
    of.y = (struct attention_rows){ scratch->h, 0, 0, 0 };
    of.scratch = scratch->attention;
    stream_together(s);
    record_linear(q, s, &a->cross_query, scratch->h, scratch->y, frames);
    op_matmul(s, &(struct matmul){ .w = &a->cross_in,
                                   .x = x,
                                   .y = scratch->picture,
                                   .rows = frames * q->tokens });
    stream_apart(s);
    op_attention(s, &of);
    record_linear(q, s, &a->cross_out, scratch->h, scratch->y, frames);
    record_linear(q, s, &a->cross_dense, scratch->y, scratch->h, frames);
    record_norm(q, s, &a->cross_norm, scratch->h, scratch->h, (struct span){ 0 }, frames);
}

// q = LN(dense_out(GELU(dense_in h))) + h
static void record_dense(const struct qformer *q, const struct qformer_layer *a,
                         struct stream *s, const struct qformer_scratch *scratch,
                         uint32_t frames)
{
    const uint32_t rows = frames * q->config.queries, stride = inner_stride(&q->config);
    op_matmul(s, &(struct matmul){ .w = &a->dense_in,
                                   .x = scratch->h,
                                   .y = scratch->inner,
                                   .rows = rows,
                                   .y_stride = stride,
                                   .activation = ACTIVATION_GELU });
    op_matmul(s, &(struct matmul){ .w = &a->dense_out,
                                   .x = scratch->inner,
                                   .y = scratch->y,
                                   .rows = rows,
                                   .x_stride = stride });
    record_norm(q, s, &a->norm, scratch->y, scratch->q, scratch->h, frames);
}

// The normed query tokens, once for every frame.
static void record_queries(const struct qformer *q, struct stream *s, struct span to,
                           uint32_t frames)
{
    for (uint32_t i = 0; i < frames; i++)
        op_layernorm(s, &(struct layernorm){
                            .x = q->query_tokens,
                            .y = to,
                            .gain = q->layernorm.gain,
                            .bias = q->layernorm.bias,
                            .rows = q->config.queries,
                            .cols = q->width,
                            .y_offset = i * q->config.queries * q->width,
                            .epsilon = q->config.epsilon,
                        });
}

void qformer_record(const struct qformer *q, const struct watch *w,
                    const struct qformer_scratch *scratch, struct span x, uint32_t frames)
{
    const struct watched state = { scratch->q, 3, { frames, q->config.queries, q->width }, 0 };
    const struct watched inside = { scratch->h, 3, { frames, q->config.queries, q->width }, 0 };
    record_queries(q, w->stream, scratch->q, frames);
    watch_show(w, &state, "vis.qf_norm");
    for (uint32_t i = 0; i < q->config.layers; i++) {
        const struct qformer_layer *a = &q->layers[i];
        record_self(q, a, w->stream, scratch, frames);
        watch_show(w, &inside, "vis.qf_layer%u_self_output", i);
        if (a->cross) {
            record_cross(q, a, w->stream, scratch, x, frames);
            watch_show(w, &inside, "vis.qf_layer%u_cross_output", i);
        }
        record_dense(q, a, w->stream, scratch, frames);
        watch_show(w, &state, "vis.qf_layer%u", i);
    }
    watch_show(w, &state, "vis.qformer");
}
