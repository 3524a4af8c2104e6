#include "worker/ops/matmul.h"

#include "shaders/matmul.h"
#include "matmul_plain_f16.spv.h"
#include "matmul_plain_f32.spv.h"
#include "matmul_texel_f16.spv.h"
#include "matmul_texel_f16_loose.spv.h"
#include "matmul_texel_f32.spv.h"
#include "matmul_texel_f32_loose.spv.h"
#include "worker/ops/matmul_internal.h"

#define PLAIN(variant) { \
    .name = "matmul_plain_" #variant, .code = matmul_plain_##variant##_spv, \
    .code_bytes = sizeof(matmul_plain_##variant##_spv), \
    .bindings = 5, .push_bytes = sizeof(struct matmul_push) }
static const struct kernel plain_kernels[2] = { PLAIN(f32), PLAIN(f16) }; // [f16]

#define TEXEL(variant, image_bindings) { \
    .name = "matmul_texel_" #variant, .code = matmul_texel_##variant##_spv, \
    .code_bytes = sizeof(matmul_texel_##variant##_spv), .bindings = 5, .images = (image_bindings), \
    .push_bytes = sizeof(struct matmul_push), .full_subgroups = true }
static const struct kernel texel_kernels[2][2] = { // [loose][f16]
    { TEXEL(f32, 31), TEXEL(f16, 31) },
    { TEXEL(f32_loose, 7), TEXEL(f16_loose, 7) },
};

// With the defaults that zeros stand for filled in.
static struct matmul_push push_for(const struct matmul *m)
{
    const struct matrix *w = m->w;
    const uint32_t y_stride = m->y_stride ? m->y_stride : w->rows;
    return (struct matmul_push){
        .rows = m->rows,
        .cols = w->rows,
        .depth = w->cols,
        .depth_blocks = matrix_depth_blocks(w->cols, w->f16),
        .x_offset = m->x_offset,
        .x_stride = m->x_stride ? m->x_stride : w->cols,
        .y_offset = m->y_offset,
        .y_stride = y_stride,
        .residual_offset = m->residual_offset,
        .residual_stride = m->residual_stride ? m->residual_stride : y_stride,
        .activation = m->activation,
        .flags = (w->bias.bytes ? MATMUL_BIAS : 0u) | (m->residual.bytes ? MATMUL_RESIDUAL : 0u) |
                 (w->cols % MATMUL_DEPTH ? MATMUL_TAIL : 0u),
        .scale = w->scale,
    };
}

static bool in_texels(struct span s, uint32_t offset, uint32_t stride)
{
    return s.view && offset % 4 == 0 && stride % 4 == 0;
}

// Can matmul_texel's y and residual be texels, too?
static bool strict(const struct matmul *m, const struct matmul_push *p)
{
    return p->cols % 4 == 0 && in_texels(m->y, p->y_offset, p->y_stride) &&
           (!m->residual.bytes || in_texels(m->residual, p->residual_offset, p->residual_stride));
}

// Rows that ride together in one subgroup: what costs least, given what a row
// costs in company, relative to a row among 8 (measured on lavapipe).
static uint32_t rows_together(uint32_t rows)
{
    static const struct { uint32_t rows; double cost; } choices[] = {
        { 8, 1.0 }, { 4, 1.08 }, { 2, 1.5 }, { 1, 2.4 },
    };
    uint32_t best = 8;
    double least = 1e30;
    for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++) {
        const uint32_t r = choices[i].rows;
        const double cost = (rows + r - 1) / r * r * choices[i].cost;
        if (cost < least) {
            least = cost;
            best = r;
        }
    }
    return best;
}

static void dispatch_plain(struct stream *s, const struct matmul *m, const struct matmul_push *p)
{
    const struct span w = m->w->span;
    // An absent bias or residual still needs something bound: never read.
    stream_dispatch(s, &plain_kernels[m->w->f16], &(struct dispatch){
        .bind = { m->x, w, m->w->bias.bytes ? m->w->bias : w, m->residual.bytes ? m->residual : m->y, m->y },
        .push = p,
        .groups = { (p->cols + 7) / 8, (p->rows + 7) / 8, 1 },
        .flops = 2.0 * p->rows * p->cols * p->depth,
    });
}

static void dispatch_texel(struct stream *s, const struct matmul *m, struct matmul_push *p)
{
    const struct span w = m->w->span;
    const uint32_t lanes = device_facts(stream_device(s))->subgroup;
    uint32_t rows = rows_together(p->rows);
    uint32_t cols = 4;
    if (p->cols <= lanes) {
        rows = 8;
        cols = 1;
    }
    if (m->w->f16)
        p->scale *= 0x1p48f; // 2^112 / X_LIFT
    stream_dispatch(s, &texel_kernels[!strict(m, p)][m->w->f16], &(struct dispatch){
        .bind = { m->x, w, m->w->bias.bytes ? m->w->bias : w, m->residual.bytes ? m->residual : m->y, m->y },
        .push = p,
        .constants = { lanes, rows, cols, p->flags, p->activation },
        .constant_count = 5,
        .groups = { (p->rows + rows - 1) / rows, (p->cols + cols * lanes - 1) / (cols * lanes), 1 },
        .flops = 2.0 * p->rows * p->cols * p->depth,
    });
}

static bool can_texel(struct stream *s, const struct matmul *m, const struct matmul_push *p)
{
    const struct device_facts *f = device_facts(stream_device(s));
    return f->subgroup_shuffle && f->subgroup >= 4 && m->w->span.view &&
           (!m->w->bias.bytes || m->w->bias.view) && in_texels(m->x, p->x_offset, p->x_stride);
}

void op_matmul(struct stream *s, const struct matmul *m)
{
    struct matmul_push p = push_for(m);
    if (can_texel(s, m, &p))
        dispatch_texel(s, m, &p);
    else
        dispatch_plain(s, m, &p);
}
