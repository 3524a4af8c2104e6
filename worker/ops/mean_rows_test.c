// Tests of op_mean_rows against the sum in double.
#include "worker/ops/mean_rows.h"

#include "worker/ops/ops_fixture.h"

static void check(struct ops_fixture *f, uint32_t batches, uint32_t rows, uint32_t cols)
{
    const size_t n = (size_t) batches * rows * cols;
    float *x = noise_array(f, n, 3);
    double *want = calloc((size_t) batches * cols, sizeof(*want));
    for (size_t i = 0; i < n; i++)
        want[i / cols / rows * cols + i % cols] += (double) x[i] / rows;
    const struct span y = span_of_floats(f, NULL, (size_t) batches * cols);
    op_mean_rows(f->stream, &(struct mean_rows){ .x = span_of_floats(f, x, n),
                                                 .y = y,
                                                 .batches = batches,
                                                 .rows = rows,
                                                 .cols = cols });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, (size_t) batches * cols);
    assert_close(got, want, (size_t) batches * cols, 1e-6, 1e-6);
    free(x), free(want), free(got);
}

static void matches_the_sum(void **state)
{
    check(*state, 1, 1, 1);
    check(*state, 1, 16, 64);
    check(*state, 3, 16, 65);
    check(*state, 2, 1, 1031);
    check(*state, 5, 37, 127);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(matches_the_sum) };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
