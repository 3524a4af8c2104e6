// Tests of op_nearest_code against a search in double.
#include "worker/ops/nearest_code.h"

#include "worker/ops/ops_fixture.h"

struct search {
    uint32_t rows, width, bins;
    bool views; // or storage buffers alone
    float *x, *embed;
    struct nearest *found;
    float *left;
};

static void run(struct ops_fixture *f, struct search *h)
{
    const size_t n = (size_t) h->rows * h->width;
    const uint32_t first_row = 2;
    struct codes codes;
    assert_int_equal(codes_load(&codes, f->device, f->arena, h->embed, h->bins, h->width),
                     ERR_OK);
    if (!h->views)
        codes.span.view = NULL;
    const struct span y = span_of_floats(f, NULL, n);
    const struct span best = span_with(f, NULL, (h->rows + first_row) * sizeof(*h->found));
    op_nearest_code(f->stream, &(struct nearest_code){
                                   .codes = &codes,
                                   .x = span_of_floats(f, h->x, n),
                                   .y = y,
                                   .best = best,
                                   .rows = h->rows,
                                   .first_row = first_row,
                               });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    h->found = malloc(h->rows * sizeof(*h->found));
    assert_int_equal(span_download(f->device, best, first_row * sizeof(*h->found), h->found,
                                   h->rows * sizeof(*h->found)),
                     ERR_OK);
    h->left = floats_of_span(f, y, n);
}

static void release(struct search *h)
{
    free(h->x), free(h->embed), free(h->found), free(h->left);
}

static double square_distance(const struct search *h, uint32_t row, uint32_t code)
{
    double sum = 0;
    for (uint32_t d = 0; d < h->width; d++) {
        const double apart = (double) h->x[(size_t) row * h->width + d] -
                             (double) h->embed[(size_t) code * h->width + d];
        sum += apart * apart;
    }
    return sum;
}

static void check_with(struct ops_fixture *f, uint32_t rows, uint32_t width, uint32_t bins,
                       bool views)
{
    struct search h = { .rows = rows,
                        .width = width,
                        .bins = bins,
                        .views = views,
                        .x = noise_array(f, (size_t) rows * width, 1),
                        .embed = noise_array(f, (size_t) bins * width, 1) };
    run(f, &h);
    for (uint32_t r = 0; r < rows; r++) {
        double least = HUGE_VAL;
        for (uint32_t c = 0; c < bins; c++)
            least = fmin(least, square_distance(&h, r, c));
        assert_in_range(h.found[r].code, 0, bins - 1);
        assert_true(square_distance(&h, r, h.found[r].code) <= least * (1 + 1e-5));
        assert_true(fabs((double) h.found[r].distance - least) <= 1e-5 * least);
        for (uint32_t d = 0; d < width; d++)
            assert_true(h.left[r * width + d] ==
                        h.x[r * width + d] - h.embed[h.found[r].code * width + d]);
    }
    release(&h);
}

static void check(struct ops_fixture *f, uint32_t rows, uint32_t width, uint32_t bins)
{
    check_with(f, rows, width, bins, true);
    check_with(f, rows, width, bins, false);
}

static void finds_the_nearest_at_awkward_sizes(void **state)
{
    check(*state, 1, 1, 2);
    check(*state, 11, 32, 64);
    check(*state, 3, 33, 31);
    check(*state, 5, 128, 2048);
    check(*state, 2, 7, 1031);
    check(*state, 3, 4, 1031);
}

static void searches_more_codes_than_one_dispatch_can(void **state)
{
    check(*state, 2, 4099, 523);
    check(*state, 2, 4100, 523);
    check(*state, 1, 2, 65535);
}

static void of_equals_the_first(void **state)
{
    struct ops_fixture *f = *state;
    struct search h = { .rows = 1,
                        .width = 5,
                        .bins = 300,
                        .x = noise_array(f, 5, 1),
                        .embed = noise_array(f, (size_t) 300 * 5, 1) };
    for (size_t c = 37; c < 300; c += 1 + c % 7) // in other lanes, and again in the same
        memcpy(h.embed + c * 5, h.x, 5 * sizeof(float));
    run(f, &h);
    assert_int_equal(h.found[0].code, 37);
    release(&h);
}

static void nothing_is_near_what_is_no_number(void **state)
{
    struct ops_fixture *f = *state;
    struct search h = { .rows = 1,
                        .width = 3,
                        .bins = 9,
                        .x = noise_array(f, 3, 1),
                        .embed = noise_array(f, 27, 1) };
    h.x[1] = NAN;
    run(f, &h);
    assert_true(h.found[0].code >= 9);
    release(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_the_nearest_at_awkward_sizes),
        cmocka_unit_test(searches_more_codes_than_one_dispatch_can),
        cmocka_unit_test(of_equals_the_first),
        cmocka_unit_test(nothing_is_near_what_is_no_number),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
