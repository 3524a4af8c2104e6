#include "worker/ops/lstm_step.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "lstm_step_columns_f16.spv.h"
#include "lstm_step_columns_f32.spv.h"
#include "lstm_step_f16.spv.h"
#include "lstm_step_f32.spv.h"
#include "lstm_step_images_f16.spv.h"
#include "lstm_step_images_f32.spv.h"
#include "worker/ops/matmul_internal.h"

#define KERNEL(variant, image_bindings)                                          \
    {                                                                            \
        .name = "lstm_step_" #variant, .code = lstm_step_##variant##_spv,        \
        .code_bytes = sizeof(lstm_step_##variant##_spv), .bindings = 6,          \
        .images = (image_bindings), .push_bytes = sizeof(struct lstm_step_push), \
        .full_subgroups = true                                                   \
    }

static const struct kernel kernels[2][2] = {
    // [images][f16]
    { KERNEL(f32, 0), KERNEL(f16, 0) },
    { KERNEL(images_f32, 3), KERNEL(images_f16, 3) },
};
static const struct kernel column_kernels[2] = { KERNEL(columns_f32, 3),
                                                 KERNEL(columns_f16, 3) };

static uint32_t blocks_of(uint32_t hidden, bool f16)
{
    return f16 ? (hidden + 7) / 8 : (hidden + 3) / 4;
}

static uint32_t state_stride(uint32_t hidden)
{
    return (uint32_t) round_up(hidden, 8);
}

static uint64_t rows_bytes(uint32_t hidden, bool f16)
{
    return 4ull * hidden * blocks_of(hidden, f16) * 16;
}

uint64_t lstm_weights_bytes(uint32_t hidden, bool f16)
{
    const uint64_t rows = rows_bytes(hidden, f16),
                   columns = matrix_bytes(4 * hidden, hidden, f16, false);
    return rows > columns ? rows : columns;
}

static float power_of_two(int exponent) // of the normal range
{
    const uint32_t bits = (uint32_t) (exponent + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

// Halves are raised by a power of two until the largest is near the top of
// their range: then none is so small that its bits, moved into an f32, make a
// denormal number, which devices may take for zero.
static int raise_of(const uint8_t *halves, uint64_t count)
{
    uint16_t largest = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint16_t magnitude = read_le16(halves + 2 * i) & 0x7fff;
        largest = magnitude > largest ? magnitude : largest;
    }
    const int exponent = largest >> 10; // 31: infinite, 30: the largest numbers
    return exponent > 0 && exponent < 30 ? 30 - exponent : 0;
}

// Rows first .. first + count - 1, each padded with zeros.
static enum err load_rows(const struct lstm_weights *w, struct device *d, const uint8_t *data,
                          uint32_t first, uint32_t count, int raise)
{
    const size_t element = w->f16 ? 2 : 4, from = w->hidden * element;
    const size_t to = 16 * (size_t) blocks_of(w->hidden, w->f16);
    void *rows;
    const enum err e = span_write_begin(d, w->span, first * to, count * to, &rows);
    if (e)
        return e;
    for (size_t r = 0; r < count; r++) {
        uint8_t *row = (uint8_t *) rows + r * to;
        memcpy(row, data + (first + r) * from, from);
        memset(row + from, 0, to - from);
        for (size_t i = 0; raise && i < w->hidden; i++) {
            const uint16_t v =
                half_from_float(half_to_float(read_le16(row + 2 * i)) * power_of_two(raise));
            memcpy(row + 2 * i, &v, 2);
        }
    }
    return span_write_end(d);
}

// What lstm_step_columns wants: texels, and rounds that end with a row.
static bool fits_columns(const struct device *d, uint32_t hidden, bool f16)
{
    const struct device_facts *f = device_facts(d);
    return f->kind == DEVICE_CPU && f->subgroup_shuffle && f->subgroup >= 4 &&
           hidden % 16 == 0 &&
           matrix_bytes(4 * hidden, hidden, f16, false) / 16 <= f->max_texel_elements;
}

// Rows as they are needed side by side: for 8 units their gates i, then f, g, o.
static enum err load_columns(struct lstm_weights *w, struct device *d, struct arena *a,
                             const uint8_t *data)
{
    const size_t row = (size_t) w->hidden * (w->f16 ? 2 : 4), rows = 4ull * w->hidden;
    uint8_t *turned = malloc(rows * row);
    if (!turned) {
        log_error("out of memory for the weights of an LSTM");
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < rows; i++) {
        const size_t unit = i / 32 * 8 + i % 8, gate = i / 8 % 4;
        memcpy(turned + i * row, data + (gate * w->hidden + unit) * row, row);
    }
    const struct matrix_source from = { .data = turned,
                                        .f16 = w->f16,
                                        .row_stride = w->hidden };
    const enum err e = matrix_load(&w->columns, d, a, &from, 4 * w->hidden, w->hidden, w->f16);
    free(turned);
    w->scale = w->f16 ? w->columns.scale * power_of_two(LSTM_STEP_LOWERED) : 1;
    return e;
}

#define ROWS_AT_ONCE 64u

enum err lstm_weights_load(struct lstm_weights *out, struct device *d, struct arena *a,
                           const void *data, uint32_t hidden, bool f16)
{
    if (fits_columns(d, hidden, f16)) {
        *out = (struct lstm_weights){ .hidden = hidden, .f16 = f16 };
        return load_columns(out, d, a, data);
    }
    const int raise = f16 ? raise_of(data, 4ull * hidden * hidden) : 0;
    *out = (struct lstm_weights){ .hidden = hidden,
                                  .f16 = f16,
                                  .scale = f16 ? power_of_two(LSTM_STEP_LOWERED - raise) : 1 };
    enum err e = arena_alloc_texels(a, rows_bytes(hidden, f16), &out->span);
    for (uint32_t row = 0; !e && row < 4 * hidden; row += ROWS_AT_ONCE) {
        const uint32_t left = 4 * hidden - row;
        e = load_rows(out, d, data, row, left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE, raise);
    }
    return e;
}

static uint64_t h_bytes(uint32_t hidden)
{
    return 2ull * LSTM_MOST_SEQUENCES * state_stride(hidden) * 4;
}

static uint64_t cell_bytes(uint32_t hidden)
{
    return 4ull * LSTM_MOST_SEQUENCES * hidden;
}

uint64_t lstm_state_bytes(uint32_t hidden)
{
    return h_bytes(hidden) + cell_bytes(hidden);
}

enum err lstm_state_create(struct lstm_state *out, struct arena *a, uint32_t hidden)
{
    const enum err e = arena_alloc_texels(a, h_bytes(hidden), &out->h);
    return e ? e : arena_alloc(a, cell_bytes(hidden), &out->cell);
}

enum err lstm_state_clear(struct device *d, const struct lstm_state *state)
{
    const enum err e = span_zero(d, state->h);
    return e ? e : span_zero(d, state->cell);
}

// Workgroups: enough to fill a GPU; a CPU's cores have enough with fewer, and a
// workgroup costs them more.
static uint32_t most_groups(const struct device_facts *facts)
{
    return facts->kind == DEVICE_CPU ? 64 : 512;
}

static void record_columns(struct stream *s, const struct lstm_step *l,
                           const struct lstm_step_push *push)
{
    const struct lstm_weights *w = l->w;
    const uint32_t lanes = device_facts(stream_device(s))->subgroup;
    stream_dispatch(s, &column_kernels[w->f16],
                    &(struct dispatch){
                        .bind = { w->columns.span, l->state->h, l->gates, l->state->h,
                                  l->state->cell, l->y },
                        .push = push,
                        .constants = { lanes, l->sequences },
                        .constant_count = 2,
                        .groups = { (w->hidden + 2 * lanes - 1) / (2 * lanes), 1, 1 },
                        .flops = 8.0 * l->sequences * w->hidden * w->hidden,
                    });
}

void op_lstm_step(struct stream *s, const struct lstm_step *l)
{
    const struct lstm_weights *w = l->w;
    const struct device_facts *facts = device_facts(stream_device(s));
    const uint32_t half_units = (w->hidden + 1) / 2, groups = most_groups(facts);
    const uint32_t pairs = (half_units + groups - 1) / groups;
    const uint32_t quads = state_stride(w->hidden) / 4;
    struct lstm_step_push push = {
        .hidden = w->hidden,
        .blocks = blocks_of(w->hidden, w->f16),
        .pairs = pairs,
        .state_in = l->turn % 2 * LSTM_MOST_SEQUENCES * quads,
        .state_out = (l->turn + 1) % 2 * LSTM_MOST_SEQUENCES * quads,
        .state_quads = quads,
        .flags = l->add ? LSTM_STEP_ADD : 0u,
        .scale = w->scale,
    };
    memcpy(push.gates_row, l->gates_row, sizeof(push.gates_row));
    memcpy(push.y_row, l->y_row, sizeof(push.y_row));
    if (w->columns.span.bytes) {
        push.blocks = matrix_tile_blocks(w->hidden, w->f16);
        record_columns(s, l, &push);
        return;
    }
    const bool images = w->span.view && l->state->h.view &&
                        (facts->kind == DEVICE_CPU || w->span.bytes > facts->max_storage_range);
    stream_dispatch(
        s, &kernels[images][w->f16],
        &(struct dispatch){
            .bind = { w->span, l->state->h, l->gates, l->state->h, l->state->cell, l->y },
            .push = &push,
            .constants = { facts->subgroup, l->sequences },
            .constant_count = 2,
            .groups = { (half_units + pairs - 1) / pairs, 1, 1 },
            .flops = 8.0 * l->sequences * w->hidden * w->hidden,
        });
}
