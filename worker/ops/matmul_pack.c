// matmul_pack: weights from a file's layout to the device's.
#include <math.h>
#include <string.h>

#include "common/base/bytes.h"
#include "shaders/matmul.h"
#include "worker/ops/matmul.h"
#include "worker/ops/matmul_internal.h"

#define TILE_ROWS 8
#define LARGEST_HALF 65504.0f
// Scales keep to a range in which neither they nor the sums leave f32's.
#define LEAST_SHIFT (-8)
#define MOST_SHIFT 40

static uint32_t block_elements(bool f16)
{
    return f16 ? 8 : 4;
}

uint32_t matrix_depth_blocks(uint32_t cols, bool f16)
{
    return (uint32_t) round_up(cols, MATMUL_DEPTH) / block_elements(f16);
}

static uint64_t packed_bytes(uint32_t rows, uint32_t cols, bool f16)
{
    return round_up(rows, TILE_ROWS) * matrix_depth_blocks(cols, f16) * 16;
}

// A whole number of texels: the kernels read the bias four at a time.
static uint64_t bias_bytes(uint32_t rows)
{
    return round_up(rows, 4) * 4;
}

uint64_t matrix_bytes(uint32_t rows, uint32_t cols, bool f16, bool bias)
{
    return round_up(packed_bytes(rows, cols, f16), 256) + (bias ? round_up(bias_bytes(rows), 256) : 0);
}

static float source_float(const uint8_t *row, uint32_t k)
{
    float f;
    memcpy(&f, row + 4ull * k, 4);
    return f;
}

static uint16_t source_half(const uint8_t *row, uint32_t k)
{
    uint16_t h;
    memcpy(&h, row + 2ull * k, 2);
    return h;
}

static const uint8_t *source_row(const struct matrix_source *s, uint32_t row)
{
    return (const uint8_t *) s->data + row * s->row_stride * (s->f16 ? 2 : 4);
}

// The bits of the largest magnitude: those of floats order as integers do.
static uint32_t largest_bits(const struct matrix_source *s, uint32_t rows, uint32_t cols)
{
    uint32_t most = 0;
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *row = source_row(s, r);
        for (uint32_t k = 0; k < cols; k++) {
            uint32_t bits;
            if (s->f16)
                bits = source_half(row, k) & 0x7fffu;
            else
                bits = read_le32(row + 4ull * k) & 0x7fffffffu;
            most = bits > most ? bits : most;
        }
    }
    return most;
}

// The power of two to scale by. Infinities and NaNs stay what they are.
static int shift_for(const struct matrix_source *s, uint32_t rows, uint32_t cols)
{
    const uint32_t bits = largest_bits(s, rows, cols);
    float most = half_to_float((uint16_t) bits);
    if (!s->f16)
        memcpy(&most, &bits, 4);
    if (!isfinite(most) || most <= 0)
        return 0;
    int exponent;
    const float mantissa = frexpf(most, &exponent); // 0.5 <= mantissa < 1
    const int shift = (mantissa <= LARGEST_HALF / 65536 ? 16 : 15) - exponent;
    return shift < LEAST_SHIFT ? LEAST_SHIFT : shift > MOST_SHIFT ? MOST_SHIFT : shift;
}

// h * 2^shift, exactly where that is a half.
static uint16_t scaled_half(uint16_t h, int shift)
{
    const uint32_t exponent = h >> 10 & 31;
    if (exponent == 31 || (h & 0x7fff) == 0)
        return h;
    if (exponent > 0 && (int) exponent + shift > 0)
        return (uint16_t) (h + (uint16_t) (shift * 1024));
    return half_from_float(ldexpf(half_to_float(h), shift));
}

static void pack_row_f16(uint8_t *to, const uint8_t *row, bool from_f16, uint32_t cols, int shift)
{
    const float scale = ldexpf(1, shift);
    for (uint32_t k = 0; k < cols; k++) {
        const uint16_t h = from_f16 ? scaled_half(source_half(row, k), shift)
                                    : half_from_float(source_float(row, k) * scale);
        memcpy(to + (size_t) (k / 8) * TILE_ROWS * 16 + k % 8 * 2, &h, 2);
    }
}

static void pack_row_f32(uint8_t *to, const uint8_t *row, bool from_f16, uint32_t cols)
{
    for (uint32_t k = 0; k < cols; k++) {
        const float f = from_f16 ? half_to_float(source_half(row, k)) : source_float(row, k);
        memcpy(to + (size_t) (k / 4) * TILE_ROWS * 16 + k % 4 * 4, &f, 4);
    }
}

// One tile: 8 rows from `row`, all of K.
static void pack_tile(uint8_t *to, const struct matrix_source *from, uint32_t row,
                      const struct matrix *m, int shift)
{
    memset(to, 0, (size_t) matrix_depth_blocks(m->cols, m->f16) * TILE_ROWS * 16);
    for (uint32_t r = 0; r < TILE_ROWS && row + r < m->rows; r++) {
        const uint8_t *source = source_row(from, row + r);
        if (m->f16)
            pack_row_f16(to + r * 16, source, from->f16, m->cols, shift);
        else
            pack_row_f32(to + r * 16, source, from->f16, m->cols);
    }
}

static enum err load_bias(struct matrix *m, struct device *d, struct arena *a, const float *bias)
{
    enum err e = arena_alloc_texels(a, bias_bytes(m->rows), &m->bias);
    if (!e)
        e = span_zero(d, m->bias);
    if (!e)
        e = span_upload(d, m->bias, 0, bias, m->rows * 4ull);
    return e;
}

enum err matrix_load(struct matrix *out, struct device *d, struct arena *a,
                     const struct matrix_source *from, uint32_t rows, uint32_t cols, bool f16)
{
    const int shift = f16 ? shift_for(from, rows, cols) : 0;
    *out = (struct matrix){ .rows = rows, .cols = cols, .f16 = f16, .scale = ldexpf(1, -shift) };
    enum err e = arena_alloc_texels(a, packed_bytes(rows, cols, f16), &out->span);
    if (!e && from->bias)
        e = load_bias(out, d, a, from->bias);
    const uint64_t tile = matrix_depth_blocks(cols, f16) * TILE_ROWS * 16ull;
    for (uint32_t row = 0; !e && row < rows; row += TILE_ROWS) {
        void *to;
        e = span_write_begin(d, out->span, row / TILE_ROWS * tile, tile, &to);
        if (e)
            break;
        pack_tile(to, from, row, out, shift);
        e = span_write_end(d);
    }
    return e;
}
