// Tests of op_pad_rows against the definition.
#include "worker/ops/pad_rows.h"

#include "worker/ops/ops_fixture.h"

// The signal's row i as padding sees it, or -1: zeros.
static int32_t shown(int32_t i, int32_t length, int32_t zeros, bool reflect)
{
    if (reflect) {
        if (i < 0)
            i = -i;
        if (i > length + zeros - 1)
            i = 2 * (length + zeros - 1) - i;
    }
    return i >= 0 && i < length ? i : -1;
}

struct shape {
    uint32_t channels;
    int32_t length, first, rows, x_first, zeros;
};

static void check(struct ops_fixture *f, const struct shape *h, bool reflect,
                  uint32_t activation, bool views)
{
    const uint32_t c = h->channels, before = 4 * 3; // elements of x before its first row
    const size_t held = (size_t) (h->length - h->x_first) * c, n = (size_t) h->rows * c;
    float *x = noise_array(f, before + held, 2);
    double *want = calloc(n, sizeof(*want));
    for (size_t i = 0; i < n; i++) {
        const int32_t row = shown(h->first + (int32_t) (i / c), h->length, h->zeros, reflect);
        assert_true(row < 0 || row >= h->x_first);
        if (row < 0)
            continue;
        const double v = (double) x[before + (size_t) (row - h->x_first) * c + i % c];
        want[i] = activation == ACTIVATION_ELU && v < 0 ? expm1(v) : v;
    }
    struct span from = span_of_floats(f, x, before + held), y = span_of_floats(f, NULL, n);
    if (!views)
        from.view = NULL;
    op_pad_rows(f->stream, &(struct pad_rows){
                               .x = from,
                               .y = y,
                               .channels = c,
                               .rows = (uint32_t) h->rows,
                               .first = h->first,
                               .length = h->length,
                               .x_first = h->x_first,
                               .x_offset = before,
                               .reflect = reflect,
                               .zeros = h->zeros,
                               .activation = activation,
                           });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, n);
    assert_close(got, want, n, 2e-7, activation == ACTIVATION_NONE ? 0 : 1e-6);
    free(x), free(want), free(got);
}

static void shows_the_padded_signal(void **state)
{
    static const struct shape shapes[] = {
        { 1, 1, -3, 7, 0, 3 },         { 1, 323, -4, 332, 0, 0 },   { 3, 7, -3, 13, 0, 0 },
        { 4, 2, -6, 14, 0, 5 },        { 8, 100, -1, 102, 0, 0 },   { 12, 5, 0, 5, 0, 0 },
        { 20, 1000, 500, 17, 490, 0 }, { 64, 129, 100, 40, 60, 0 }, { 260, 33, -2, 40, 0, 0 },
        { 1028, 3, -2, 7, 0, 0 },
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
        for (uint32_t way = 0; way < 8; way++)
            check(*state, &shapes[i], way & 1, way & 2 ? ACTIVATION_ELU : ACTIVATION_NONE,
                  way & 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_the_padded_signal),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
