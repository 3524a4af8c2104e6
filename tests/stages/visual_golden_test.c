// The visual encoder against the golden data, and its promises about batches.
#include "tests/stages/golden.h"
#include "worker/model/visual.h"

static struct visual *opened(struct golden *g, struct model_import *model, uint32_t batch,
                             bool probed)
{
    struct visual *v;
    assert_int_equal(visual_open(&v, g->device, model_import_tensors(model),
                                 &(struct visual_params){ .batch = batch,
                                                          .probe = probed ? &g->probe : NULL }),
                     ERR_OK);
    return v;
}

static uint32_t frame_count(const struct golden *g)
{
    return (uint32_t) golden_tensor(g, "vis.frames").shape[0];
}

static size_t golden_visual_tensors(const struct golden *g)
{
    size_t n = 0;
    for (size_t i = 0; i < safetensors_count(g->tensors); i++)
        n += !strncmp(safetensors_name(g->tensors, i), "vis.", 4);
    return n - 2; // frames and frames_u8 go in
}

static void compare_all(struct golden *g, struct model_import *model, bool loose)
{
    const uint32_t frames = frame_count(g), dim = model_import_tensors(model)->config->lm.dim;
    struct visual *v = opened(g, model, frames, true);
    assert_int_equal(visual_batch(v), frames);
    float *x = golden_floats(g, "vis.frames");
    float *condition = malloc((size_t) frames * dim * sizeof(*condition));
    g->loose = loose;
    g->compared = 0;
    assert_int_equal(visual_run_normalised(v, x, frames, condition), ERR_OK);
    assert_int_equal(g->compared, golden_visual_tensors(g));
    golden_compare(g, "vis.condition", condition, 2, (const uint64_t[]){ frames, dim });
    visual_close(&v);
    free(x), free(condition);
}

static void every_tensor_is_the_references(void **state)
{
    struct golden *g = *state;
    compare_all(g, g->model, false);
}

static void every_tensor_is_near_with_half_weights(void **state)
{
    struct golden *g = *state;
    compare_all(g, g->model_f16, true);
}

// [frames][3][pixels] -> [frames][pixels][3], as preprocessing leaves them.
static uint8_t *interleaved(const struct golden *g)
{
    const struct tensor_view t = golden_tensor(g, "vis.frames_u8");
    const size_t pixels = t.shape[2] * t.shape[3];
    const uint8_t *from = t.data;
    uint8_t *to = malloc(t.bytes);
    assert_non_null(to);
    for (size_t f = 0; f < t.shape[0]; f++)
        for (size_t i = 0; i < pixels; i++)
            for (size_t c = 0; c < 3; c++)
                to[(f * pixels + i) * 3 + c] = from[(f * 3 + c) * pixels + i];
    return to;
}

static float *conditions(struct golden *g, const uint8_t *frames, uint32_t count,
                         uint32_t batch)
{
    const struct model_config *c = model_import_tensors(g->model)->config;
    struct visual *v = opened(g, g->model, batch, false);
    float *out = malloc((size_t) count * c->lm.dim * sizeof(*out));
    assert_non_null(out);
    assert_int_equal(visual_run(v, frames, count, out), ERR_OK);
    visual_close(&v);
    return out;
}

static void bytes_give_the_references_condition(void **state)
{
    struct golden *g = *state;
    const uint32_t frames = frame_count(g),
                   dim = model_import_tensors(g->model)->config->lm.dim;
    uint8_t *bytes = interleaved(g);
    float *got = conditions(g, bytes, frames, 0);
    g->loose = false;
    golden_compare(g, "vis.condition", got, 2, (const uint64_t[]){ frames, dim });
    free(bytes), free(got);
}

static void batches_do_not_change_a_bit(void **state)
{
    struct golden *g = *state;
    const uint32_t frames = frame_count(g);
    const size_t bytes =
        (size_t) frames * model_import_tensors(g->model)->config->lm.dim * sizeof(float);
    uint8_t *rgb = interleaved(g);
    float *one = conditions(g, rgb, frames, 1);
    for (uint32_t batch = 2; batch <= frames + 1; batch++) {
        float *many = conditions(g, rgb, frames, batch);
        assert_memory_equal(one, many, bytes);
        free(many);
    }
    free(rgb), free(one);
}

static void permuted_frames_permute_the_rows(void **state)
{
    struct golden *g = *state;
    const struct tensor_view t = golden_tensor(g, "vis.frames_u8");
    const uint32_t frames = frame_count(g);
    const size_t frame = t.bytes / frames, dim = model_import_tensors(g->model)->config->lm.dim;
    uint8_t *rgb = interleaved(g), *turned = malloc(t.bytes);
    for (uint32_t i = 0; i < frames; i++)
        memcpy(turned + i * frame, rgb + (3 * i + 1) % frames * frame, frame);
    float *a = conditions(g, rgb, frames, frames), *b = conditions(g, turned, frames, frames);
    for (uint32_t i = 0; i < frames; i++)
        assert_memory_equal(b + i * dim, a + (3 * i + 1) % frames * dim, dim * sizeof(float));
    free(rgb), free(turned), free(a), free(b);
}

static void frames_that_are_no_numbers_are_told(void **state)
{
    struct golden *g = *state;
    struct model_import *const models[] = { g->model, g->model_f16 };
    const uint32_t frames = frame_count(g),
                   dim = model_import_tensors(g->model)->config->lm.dim;
    float *x = golden_floats(g, "vis.frames");
    float *condition = malloc((size_t) frames * dim * sizeof(*condition));
    assert_non_null(condition);
    float *last = x + golden_tensor(g, "vis.frames").bytes / sizeof(*x) - 1;
    const float number = *last;
    for (int f16 = 0; f16 < 2; f16++) {
        struct visual *v = opened(g, models[f16], 0, false);
        *last = NAN;
        assert_int_equal(visual_run_normalised(v, x, frames, condition), ERR_DEVICE);
        *last = number;
        assert_int_equal(visual_run_normalised(v, x, frames, condition), ERR_OK);
        visual_close(&v);
    }
    free(x), free(condition);
}

static void memory_is_what_was_announced(void **state)
{
    struct golden *g = *state;
    const uint64_t before = device_memory_used(g->device);
    struct visual *v = opened(g, g->model, 0, false);
    const uint64_t taken = device_memory_used(g->device) - before;
    const struct model_config *c = model_import_tensors(g->model)->config;
    assert_true(taken > 0 && taken <= visual_bytes(c, false, 0));
    visual_close(&v);
    assert_true(device_memory_used(g->device) == before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_the_references),
        cmocka_unit_test(every_tensor_is_near_with_half_weights),
        cmocka_unit_test(bytes_give_the_references_condition),
        cmocka_unit_test(batches_do_not_change_a_bit),
        cmocka_unit_test(permuted_frames_permute_the_rows),
        cmocka_unit_test(frames_that_are_no_numbers_are_told),
        cmocka_unit_test(memory_is_what_was_announced),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
