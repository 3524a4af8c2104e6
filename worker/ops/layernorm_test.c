// Tests of op_layernorm against the formula in double.
#include "worker/ops/layernorm.h"

#include "worker/ops/ops_fixture.h"

static void reference(double *y, const float *x, const float *gain, const float *bias,
                      const float *residual, uint32_t rows, uint32_t cols, double epsilon)
{
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = x + (size_t) r * cols;
        double mean = 0, var = 0;
        for (uint32_t c = 0; c < cols; c++)
            mean += (double) row[c] / cols;
        for (uint32_t c = 0; c < cols; c++)
            var += ((double) row[c] - mean) * ((double) row[c] - mean) / cols;
        for (uint32_t c = 0; c < cols; c++) {
            const size_t i = (size_t) r * cols + c;
            y[i] = ((double) row[c] - mean) / sqrt(var + epsilon) * (double) gain[c] +
                   (double) bias[c] + (residual ? (double) residual[i] : 0);
        }
    }
}

// `views`: with texel views, which the fast form on a CPU wants.
static void check_one(struct ops_fixture *f, uint32_t rows, uint32_t cols, float offset,
                      bool residual, bool views)
{
    const size_t n = (size_t) rows * cols;
    float *x = noise_array(f, n, 1), *gain = noise_array(f, cols, 1),
          *bias = noise_array(f, cols, 1);
    float *extra = noise_array(f, n, 1);
    for (size_t i = 0; i < n; i++)
        x[i] += offset; // a large mean must not cost digits
    double *want = malloc(n * sizeof(*want));
    reference(want, x, gain, bias, residual ? extra : NULL, rows, cols, 1e-5);

    struct span from = span_of_floats(f, x, n);
    if (!views)
        from.view = NULL;
    const struct span y = span_of_floats(f, NULL, n);
    op_layernorm(f->stream,
                 &(struct layernorm){
                     .x = from,
                     .y = y,
                     .gain = span_of_floats(f, gain, cols),
                     .bias = span_of_floats(f, bias, cols),
                     .residual = residual ? span_of_floats(f, extra, n) : (struct span){ 0 },
                     .rows = rows,
                     .cols = cols,
                     .epsilon = 1e-5f,
                 });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, n);
    assert_close(got, want, n, cols == 1 ? 1e-3 : 2e-5, 1e-5);
    free(x), free(gain), free(bias), free(extra), free(want), free(got);
}

static void check(struct ops_fixture *f, uint32_t rows, uint32_t cols, float offset,
                  bool residual)
{
    check_one(f, rows, cols, offset, residual, true);
    check_one(f, rows, cols, offset, residual, false);
}

static void matches_the_formula_at_awkward_sizes(void **state)
{
    static const uint32_t sizes[] = { 1, 2, 4, 7, 8, 9, 20, 31, 36, 64, 65, 127, 1024, 1031 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (uint32_t rows = 1; rows <= 5; rows += 2) {
            check(*state, rows, sizes[i], 0, false);
            check(*state, rows, sizes[i], 0, true);
        }
}

static void a_large_mean_costs_no_digits(void **state)
{
    check(*state, 3, 1024, 4, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_formula_at_awkward_sizes),
        cmocka_unit_test(a_large_mean_costs_no_digits),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
