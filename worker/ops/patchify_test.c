// Tests of op_patchify against the definition.
#include "worker/ops/patchify.h"

#include "worker/engine/internal.h"
#include "worker/ops/ops_fixture.h"

static double normalised(uint8_t v, uint32_t colour)
{
    static const double mean[] = { 0.48145466, 0.4578275, 0.40821073 };
    static const double std[] = { 0.26862954, 0.26130258, 0.27577711 };
    return (v / 255.0 - mean[colour]) / std[colour];
}

// y as op_patchify makes it, from one of the two forms of x.
static void reference(double *y, const uint8_t *bytes, const float *floats, uint32_t frames,
                      uint32_t image, uint32_t patch, uint32_t stride)
{
    const uint32_t grid = image / patch;
    memset(y, 0, (size_t) frames * (1 + grid * grid) * stride * sizeof(*y));
    for (uint32_t f = 0; f < frames; f++)
        for (uint32_t c = 0; c < 3; c++)
            for (uint32_t i = 0; i < image; i++)
                for (uint32_t j = 0; j < image; j++) {
                    const size_t token = 1 + i / patch * grid + j / patch;
                    const size_t k = (c * patch + i % patch) * patch + j % patch;
                    y[(f * (1 + grid * grid) + token) * stride + k] =
                        bytes ? normalised(bytes[((f * image + i) * image + j) * 3 + c], c)
                              : (double) floats[((f * 3 + c) * image + i) * image + j];
                }
}

static void check(struct ops_fixture *f, uint32_t frames, uint32_t grid, uint32_t patch,
                  uint32_t extra, bool is_float)
{
    const uint32_t image = grid * patch, stride = 3 * patch * patch + extra;
    const size_t pixels = (size_t) frames * image * image * 3;
    const size_t count = (size_t) frames * (1 + grid * grid) * stride;
    float *floats = noise_array(f, pixels, 2);
    uint8_t *bytes = calloc(pixels + 3, 1);
    for (size_t i = 0; i < pixels; i++)
        bytes[i] = (uint8_t) (127.5f + 63.9f * floats[i]);
    double *want = malloc(count * sizeof(*want));
    reference(want, is_float ? NULL : bytes, floats, frames, image, patch, stride);

    float *dirt = noise_array(f, count, 9);
    const struct span y = span_of_floats(f, dirt, count);
    op_patchify(f->stream,
                &(struct patchify){
                    .frames_in = is_float ? span_of_floats(f, floats, pixels)
                                          : span_with(f, bytes, (pixels + 3) / 4 * 4),
                    .normalised = is_float,
                    .y = y,
                    .frames = frames,
                    .image = image,
                    .patch = patch,
                    .y_stride = stride,
                });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *got = floats_of_span(f, y, count);
    assert_close(got, want, count, is_float ? 0 : 1e-6, 0);
    free(floats), free(bytes), free(want), free(dirt), free(got);
}

static void matches_the_definition(void **state)
{
    for (int is_float = 0; is_float < 2; is_float++) {
        check(*state, 1, 1, 1, 0, is_float);
        check(*state, 3, 2, 3, 5, is_float);
        check(*state, 2, 4, 14, 4, is_float);
        check(*state, 1, 24, 14, 4, is_float);
        check(*state, 13, 7, 5, 1, is_float);
    }
}

// As many workgroups as a device may allow: their invocations just fit 32 bits.
static void a_device_with_wide_grids_changes_nothing(void **state)
{
    struct ops_fixture *f = *state;
    const uint32_t most = f->device->facts.max_groups[0];
    f->device->facts.max_groups[0] = UINT32_MAX / 64;
    check(f, 3, 2, 3, 5, false);
    f->device->facts.max_groups[0] = most;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_definition),
        cmocka_unit_test(a_device_with_wide_grids_changes_nothing),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
