// Tests of op_attention against the formula in double.
#include "worker/ops/attention.h"

#include "worker/ops/ops_fixture.h"

// One head of one batch; rows `stride` apart.
static void reference_head(double *y, const float *q, const float *k, const float *v,
                           const struct attention *a, uint32_t q_stride, uint32_t k_stride)
{
    double *p = malloc(a->keys * sizeof(*p));
    for (uint32_t i = 0; i < a->queries; i++) {
        double most = -HUGE_VAL, total = 0;
        for (uint32_t j = 0; j < a->keys; j++) {
            p[j] = 0;
            for (uint32_t d = 0; d < a->dims; d++)
                p[j] += (double) q[(size_t) i * q_stride + d] *
                        (double) k[(size_t) j * k_stride + d];
            p[j] /= sqrt(a->dims);
            most = fmax(most, p[j]);
        }
        for (uint32_t j = 0; j < a->keys; j++)
            total += p[j] = exp(p[j] - most);
        double *row = y + (size_t) i * a->heads * a->dims;
        for (uint32_t d = 0; d < a->dims; d++) {
            row[d] = 0;
            for (uint32_t j = 0; j < a->keys; j++)
                row[d] += p[j] / total * (double) v[(size_t) j * k_stride + d];
        }
    }
    free(p);
}

// q [batches][queries][3 + heads * dims + 1], kv [batches][keys][k | v], as the
// model has them: inside wider rows. y with a stride of its own.
static void check(struct ops_fixture *f, struct attention a, float scale, bool views)
{
    const uint32_t width = a.heads * a.dims;
    const uint32_t q_stride = width + 4, kv_stride = 2 * width, y_stride = width + 1;
    const size_t q_count = (size_t) a.batches * a.queries * q_stride + 3;
    const size_t kv_count = (size_t) a.batches * a.keys * kv_stride;
    const size_t y_count = (size_t) a.batches * a.queries * y_stride + 5;
    float *q = noise_array(f, q_count, scale), *kv = noise_array(f, kv_count, scale);

    a.q = (struct attention_rows){ span_of_floats(f, q, q_count), 3, q_stride, 0 };
    a.k = (struct attention_rows){ span_of_floats(f, kv, kv_count), 0, kv_stride, 0 };
    a.v = (struct attention_rows){ a.k.span, width, kv_stride, 0 };
    a.y = (struct attention_rows){ span_of_floats(f, NULL, y_count), 5, y_stride, 0 };
    a.scratch = span_with(f, NULL, attention_scratch_bytes(f->device, &a));
    if (!views)
        a.scratch.view = NULL;
    op_attention(f->stream, &a);
    assert_int_equal(stream_run(f->stream), ERR_OK);

    float *got = floats_of_span(f, a.y.span, y_count);
    double *want = malloc((size_t) a.queries * width * sizeof(*want));
    for (uint32_t b = 0; b < a.batches; b++) {
        for (uint32_t h = 0; h < a.heads; h++)
            reference_head(want + h * a.dims,
                           q + 3 + (size_t) b * a.queries * q_stride + h * a.dims,
                           kv + (size_t) b * a.keys * kv_stride + h * a.dims,
                           kv + (size_t) b * a.keys * kv_stride + width + h * a.dims, &a,
                           q_stride, kv_stride);
        for (uint32_t i = 0; i < a.queries; i++)
            assert_close(got + 5 + ((size_t) b * a.queries + i) * y_stride,
                         want + (size_t) i * width, width, 3e-6 * pow((double) scale, 3), 1e-5);
    }
    for (size_t i = 0; i < 5; i++)
        assert_true(got[i] == 0); // nothing is written beside the rows
    for (size_t r = 0; r < (size_t) a.batches * a.queries; r++)
        assert_true(got[5 + r * y_stride + width] == 0 || 5 + r * y_stride + width >= y_count);
    free(q), free(kv), free(want), free(got);
}

static void matches_the_formula_at_awkward_sizes(void **state)
{
    static const uint32_t queries[] = { 1, 7, 8, 17 }, keys[] = { 1, 8, 31, 33, 130 };
    static const uint32_t dims[] = { 1, 6, 32, 64, 65, 127 };
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 5; j++)
            for (size_t d = 0; d < 5; d++)
                check(*state,
                      (struct attention){ .batches = 1 + (uint32_t) (i + j + d) % 3,
                                          .heads = 1 + (uint32_t) (i + d) % 2,
                                          .dims = dims[d],
                                          .queries = queries[i],
                                          .keys = keys[j] },
                      1, d % 2);
}

static void the_published_heads(void **state)
{
    check(
        *state,
        (struct attention){ .batches = 1, .heads = 2, .dims = 64, .queries = 577, .keys = 577 },
        1, true);
    check(
        *state,
        (struct attention){ .batches = 2, .heads = 3, .dims = 64, .queries = 16, .keys = 577 },
        1, false);
}

// Scores of hundreds: only the largest counts, and nothing overflows.
static void sharp_scores_do_not_overflow(void **state)
{
    check(*state,
          (struct attention){ .batches = 1, .heads = 2, .dims = 64, .queries = 9, .keys = 77 },
          16, true);
}

static void run_rows(struct ops_fixture *f, struct attention a, float *out)
{
    const size_t n = (size_t) a.batches * a.queries * a.heads * a.dims;
    a.y.span = span_of_floats(f, NULL, n);
    a.scratch = span_with(f, NULL, attention_scratch_bytes(f->device, &a));
    op_attention(f->stream, &a);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    assert_int_equal(span_download(f->device, a.y.span, 0, out, n * sizeof(float)), ERR_OK);
}

// A query's bits do not change with the queries or batches beside it.
static void a_rows_bits_are_its_own(void **state)
{
    struct ops_fixture *f = *state;
    enum { BATCHES = 3, QUERIES = 21, KEYS = 37, WIDTH = 2 * 64, ROW = 3 * WIDTH };
    float *qkv = noise_array(f, (size_t) BATCHES * KEYS * ROW, 2);
    const struct span x = span_of_floats(f, qkv, (size_t) BATCHES * KEYS * ROW);
    struct attention a = {
        .q = { x, 0, ROW, KEYS * ROW },
        .k = { x, WIDTH, ROW, 0 },
        .v = { x, 2 * WIDTH, ROW, 0 },
        .batches = BATCHES,
        .heads = 2,
        .dims = 64,
        .queries = QUERIES,
        .keys = KEYS,
    };
    static float all[BATCHES][QUERIES][WIDTH], one[WIDTH];
    run_rows(f, a, &all[0][0][0]);
    a.batches = a.queries = 1;
    for (uint32_t b = 0; b < BATCHES; b++)
        for (uint32_t i = 0; i < QUERIES; i += 5) {
            a.q.offset = (b * KEYS + i) * ROW;
            a.k.offset = b * KEYS * ROW + WIDTH;
            a.v.offset = b * KEYS * ROW + 2 * WIDTH;
            run_rows(f, a, one);
            assert_memory_equal(one, all[b][i], sizeof(one));
        }
    free(qkv);
}

static void too_little_scratch_is_refused(void **state)
{
    struct ops_fixture *f = *state;
    const struct span x = span_of_floats(f, NULL, 64);
    struct attention a = { .q = { .span = x },
                           .k = { .span = x },
                           .v = { .span = x },
                           .y = { .span = x },
                           .scratch = x,
                           .batches = 1,
                           .heads = 1,
                           .dims = 4,
                           .queries = 16,
                           .keys = 16 };
    a.scratch.bytes = 64;
    op_attention(f->stream, &a);
    assert_int_equal(stream_run(f->stream), ERR_BUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_formula_at_awkward_sizes),
        cmocka_unit_test(the_published_heads),
        cmocka_unit_test(sharp_scores_do_not_overflow),
        cmocka_unit_test(a_rows_bits_are_its_own),
        cmocka_unit_test(too_little_scratch_is_refused),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
