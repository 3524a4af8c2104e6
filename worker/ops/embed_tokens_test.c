// Tests of op_embed_tokens against the sum in double.
#include "worker/ops/embed_tokens.h"

#include "common/base/bytes.h"
#include "worker/ops/ops_fixture.h"

#define SLOTS 3
#define CODEBOOKS 3
#define VOCABULARY 12
#define STEPS 7

// The table as the kernel gets it; `table` is rounded to what it holds.
static struct span table_span(struct ops_fixture *f, float *table, size_t n, bool f16)
{
    if (!f16)
        return span_of_floats(f, table, n);
    uint16_t *halves = malloc(n * sizeof(*halves));
    for (size_t i = 0; i < n; i++) {
        halves[i] = half_from_float(table[i]);
        table[i] = half_to_float(halves[i]);
    }
    const struct span s = span_with(f, halves, n * sizeof(*halves));
    free(halves);
    return s;
}

static void check(struct ops_fixture *f, uint32_t cols, bool f16, bool in_two)
{
    const uint32_t x_offset = 4, x_stride = cols + 6, row_count = 4, first_row = 1;
    const size_t table_n = (size_t) CODEBOOKS * VOCABULARY * cols;
    float *table = noise_array(f, table_n, 1),
          *positions = noise_array(f, (size_t) STEPS * cols, 1);
    const struct decode_row rows[] = {
        { 0, 0, 0, 0 },
        { 2, 0, 3, 0 },
        { 1, 0, DECODE_AT_STEP, 0 },
        { 0, 1, 6, 0 },
        { 2, 1, DECODE_AT_STEP, 0 },
    };
    struct slot_state slots[SLOTS] = { 0 };
    slots[1].position[0] = 5;
    slots[2].position[0] = 1;
    uint32_t tokens[SLOTS * CODEBOOKS * STEPS];
    for (size_t i = 0; i < sizeof(tokens) / sizeof(*tokens); i++)
        tokens[i] = (uint32_t) (i * 7 % VOCABULARY);

    const struct span all = table_span(f, table, table_n, f16);
    struct embed_tokens e = {
        .rows = span_with(f, rows, sizeof(rows)),
        .slots = span_with(f, slots, sizeof(slots)),
        .tokens = span_with(f, tokens, sizeof(tokens)),
        .table = all,
        .positions = span_of_floats(f, positions, (size_t) STEPS * cols),
        .x = span_of_floats(f, NULL, x_offset + row_count * x_stride),
        .f16 = f16,
        .count = CODEBOOKS,
        .starts = true,
        .ends = true,
        .codebooks = CODEBOOKS,
        .vocabulary = VOCABULARY,
        .token_stride = STEPS,
        .row_count = row_count,
        .first_row = first_row,
        .cols = cols,
        .x_offset = x_offset,
        .x_stride = x_stride,
    };
    if (in_two) { // codebook 0, then the others from their own table
        struct span rest = table_span(f, table + (size_t) VOCABULARY * cols,
                                      table_n - (size_t) VOCABULARY * cols, f16);
        e.count = 1;
        e.ends = false;
        op_embed_tokens(f->stream, &e);
        e.table = rest;
        e.first = 1;
        e.count = CODEBOOKS - 1;
        e.starts = false;
        e.ends = true;
    }
    op_embed_tokens(f->stream, &e);
    assert_int_equal(stream_run(f->stream), ERR_OK);

    float *got = floats_of_span(f, e.x, x_offset + row_count * x_stride);
    double *want = malloc(cols * sizeof(*want));
    for (uint32_t r = 0; r < row_count; r++) {
        const struct decode_row row = rows[first_row + r];
        const uint32_t position =
            row.position == DECODE_AT_STEP ? slots[row.slot].position[0] : row.position;
        for (uint32_t c = 0; c < cols; c++) {
            want[c] = (double) positions[position * cols + c];
            for (uint32_t k = 0; k < CODEBOOKS; k++) {
                const uint32_t token = tokens[(row.slot * CODEBOOKS + k) * STEPS + position];
                want[c] += (double) table[(k * VOCABULARY + token) * cols + c];
            }
        }
        assert_close(got + x_offset + r * x_stride, want, cols, 1e-6, 1e-6);
    }
    free(table), free(positions), free(got), free(want);
}

static void sums_the_embeddings(void **state)
{
    static const uint32_t cols[] = { 2, 6, 126, 128, 130, 1024 };
    for (size_t i = 0; i < sizeof(cols) / sizeof(*cols); i++)
        for (int f16 = 0; f16 < 2; f16++)
            check(*state, cols[i], f16, false);
}

static void a_table_in_pieces_gives_the_same(void **state)
{
    check(*state, 34, false, true);
    check(*state, 34, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_the_embeddings),
        cmocka_unit_test(a_table_in_pieces_gives_the_same),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
