// Tests of op_codebook_sum against sums in the same order.
#include "worker/ops/codebook_sum.h"

#include "worker/ops/ops_fixture.h"

static void check(struct ops_fixture *f, uint32_t rows, uint32_t width, uint32_t codebooks,
                  uint32_t bins)
{
    const uint32_t offset = 3, stride = rows + 5;
    const size_t n = (size_t) rows * width, entries = (size_t) codebooks * bins * width;
    float *embed = noise_array(f, entries, 1);
    int32_t *tokens = calloc((size_t) codebooks * stride + offset, sizeof(*tokens));
    double *want = calloc(n, sizeof(*want));
    for (uint32_t k = 0; k < codebooks; k++)
        for (uint32_t t = 0; t < rows; t++) {
            const uint32_t token =
                t == 0 ? bins - 1 : (uint32_t) ((noise(f) + 1) * 0.5f * (float) bins);
            tokens[offset + k * stride + t] = (int32_t) token;
            for (uint32_t d = 0; d < width; d++)
                want[t * width + d] += (double) embed[((size_t) k * bins + token) * width + d];
        }
    const struct span y = span_of_floats(f, NULL, n);
    op_codebook_sum(
        f->stream, &(struct codebook_sum){
                       .tokens = span_with(
                           f, tokens, ((size_t) codebooks * stride + offset) * sizeof(*tokens)),
                       .embed = span_of_floats(f, embed, entries),
                       .y = y,
                       .rows = rows,
                       .width = width,
                       .codebooks = codebooks,
                       .bins = bins,
                       .tokens_offset = offset,
                       .tokens_stride = stride,
                   });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, n);
    assert_close(got, want, n, 1e-6, 0);
    free(embed), free(tokens), free(want), free(got);
}

static void sums_the_entries_that_tokens_name(void **state)
{
    check(*state, 1, 1, 1, 2);
    check(*state, 12, 32, 4, 64);
    check(*state, 7, 33, 3, 31);
    check(*state, 65, 128, 4, 2048);
    check(*state, 2, 257, 16, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_the_entries_that_tokens_name),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
