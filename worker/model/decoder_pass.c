#include "worker/model/decoder_pass.h"

#include <math.h>

#include "worker/ops/embed_tokens.h"
#include "worker/ops/layernorm.h"

#define EPSILON 1e-5f // PyTorch's default, which the published model keeps

void pass_embed(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p)
{
    const struct decoder_weights *w = &m->weights;
    for (uint32_t i = 0; i < w->table_count; i++) {
        const uint32_t first = i * w->table_codebooks;
        const uint32_t left = m->config.codebooks - first;
        op_embed_tokens(s, &(struct embed_tokens){
                               .rows = p->rows,
                               .slots = m->slots,
                               .tokens = m->tokens,
                               .table = w->tables[i],
                               .positions = w->positions,
                               .x = p->x,
                               .f16 = w->f16,
                               .first = first,
                               .count = left < w->table_codebooks ? left : w->table_codebooks,
                               .starts = i == 0,
                               .ends = i + 1 == w->table_count,
                               .codebooks = m->config.codebooks,
                               .vocabulary = m->config.card + 1,
                               .token_stride = m->token_stride,
                               .row_count = p->row_count,
                               .first_row = p->first_row,
                               .cols = m->config.dim,
                               .x_offset = p->x_offset,
                               .x_stride = m->shape.dim_stride,
                           });
    }
}

static void normalise(const struct decoder_model *m, struct stream *s,
                      const struct decoder_pass *p, const struct norm *n, uint32_t rows)
{
    op_layernorm(s, &(struct layernorm){
                        .x = p->x,
                        .y = m->normed,
                        .gain = n->gain,
                        .bias = n->bias,
                        .rows = rows,
                        .cols = m->config.dim,
                        .x_stride = m->shape.dim_stride,
                        .y_stride = m->shape.dim_stride,
                        .x_offset = p->x_offset,
                        .epsilon = EPSILON,
                    });
}

// y = w x
static void project(struct stream *s, const struct matrix *w, struct span x, uint32_t x_stride,
                    struct span y, uint32_t y_stride, uint32_t rows, uint32_t activation)
{
    op_matmul(s, &(struct matmul){
                     .w = w,
                     .x = x,
                     .y = y,
                     .rows = rows,
                     .x_stride = x_stride,
                     .y_stride = y_stride,
                     .activation = activation,
                 });
}

// The residual stream += w x
static void add_projected(const struct decoder_model *m, struct stream *s,
                          const struct decoder_pass *p, const struct matrix *w, struct span x,
                          uint32_t x_stride, uint32_t rows)
{
    op_matmul(s, &(struct matmul){
                     .w = w,
                     .x = x,
                     .y = p->x,
                     .residual = p->x,
                     .rows = rows,
                     .x_stride = x_stride,
                     .y_offset = p->x_offset,
                     .y_stride = m->shape.dim_stride,
                     .residual_offset = p->x_offset,
                     .residual_stride = m->shape.dim_stride,
                 });
}

static void attend(const struct decoder_model *m, struct stream *s,
                   const struct decoder_pass *p, uint32_t layer, bool cross)
{
    const uint32_t inner = m->shape.inner;
    kv_cache_attend(cross ? &m->cross : &m->self, s, layer,
                    &(struct attention_step){
                        .rows = p->rows,
                        .slots = m->slots,
                        .q = m->mixed,
                        .y = m->attended,
                        .q_stride = cross ? inner : 3 * inner,
                        .y_stride = inner,
                        .row_count = cross ? p->cross_count : p->row_count,
                        .first_row = p->first_row,
                        .cross = cross,
                        .reach = p->reach,
                        .scale = (float) (1 / sqrt((double) m->config.dim / m->config.heads)),
                    });
}

void pass_keys(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
               uint32_t layer)
{
    const struct decoder_layer *y = &m->weights.layers[layer];
    const uint32_t inner = m->shape.inner;
    normalise(m, s, p, &y->norm1, p->row_count);
    project(s, &y->self_in, m->normed, m->shape.dim_stride, m->mixed, 3 * inner, p->row_count,
            ACTIVATION_NONE);
    kv_cache_append(&m->self, s, layer,
                    &(struct kv_append){
                        .rows = p->rows,
                        .slots = m->slots,
                        .source = m->mixed,
                        .k_offset = inner,
                        .v_offset = 2 * inner,
                        .stride = 3 * inner,
                        .row_count = p->row_count,
                        .first_row = p->first_row,
                    });
}

// Rows without a condition skip this: for them it adds exactly zero.
static void cross_attention(const struct decoder_model *m, struct stream *s,
                            const struct decoder_pass *p, uint32_t layer)
{
    const struct decoder_layer *y = &m->weights.layers[layer];
    const uint32_t inner = m->shape.inner;
    normalise(m, s, p, &y->norm_cross, p->cross_count);
    project(s, &y->cross_q, m->normed, m->shape.dim_stride, m->mixed, inner, p->cross_count,
            ACTIVATION_NONE);
    attend(m, s, p, layer, true);
    add_projected(m, s, p, &y->cross_out, m->attended, inner, p->cross_count);
}

void pass_layer(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
                uint32_t layer)
{
    const struct decoder_layer *y = &m->weights.layers[layer];
    pass_keys(m, s, p, layer);
    attend(m, s, p, layer, false);
    add_projected(m, s, p, &y->self_out, m->attended, m->shape.inner, p->row_count);
    cross_attention(m, s, p, layer);
    normalise(m, s, p, &y->norm2, p->row_count);
    project(s, &y->up, m->normed, m->shape.dim_stride, m->hidden, m->shape.hidden_stride,
            p->row_count, ACTIVATION_GELU);
    add_projected(m, s, p, &y->down, m->hidden, m->shape.hidden_stride, p->row_count);
}

void pass_condition(const struct decoder_model *m, struct stream *s,
                    const struct decoder_pass *p, uint32_t layer)
{
    const uint32_t inner = m->shape.inner;
    project(s, &m->weights.layers[layer].cross_kv, p->x, m->shape.dim_stride, m->mixed,
            2 * inner, p->row_count, ACTIVATION_NONE);
    kv_cache_append(&m->cross, s, layer,
                    &(struct kv_append){
                        .rows = p->rows,
                        .slots = m->slots,
                        .source = m->mixed,
                        .k_offset = 0,
                        .v_offset = inner,
                        .stride = 2 * inner,
                        .row_count = p->row_count,
                        .first_row = p->first_row,
                    });
}

void pass_logits(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
                 struct span logits)
{
    normalise(m, s, p, &m->weights.out_norm, p->row_count);
    project(s, &m->weights.heads, m->normed, m->shape.dim_stride, logits, m->shape.logit_stride,
            p->row_count, ACTIVATION_NONE);
}
