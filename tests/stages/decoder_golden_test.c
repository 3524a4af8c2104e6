// The decoder and the sampler against the golden data.
#include "tests/stages/golden.h"
#include "worker/model/decoder.h"

#define GUIDANCE 3.0f

static struct decoder *opened(struct golden *g, struct model_import *model, uint32_t slots)
{
    struct decoder *d;
    assert_int_equal(
        decoder_open(
            &d, g->device, model_import_tensors(model),
            &(struct decoder_params){ .slots = slots, .max_columns = 70, .max_frames = 8 }),
        ERR_OK);
    return d;
}

static int32_t *golden_tokens(const struct golden *g, const char *name, uint32_t *columns)
{
    const struct tensor_view t = golden_tensor(g, name);
    const uint64_t n = tensor_elements(&t);
    int32_t *tokens = malloc(n * sizeof(*tokens));
    for (uint64_t i = 0; i < n; i++)
        tokens[i] = (int32_t) tensor_at(&t, i);
    *columns = (uint32_t) t.shape[1];
    return tokens;
}

// A greedy sequence over the golden condition.
static struct sequence greedy(const struct golden *g, const float *condition, uint32_t columns)
{
    return (struct sequence){
        .condition = condition,
        .frames = (uint32_t) golden_tensor(g, "vis.condition").shape[0],
        .columns = columns,
        .guidance = GUIDANCE,
    };
}

static void generate(struct decoder *d, const struct sequence *s, int32_t *out)
{
    uint32_t slot;
    assert_int_equal(decoder_join(d, s, &slot), ERR_OK);
    while (!decoder_progress(d, slot).finished)
        assert_int_equal(decoder_advance(d, 7), ERR_OK);
    assert_int_equal(decoder_progress(d, slot).columns, s->columns);
    assert_int_equal(decoder_tokens(d, slot, s->columns, out), ERR_OK);
    decoder_leave(d, slot);
}

static void trace(struct golden *g, struct model_import *model, bool loose)
{
    uint32_t columns;
    struct decoder *d = opened(g, model, 1);
    int32_t *codes = golden_tokens(g, "lm.codes", &columns);
    float *condition = golden_floats(g, "vis.condition");
    g->loose = loose;
    g->compared = 0;
    assert_int_equal(decoder_trace(d, codes, columns, condition,
                                   (uint32_t) golden_tensor(g, "vis.condition").shape[0],
                                   &g->probe),
                     ERR_OK);
    assert_int_equal(g->compared, 4 + model_import_tensors(model)->config->lm.layers);
    decoder_close(&d);
    free(codes), free(condition);
}

static void every_tensor_is_the_references(void **state)
{
    struct golden *g = *state;
    trace(g, g->model, false);
}

static void every_tensor_is_near_with_half_weights(void **state)
{
    struct golden *g = *state;
    trace(g, g->model_f16, true);
}

static void check_tokens(struct golden *g, const char *name, float guidance, const char *prompt)
{
    uint32_t columns, prompt_columns = 0;
    struct decoder *d = opened(g, g->model, 2);
    int32_t *want = golden_tokens(g, name, &columns);
    int32_t *given = prompt ? golden_tokens(g, prompt, &prompt_columns) : NULL;
    float *condition = golden_floats(g, "vis.condition");
    struct sequence s = greedy(g, condition, columns);
    s.guidance = guidance;
    s.prompt = given;
    s.prompt_columns = prompt_columns;
    const struct tensor_view whole = golden_tensor(g, name);
    const uint64_t count = tensor_elements(&whole);
    int32_t *got = calloc(count, sizeof(*got));
    generate(d, &s, got);
    for (uint64_t i = 0; i < count; i++)
        if (got[i] != want[i])
            fail_msg("%s: codebook %u, column %u: got %d, want %d", name,
                     (unsigned) (i / columns), (unsigned) (i % columns), got[i], want[i]);
    decoder_close(&d);
    free(want), free(given), free(condition), free(got);
}

static void greedy_tokens_are_the_references(void **state)
{
    check_tokens(*state, "gen.greedy_tokens", GUIDANCE, NULL);
}

static void unguided_tokens_are_the_references(void **state)
{
    check_tokens(*state, "gen.greedy_tokens_cfg1", 1, NULL);
}

static void a_continuation_is_the_references(void **state)
{
    check_tokens(*state, "gen.continuation_tokens", GUIDANCE, "gen.prompt");
}

static void the_whole_pipelines_tokens(void **state)
{
    check_tokens(*state, "e2e.tokens", GUIDANCE, NULL);
}

// Longer than the model's window: each chunk is prompted with its predecessor's
// tail, the tokens `stride` columns on.
static void an_extended_piece_is_the_references(void **state)
{
    struct golden *g = *state;
    const json_t *sizes = json_object_get(g->manifest, "sizes"),
                 *e = json_object_get(sizes, "extended");
    const double rate = json_number_value(json_object_get(sizes, "frame_rate"));
    const double seconds = json_number_value(json_object_get(e, "duration_s"));
    const double most_s = json_number_value(json_object_get(e, "max_duration_s"));
    const uint32_t stride =
        (uint32_t) (rate * json_number_value(json_object_get(e, "extend_stride_s")));
    uint32_t total;
    int32_t *want = golden_tokens(g, "gen.extended_tokens", &total);
    assert_int_equal(total, (uint32_t) (seconds * rate));
    float *condition = golden_floats(g, "vis.condition");
    struct decoder *d = opened(g, g->model, 1);
    int32_t chunk[4 * 70], prompt[4 * 70];
    uint32_t known = 0;
    for (uint32_t offset = 0; offset + known < total; offset += stride) {
        const double left = seconds - offset / rate;
        struct sequence s =
            greedy(g, condition, (uint32_t) ((left < most_s ? left : most_s) * rate));
        s.prompt = prompt;
        s.prompt_columns = known;
        generate(d, &s, chunk);
        for (uint32_t k = 0; k < 4; k++) {
            assert_memory_equal(chunk + k * s.columns, want + k * total + offset,
                                s.columns * sizeof(*want));
            memcpy(prompt + k * (s.columns - stride), chunk + k * s.columns + stride,
                   (s.columns - stride) * sizeof(*prompt));
        }
        known = s.columns - stride;
    }
    decoder_close(&d);
    free(want), free(condition);
}

static void the_first_guided_logits(void **state)
{
    struct golden *g = *state;
    const struct tensor_view t = golden_tensor(g, "gen.greedy_first_cfg_logits");
    const uint64_t steps = t.shape[0], one = t.shape[1] * t.shape[2];
    float *condition = golden_floats(g, "vis.condition"),
          *got = calloc(steps, one * sizeof(*got));
    struct model_import *const models[] = { g->model, g->model_f16 };
    for (int i = 0; i < 2; i++) {
        struct decoder *d = opened(g, models[i], 1);
        const struct sequence s = greedy(g, condition, 40);
        uint32_t slot;
        assert_int_equal(decoder_join(d, &s, &slot), ERR_OK);
        assert_int_equal(decoder_logits(d, slot, got), ERR_USAGE);
        for (uint64_t step = 0; step < steps; step++) {
            assert_int_equal(decoder_advance(d, 1), ERR_OK);
            assert_int_equal(decoder_logits(d, slot, got + step * one), ERR_OK);
        }
        g->loose = i == 1;
        golden_compare(g, "gen.greedy_first_cfg_logits", got, t.rank, t.shape);
        decoder_close(&d);
    }
    free(condition), free(got);
}

static void permuted_frames_give_the_same_music(void **state)
{
    struct golden *g = *state;
    const struct tensor_view t = golden_tensor(g, "vis.condition");
    const uint64_t frames = t.shape[0], dim = t.shape[1];
    uint32_t columns;
    int32_t *want = golden_tokens(g, "gen.greedy_tokens", &columns);
    float *condition = golden_floats(g, "vis.condition"),
          *turned = malloc(frames * dim * sizeof(float));
    for (uint64_t i = 0; i < frames; i++)
        memcpy(turned + i * dim, condition + (3 * i + 1) % frames * dim, dim * sizeof(float));
    struct decoder *d = opened(g, g->model, 1);
    const struct sequence s = greedy(g, turned, columns);
    int32_t *got = calloc(4 * columns, sizeof(*got));
    generate(d, &s, got);
    assert_memory_equal(got, want, 4 * columns * sizeof(*got));
    decoder_close(&d);
    free(want), free(condition), free(turned), free(got);
}

static void distributions_are_the_references(void **state)
{
    struct golden *g = *state;
    const struct tensor_view t = golden_tensor(g, "sample.logits");
    const uint32_t rows = (uint32_t) t.shape[0], card = (uint32_t) t.shape[1];
    float *logits = golden_floats(g, "sample.logits"), *got = calloc(rows * card, sizeof(*got));
    unsigned seen = 0;
    g->loose = false;
    for (size_t i = 0; i < safetensors_count(g->tensors); i++) {
        const char *name = safetensors_name(g->tensors, i);
        struct sampling s = { 0 };
        if (sscanf(name, "sample.topk%u_temp%f", &s.top_k, &s.temperature) != 2 &&
            sscanf(name, "sample.topp%f_temp%f", &s.top_p, &s.temperature) != 2)
            continue;
        assert_int_equal(sampler_distribution(g->device, logits, rows, card, &s, got), ERR_OK);
        golden_compare(g, name, got, 2, t.shape);
        for (uint32_t j = 0; j < rows * card; j++) {
            const struct tensor_view want = golden_tensor(g, name);
            assert_true((got[j] > 0) == (tensor_at(&want, j) > 0));
        }
        seen++;
    }
    assert_int_equal(seen, 5);
    free(logits), free(got);
}

static void an_impossible_token_has_no_share(void **state)
{
    struct golden *g = *state;
    static const float logits[5] = { -INFINITY, 1, -INFINITY, 0, 1 };
    static const struct sampling ways[] = { { 1, 0, 0 }, { 1, 4, 0 }, { 1, 0, 0.999f } };
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        float got[5];
        assert_int_equal(sampler_distribution(g->device, logits, 1, 5, &ways[i], got), ERR_OK);
        assert_true(got[0] == 0 && got[2] == 0);
        assert_true(fabsf(got[1] - got[4]) < 1e-6f &&
                    fabsf(got[1] + got[3] + got[4] - 1) < 1e-6f);
        assert_true(fabsf(got[3] / got[1] - expf(-1)) < 1e-6f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_the_references),
        cmocka_unit_test(every_tensor_is_near_with_half_weights),
        cmocka_unit_test(greedy_tokens_are_the_references),
        cmocka_unit_test(unguided_tokens_are_the_references),
        cmocka_unit_test(a_continuation_is_the_references),
        cmocka_unit_test(the_whole_pipelines_tokens),
        cmocka_unit_test(an_extended_piece_is_the_references),
        cmocka_unit_test(the_first_guided_logits),
        cmocka_unit_test(permuted_frames_give_the_same_music),
        cmocka_unit_test(distributions_are_the_references),
        cmocka_unit_test(an_impossible_token_has_no_share),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
