#include "worker/ops/matmul.h"

#include "matmul_plain_f16.spv.h"
#include "matmul_plain_f32.spv.h"
#include "matmul_slices_f16.spv.h"
#include "matmul_slices_f32.spv.h"
#include "matmul_texel_f16.spv.h"
#include "matmul_texel_f16_loose.spv.h"
#include "matmul_texel_f32.spv.h"
#include "matmul_texel_f32_loose.spv.h"
#include "matmul_tile_f16.spv.h"
#include "matmul_tile_f32.spv.h"
#include "shaders/matmul.h"
#include "worker/ops/matmul_internal.h"

#define KERNEL(variant, image_bindings, subgroups)                                           \
    {                                                                                        \
        .name = #variant, .code = variant##_spv, .code_bytes = sizeof(variant##_spv),        \
        .bindings = 5, .images = (image_bindings), .push_bytes = sizeof(struct matmul_push), \
        .full_subgroups = (subgroups)                                                        \
    }
static const struct kernel plain_kernels[2] = {
    // [f16], as below
    KERNEL(matmul_plain_f32, 0, false),
    KERNEL(matmul_plain_f16, 0, false),
};
static const struct kernel sliced_kernels[2] = {
    KERNEL(matmul_slices_f32, 0, false),
    KERNEL(matmul_slices_f16, 0, false),
};
static const struct kernel tiled_kernels[2] = {
    KERNEL(matmul_tile_f32, 0, false),
    KERNEL(matmul_tile_f16, 0, false),
};
static const struct kernel texel_kernels[2][2] = {
    // [loose][f16]
    { KERNEL(matmul_texel_f32, 15, true), KERNEL(matmul_texel_f16, 15, true) },
    { KERNEL(matmul_texel_f32_loose, 7, true), KERNEL(matmul_texel_f16_loose, 7, true) },
};

const char *const matmul_depth_choice[2] = { "matmul-depth-f32", "matmul-depth-f16" };
const char *const matmul_cols_choice[2] = { "matmul-cols-f32", "matmul-cols-f16" };
const char *const matmul_rows_choice = "matmul-rows-f16";

static uint32_t groups_of(uint32_t n, uint32_t size)
{
    return (n + size - 1) / size;
}

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
        .tile_blocks = matrix_tile_blocks(w->cols, w->f16),
        .x_offset = m->x_offset,
        .x_stride = m->x_stride ? m->x_stride : w->cols,
        .y_offset = m->y_offset,
        .y_stride = y_stride,
        .residual_offset = m->residual_offset,
        .residual_stride = m->residual_stride ? m->residual_stride : y_stride,
        .activation = m->activation,
        .flags = (w->bias.bytes ? MATMUL_BIAS : 0u) |
                 (m->residual.bytes ? MATMUL_RESIDUAL : 0u) |
                 (w->cols % MATMUL_DEPTH ? MATMUL_TAIL : 0u),
        .scale = w->scale,
    };
}

static bool in_texels(struct span s, uint32_t offset, uint32_t stride)
{
    return s.view && offset % 4 == 0 && stride % 4 == 0;
}

bool matmul_fits_texel(struct stream *s, const struct matmul *m)
{
    const struct device_facts *f = device_facts(stream_device(s));
    const struct matmul_push p = push_for(m);
    return f->subgroup_shuffle && f->subgroup >= 4 && f->int64 && m->w->span.view &&
           (!m->w->bias.bytes || m->w->bias.view) && in_texels(m->x, p.x_offset, p.x_stride);
}

// Is y in whole vec4s, and the residual in texels, too?
static bool strict(const struct matmul *m, const struct matmul_push *p)
{
    return p->cols % 4 == 0 && p->y_offset % 4 == 0 && p->y_stride % 4 == 0 &&
           (!m->residual.bytes ||
            in_texels(m->residual, p->residual_offset, p->residual_stride));
}

// Which of the sizes 1.. costs least for n of something: cost[i] is what one costs
// where sizes[i] ride together, relative to the best; measured on lavapipe.
static uint32_t cheapest(uint32_t n, const uint32_t *sizes, const double *cost, size_t count)
{
    uint32_t best = sizes[0];
    double least = 1e30;
    for (size_t i = 0; i < count; i++) {
        const double all = (double) groups_of(n, sizes[i]) * sizes[i] * cost[i];
        if (all < least) {
            least = all;
            best = sizes[i];
        }
    }
    return best;
}

// The most columns for a lane: a processor with few registers may do better with
// fewer. The sums' bits are the same whatever is chosen.
static uint32_t most_cols(struct stream *s, bool f16)
{
    uint32_t most;
    return device_choice(stream_device(s), matmul_cols_choice[f16], &most) ? most
                                                                           : MATMUL_FEW_COLS;
}

static uint32_t choose_cols(struct stream *s, const struct matmul *m, uint32_t rows)
{
    static const uint32_t sizes[] = { 8, 6, 4, 3, 2, 1 };
    static const double costs[2][6] = {
        // [f16]: what unpacks wants more to do with it
        { 1.15, 1.0, 1.14, 1.2, 1.4, 2.0 },
        { 1.0, 1.03, 1.15, 1.22, 1.4, 2.0 },
    };
    const uint32_t groups = groups_of(m->w->rows, device_facts(stream_device(s))->subgroup);
    const uint32_t most = rows > MATMUL_FEW_ROWS ? MATMUL_FEW_COLS : most_cols(s, m->w->f16);
    size_t first = 0;
    while (first < 5 && sizes[first] > most)
        first++;
    // Fewer rows leave room for a full set of columns.
    return cheapest(groups, sizes + first, costs[m->w->f16 || rows < 8] + first, 6 - first);
}

static uint32_t most_rows(struct stream *s, const struct matmul *m)
{
    if (!m->w->f16 || m->activation == ACTIVATION_ELU)
        return MATMUL_MANY_ROWS;
    uint32_t most;
    return device_choice(stream_device(s), matmul_rows_choice, &most) ? most : MATMUL_FEW_ROWS;
}

uint32_t matmul_best_depth(const struct device *d, bool f16)
{
    uint32_t depth;
    const bool shallow =
        device_choice(d, matmul_depth_choice[f16], &depth) && depth == MATMUL_SHALLOW;
    return shallow ? MATMUL_SHALLOW : MATMUL_DEPTH;
}

static struct matmul_choice choose_texel(struct stream *s, const struct matmul *m)
{
    static const uint32_t row_sizes[] = { 16, 8, 4, 2, 1 };
    static const double row_costs[] = { 0.9, 1.0, 1.15, 1.7, 2.6 };
    const size_t first = most_rows(s, m) < MATMUL_MANY_ROWS;
    uint32_t rows = cheapest(m->rows, row_sizes + first, row_costs + first, 5 - first);
    const uint32_t cols = choose_cols(s, m, rows);
    while (rows * cols % 4) // the shader turns its sums by fours
        rows *= 2;
    const uint32_t depth =
        rows < MATMUL_FEW_ROWS ? MATMUL_DEPTH : matmul_best_depth(stream_device(s), m->w->f16);
    return (struct matmul_choice){ MATMUL_TEXEL, rows, cols, depth };
}

// Workgroups run in order. Weights that stay in a core's cache are gone through
// again and again, and y is written in order; larger ones are gone through once,
// while x is read again for every few columns.
#define ACROSS_BYTES (1u << 20)

// A GPU wants many workgroups, then large ones.
#define ENOUGH_GROUPS 256

static struct matmul_choice choose_for_gpu(struct stream *s, const struct matmul *m)
{
    // A device need not allow more than 128 invocations.
    const bool tiles =
        device_facts(stream_device(s))->max_group_invocations >= MATMUL_SIDE * MATMUL_SIDE;
    uint32_t rows = 1;
    while (rows < m->rows && rows < MATMUL_SLICES)
        rows *= 2;
    if (m->rows <= MATMUL_SLICES || !tiles)
        return (struct matmul_choice){ MATMUL_SLICED, rows, 0, 0 };
    for (uint32_t side = 4; side > 1; side /= 2)
        if (groups_of(m->rows, 16 * side) * groups_of(m->w->rows, 16 * side) >= ENOUGH_GROUPS)
            return (struct matmul_choice){ MATMUL_TILED, side, side, 0 };
    return (struct matmul_choice){ MATMUL_TILED, 2, 2, 0 };
}

struct matmul_choice matmul_choose(struct stream *s, const struct matmul *m)
{
    struct device *d = stream_device(s);
    uint32_t form;
    if (!device_choice(d, "matmul", &form))
        form = device_facts(d)->kind == DEVICE_CPU ? MATMUL_TEXEL : MATMUL_SLICED;
    if (form != MATMUL_TEXEL)
        return choose_for_gpu(s, m);
    return matmul_fits_texel(s, m) ? choose_texel(s, m)
                                   : (struct matmul_choice){ .form = MATMUL_PLAIN };
}

// Everything but the form's own part. An absent bias or residual still needs
// something bound: it is never read.
static struct dispatch dispatch_for(const struct matmul *m, const struct matmul_push *p)
{
    const struct span w = m->w->span;
    return (struct dispatch){
        .bind = { m->x, w, m->w->bias.bytes ? m->w->bias : w,
                  m->residual.bytes ? m->residual : w, m->y },
        .push = p,
        .flops = 2.0 * p->rows * p->cols * p->depth,
    };
}

static void record_plain(struct stream *s, const struct matmul *m, const struct matmul_push *p)
{
    struct dispatch d = dispatch_for(m, p);
    d.groups[0] = groups_of(p->cols, 8);
    d.groups[1] = groups_of(p->rows, 8);
    d.groups[2] = 1;
    stream_dispatch(s, &plain_kernels[m->w->f16], &d);
}

static void record_texel(struct stream *s, const struct matmul *m, struct matmul_push *p,
                         struct matmul_choice c)
{
    const uint32_t lanes = device_facts(stream_device(s))->subgroup;
    if (m->w->f16)
        p->scale *= 0x1p48f; // 2^112 / X_LIFT of the shader
    const uint32_t constants[] = { lanes,    c.rows,        c.cols,
                                   p->flags, p->activation, c.depth ? c.depth : MATMUL_DEPTH };
    const bool across = m->w->span.bytes <= ACROSS_BYTES;
    if (across)
        p->flags |= MATMUL_ACROSS;
    struct dispatch d = dispatch_for(m, p);
    for (uint32_t i = 0; i < 6; i++)
        d.constants[i] = constants[i];
    d.constant_count = 6;
    d.groups[across] = groups_of(p->rows, c.rows);
    d.groups[!across] = groups_of(p->cols, c.cols * lanes);
    d.groups[2] = 1;
    stream_dispatch(s, &texel_kernels[!strict(m, p)][m->w->f16], &d);
}

static void record_sliced(struct stream *s, const struct matmul *m, const struct matmul_push *p,
                          struct matmul_choice c)
{
    struct dispatch d = dispatch_for(m, p);
    d.constants[0] = c.rows;
    d.constants[1] = p->x_offset % 4 == 0 && p->x_stride % 4 == 0;
    d.constant_count = 2;
    d.groups[0] = groups_of(p->cols, 8);
    d.groups[1] = groups_of(p->rows, c.rows);
    d.groups[2] = 1;
    stream_dispatch(s, &sliced_kernels[m->w->f16], &d);
}

static void record_tiled(struct stream *s, const struct matmul *m, const struct matmul_push *p,
                         struct matmul_choice c)
{
    struct dispatch d = dispatch_for(m, p);
    d.constants[0] = c.rows;
    d.constants[1] = c.cols;
    d.constant_count = 2;
    d.groups[0] = groups_of(p->rows, 16 * c.rows);
    d.groups[1] = groups_of(p->cols, 16 * c.cols);
    d.groups[2] = 1;
    stream_dispatch(s, &tiled_kernels[m->w->f16], &d);
}

void matmul_record(struct stream *s, const struct matmul *m, struct matmul_choice c)
{
    struct matmul_push p = push_for(m);
    switch (c.form) {
    case MATMUL_PLAIN: record_plain(s, m, &p); break;
    case MATMUL_TEXEL: record_texel(s, m, &p, c); break;
    case MATMUL_SLICED: record_sliced(s, m, &p, c); break;
    case MATMUL_TILED: record_tiled(s, m, &p, c); break;
    }
}

void op_matmul(struct stream *s, const struct matmul *m)
{
    matmul_record(s, m, matmul_choose(s, m));
}
