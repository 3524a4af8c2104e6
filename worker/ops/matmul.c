#include "worker/ops/matmul.h"

#include <string.h>

#include "common/base/bytes.h"
#include "shaders/matmul.h"
#include "matmul_plain_f16.spv.h"
#include "matmul_plain_f32.spv.h"

#define TILE_ROWS 8

static uint32_t block_elements(bool f16)
{
    return f16 ? 8 : 4;
}

static uint32_t depth_blocks(uint32_t cols, bool f16)
{
    return (cols + block_elements(f16) - 1) / block_elements(f16);
}

static uint64_t packed_bytes(uint32_t rows, uint32_t cols, bool f16)
{
    return round_up(rows, TILE_ROWS) * depth_blocks(cols, f16) * 16;
}

uint64_t matrix_bytes(uint32_t rows, uint32_t cols, bool f16, bool bias)
{
    return round_up(packed_bytes(rows, cols, f16), 256) + (bias ? round_up(rows * 4ull, 256) : 0);
}

static float source_at(const struct matrix_source *s, uint64_t i)
{
    if (s->f16) {
        uint16_t h;
        memcpy(&h, (const uint8_t *) s->data + 2 * i, 2);
        return half_to_float(h);
    }
    float f;
    memcpy(&f, (const uint8_t *) s->data + 4 * i, 4);
    return f;
}

// One element of a packed block.
static void pack_one(uint8_t *to, const struct matrix_source *from, uint64_t i, bool f16)
{
    if (f16 && from->f16) {
        memcpy(to, (const uint8_t *) from->data + 2 * i, 2);
    } else if (f16) {
        const uint16_t h = half_from_float(source_at(from, i));
        memcpy(to, &h, 2);
    } else {
        const float f = source_at(from, i);
        memcpy(to, &f, 4);
    }
}

// One tile: 8 rows from `row`, all of K.
static void pack_tile(uint8_t *to, const struct matrix_source *from, uint32_t row,
                      const struct matrix *m)
{
    const uint32_t elements = block_elements(m->f16);
    const uint32_t bytes = 16 / elements;
    const uint32_t blocks = depth_blocks(m->cols, m->f16);
    memset(to, 0, (size_t) blocks * TILE_ROWS * 16);
    for (uint32_t r = 0; r < TILE_ROWS && row + r < m->rows; r++) {
        const uint64_t start = (row + r) * from->row_stride;
        for (uint32_t k = 0; k < m->cols; k++) {
            uint8_t *block = to + ((size_t) (k / elements) * TILE_ROWS + r) * 16;
            pack_one(block + k % elements * bytes, from, start + k, m->f16);
        }
    }
}

enum err matrix_load(struct matrix *out, struct device *d, struct arena *a,
                     const struct matrix_source *from, uint32_t rows, uint32_t cols, bool f16)
{
    *out = (struct matrix){ .rows = rows, .cols = cols, .f16 = f16 };
    enum err e = arena_alloc_texels(a, packed_bytes(rows, cols, f16), &out->span);
    if (!e && from->bias) {
        e = arena_alloc(a, rows * 4ull, &out->bias);
        if (!e)
            e = span_upload(d, out->bias, 0, from->bias, rows * 4ull);
    }
    const uint64_t tile = depth_blocks(cols, f16) * TILE_ROWS * 16ull;
    for (uint32_t row = 0; !e && row < rows; row += TILE_ROWS) {
        void *to;
        e = span_write_begin(d, out->span, row / TILE_ROWS * tile, tile, &to);
        if (e)
            break;
        pack_tile(to, from, row, out);
        e = span_write_end(d);
    }
    return e;
}

static const struct kernel plain_f32 = {
    .name = "matmul_plain_f32", .code = matmul_plain_f32_spv, .code_bytes = sizeof(matmul_plain_f32_spv),
    .bindings = 5, .push_bytes = sizeof(struct matmul_push),
};
static const struct kernel plain_f16 = {
    .name = "matmul_plain_f16", .code = matmul_plain_f16_spv, .code_bytes = sizeof(matmul_plain_f16_spv),
    .bindings = 5, .push_bytes = sizeof(struct matmul_push),
};

void op_matmul(struct stream *s, const struct matmul *m)
{
    const struct matrix *w = m->w;
    const uint32_t y_stride = m->y_stride ? m->y_stride : w->rows;
    const struct matmul_push push = {
        .rows = m->rows,
        .cols = w->rows,
        .depth = w->cols,
        .depth_blocks = depth_blocks(w->cols, w->f16),
        .x_offset = m->x_offset,
        .x_stride = m->x_stride ? m->x_stride : w->cols,
        .y_offset = m->y_offset,
        .y_stride = y_stride,
        .residual_offset = m->residual_offset,
        .residual_stride = m->residual_stride ? m->residual_stride : y_stride,
        .activation = m->activation,
        .flags = (w->bias.bytes ? MATMUL_BIAS : 0u) | (m->residual.bytes ? MATMUL_RESIDUAL : 0u),
    };
    // An absent bias or residual still needs something bound: never read.
    stream_dispatch(s, w->f16 ? &plain_f16 : &plain_f32, &(struct dispatch){
        .bind = { m->x, w->span, w->bias.bytes ? w->bias : w->span,
                  m->residual.bytes ? m->residual : m->y, m->y },
        .push = &push,
        .groups = { (w->rows + 7) / 8, (m->rows + 7) / 8, 1 },
        .flops = 2.0 * m->rows * w->rows * w->cols,
    });
}
