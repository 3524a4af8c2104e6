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

// Odd, so that neighbouring tiles, which are read side by side, do not all fall
// into the same few sets of a cache.
uint32_t matrix_tile_blocks(uint32_t cols, bool f16)
{
    return matrix_depth_blocks(cols, f16) | 1;
}

static uint64_t packed_bytes(uint32_t rows, uint32_t cols, bool f16)
{
    return round_up(rows, TILE_ROWS) * matrix_tile_blocks(cols, f16) * 16;
}

// A whole number of texels: the kernels read the bias four at a time.
static uint64_t bias_bytes(uint32_t rows)
{
    return round_up(rows, 4) * 4;
}

uint64_t matrix_bytes(uint32_t rows, uint32_t cols, bool f16, bool bias)
{
    return round_up(packed_bytes(rows, cols, f16), 256) +
           (bias ? round_up(bias_bytes(rows), 256) : 0);
}

static float source_float(const uint8_t *row, size_t k)
{
    float f;
    memcpy(&f, row + 4 * k, 4);
    return f;
}

static uint16_t source_half(const uint8_t *row, size_t k)
{
    uint16_t h;
    memcpy(&h, row + 2 * k, 2);
    return h;
}

static const uint8_t *source_row(const struct matrix_source *s, uint32_t row)
{
    return (const uint8_t *) s->data + row * s->row_stride * (s->f16 ? 2 : 4);
}

static uint32_t largest_half(const uint8_t *row, uint32_t cols)
{
    uint16_t most = 0;
    for (uint32_t k = 0; k < cols; k++) {
        const uint16_t magnitude = source_half(row, k) & 0x7fffu;
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

static uint32_t largest_float(const uint8_t *row, uint32_t cols)
{
    uint32_t most = 0;
    for (uint32_t k = 0; k < cols; k++) {
        uint32_t magnitude;
        memcpy(&magnitude, row + 4ull * k, 4);
        magnitude &= 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
    }
    return most;
}

// The bits of the largest magnitude: those of floats order as integers do.
static uint32_t largest_bits(const struct matrix_source *s, uint32_t rows, uint32_t cols)
{
    uint32_t most = 0;
    for (uint32_t r = 0; r < rows; r++) {
        const uint8_t *row = source_row(s, r);
        const uint32_t here = s->f16 ? largest_half(row, cols) : largest_float(row, cols);
        most = here > most ? here : most;
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

// Eight at once, in the usual case of nothing but zeros and normal numbers that
// stay so; the loop is made for the compiler to turn into vectors.
static void scale_halves(uint16_t h[8], int shift)
{
    const uint16_t least = (uint16_t) (shift < 0 ? (1 - shift) * 1024 : 1024);
    const uint16_t add = (uint16_t) (shift * 1024);
    uint16_t scaled[8], unusual = 0;
    for (int i = 0; i < 8; i++) {
        const uint16_t magnitude = h[i] & 0x7fffu;
        const uint16_t some = magnitude ? 0xffff : 0;
        const uint16_t small = magnitude < least ? some : 0;
        const uint16_t large = magnitude >= 0x7c00 ? 0xffff : 0;
        unusual |= small | large;
        scaled[i] = (uint16_t) (h[i] + (add & some));
    }
    for (int i = 0; unusual && i < 8; i++)
        scaled[i] = scaled_half(h[i], shift);
    memcpy(h, scaled, sizeof(scaled));
}

// n <= 8 elements into 16 bytes that are zero.
static void pack_halves(uint8_t *to, const uint8_t *from, bool from_f16, size_t n, int shift)
{
    uint16_t h[8] = { 0 };
    if (from_f16) {
        memcpy(h, from, n * 2);
        scale_halves(h, shift);
    } else {
        const float scale = ldexpf(1, shift);
        for (size_t k = 0; k < n; k++)
            h[k] = half_from_float(source_float(from, k) * scale);
    }
    memcpy(to, h, 16);
}

// n <= 4 elements into 16 bytes that are zero.
static void pack_floats(uint8_t *to, const uint8_t *from, bool from_f16, size_t n)
{
    float f[4] = { 0 };
    if (!from_f16)
        memcpy(f, from, n * 4);
    for (size_t k = 0; from_f16 && k < n; k++)
        f[k] = half_to_float(source_half(from, k));
    memcpy(to, f, 16);
}

// One tile: 8 rows from `row`, all of K.
static void pack_tile(uint8_t *to, const struct matrix_source *from, uint32_t row,
                      const struct matrix *m, int shift)
{
    const uint32_t elements = block_elements(m->f16);
    const uint32_t rows = m->rows - row < TILE_ROWS ? m->rows - row : TILE_ROWS;
    const uint8_t *sources[TILE_ROWS];
    for (uint32_t r = 0; r < rows; r++)
        sources[r] = source_row(from, row + r);
    if (rows < TILE_ROWS || m->cols % MATMUL_DEPTH)
        memset(to, 0, (size_t) matrix_tile_blocks(m->cols, m->f16) * TILE_ROWS * 16);
    for (uint32_t k = 0; k < m->cols; k += elements) {
        const uint32_t n = m->cols - k < elements ? m->cols - k : elements;
        const size_t skip = (size_t) k * (from->f16 ? 2 : 4);
        uint8_t *block = to + (size_t) (k / elements) * TILE_ROWS * 16;
        for (size_t r = 0; r < rows; r++) {
            if (m->f16)
                pack_halves(block + r * 16, sources[r] + skip, from->f16, n, shift);
            else
                pack_floats(block + r * 16, sources[r] + skip, from->f16, n);
        }
    }
}

static enum err load_bias(struct matrix *m, struct device *d, struct arena *a,
                          const float *bias)
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
    *out =
        (struct matrix){ .rows = rows, .cols = cols, .f16 = f16, .scale = ldexpf(1, -shift) };
    enum err e = arena_alloc_texels(a, packed_bytes(rows, cols, f16), &out->span);
    if (!e && from->bias)
        e = load_bias(out, d, a, from->bias);
    const uint64_t tile = 16ull * TILE_ROWS * matrix_tile_blocks(cols, f16);
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
