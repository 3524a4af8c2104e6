// Tests of what a model consists of: sizes, the list of tensors, random ones.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "worker/model/random_source.h"

struct tally {
    uint64_t elements[PART_COUNT];
    size_t tensors;
};

static enum err count(void *context, const struct tensor_spec *spec)
{
    struct tally *t = context;
    uint64_t n = 1;
    for (uint32_t i = 0; i < spec->rank; i++)
        n *= spec->shape[i];
    assert_true(spec->rank >= 1);
    t->elements[spec->part] += n;
    t->tensors++;
    return ERR_OK;
}

static struct tally tally_of(const char *preset)
{
    struct model_config c;
    struct tally t = { 0 };
    assert_int_equal(model_config_preset(&c, preset), ERR_OK);
    assert_int_equal(model_config_check(&c), ERR_OK);
    assert_int_equal(model_tensors_each(&c, count, &t), ERR_OK);
    return t;
}

static void assert_millions(uint64_t n, double expected)
{
    assert_true(fabs((double) n / 1e6 - expected) < 0.05);
}

// golden/README.md, section 8.
static void presets_have_the_published_parameter_counts(void **state)
{
    (void) state;
    const struct tally s = tally_of("small"), l = tally_of("large");
    const double adapter_small = 769.0 * 1024 / 1e6; // output_proj counts with the visual part
    assert_millions(s.elements[PART_VISUAL], 376.8 + adapter_small);
    assert_millions(s.elements[PART_DECODER], 419.6);
    assert_millions(l.elements[PART_DECODER], 1837.6);
    assert_millions(s.elements[PART_CODEC_ENCODER], 28.4);
    assert_millions(s.elements[PART_CODEC_DECODER] - 4ull * 2048 * 128,
                    28.4); // codebooks apart
}

static void bad_sizes_are_refused(void **state)
{
    (void) state;
    struct model_config good, c;
    assert_int_equal(model_config_preset(&good, "huge"), ERR_USAGE);
    assert_int_equal(model_config_preset(&good, "tiny"), ERR_OK);
    assert_int_equal(codec_hop(&good.codec), 640);
    assert_int_equal(codec_columns(&good.codec, 0.29), 14);
    assert_int_equal(codec_columns(&good.codec, 1.13), 56);
#define REFUSED(field, value) \
    c = good;                 \
    c.field = value;          \
    assert_int_equal(model_config_check(&c), ERR_INPUT)
    REFUSED(vit.width, 0);
    REFUSED(vit.width, 192);
    REFUSED(vit.width, 129); // no two heads share it
    REFUSED(vit.patch, 13);
    REFUSED(qformer.layers, MODEL_MAX_QFORMER_LAYERS + 1);
    REFUSED(qformer.epsilon, NAN);
    REFUSED(lm.dim, 129);
    REFUSED(lm.heads, 0);
    REFUSED(lm.codebooks, 17);
    REFUSED(lm.delays[2], 0);
    REFUSED(lm.guidance, INFINITY);
    REFUSED(lm.max_duration_s, (double) NAN);
    REFUSED(codec.ratio_count, MODEL_MAX_RATIOS + 1);
    REFUSED(codec.ratios[1], 0);
    REFUSED(codec.ratios[3], 4000000000u);
    REFUSED(codec.compress, 9); // of 8 filters
    REFUSED(codec.lstm_layers, 0);
    REFUSED(codec.bins, 128);
    REFUSED(lm.card, MODEL_MAX_CARD + 1);
    REFUSED(frames_per_s, 0);
#undef REFUSED
}

static void every_dtype_reads_as_float(void **state)
{
    (void) state;
    uint8_t raw[9] = { 0 }; // the data may lie anywhere
    const struct {
        enum dtype dtype;
        uint64_t bits;
        float value;
    } cases[] = {
        { DTYPE_F32, 0xc0490fdb, -3.14159274f },
        { DTYPE_F16, 0xc248, -3.140625f },
        { DTYPE_BF16, 0xc049, -3.140625f },
        { DTYPE_F64, 0xc009000000000000, -3.125f },
        { DTYPE_I64, UINT64_MAX, -1 },
        { DTYPE_I32, 0xfffffffe, -2 },
        { DTYPE_I16, 0xfffd, -3 },
        { DTYPE_I8, 0xfc, -4 },
        { DTYPE_U64, 1ull << 40, 0x1p40f },
        { DTYPE_U32, 0x80000000, 0x1p31f },
        { DTYPE_U16, 65535, 65535 },
        { DTYPE_U8, 255, 255 },
        { DTYPE_BOOL, 1, 1 },
    };
    assert_int_equal(sizeof(cases) / sizeof(*cases), DTYPE_COUNT);
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        memcpy(raw + 1, &cases[i].bits, 8);
        const struct tensor_view t = { cases[i].dtype,
                                       1,
                                       { 1 },
                                       raw + 1,
                                       dtype_bytes(cases[i].dtype) };
        float f32;
        uint16_t f16;
        tensor_to_f32(&t, 0, 1, &f32);
        tensor_to_f16(&t, 0, 1, &f16);
        assert_true(tensor_at(&t, 0) == cases[i].value && f32 == cases[i].value);
        assert_int_equal(f16, half_from_float(cases[i].value));
    }
}

static enum err find_in(struct tensor_source *s, const char *name, struct tensor_view *out)
{
    return s->find(s, name, out);
}

static void random_tensors_depend_on_seed_and_name_only(void **state)
{
    (void) state;
    struct model_config c;
    assert_int_equal(model_config_preset(&c, "tiny"), ERR_OK);
    struct random_source *a, *b, *other;
    assert_int_equal(random_source_create(&a, &c, 7, DTYPE_F32), ERR_OK);
    assert_int_equal(random_source_create(&b, &c, 7, DTYPE_F16), ERR_OK);
    assert_int_equal(random_source_create(&other, &c, 8, DTYPE_F32), ERR_OK);
    struct tensor_view t, h, o, unused;
    const char *name = "transformer.layers.1.linear1.weight";
    const uint64_t shape[] = { c.lm.hidden, c.lm.dim };
    assert_int_equal(find_in(random_source_tensors(b), "emb.0.weight", &unused), ERR_OK);
    assert_int_equal(tensor_require(random_source_tensors(a), &t, name, 2, shape), ERR_OK);
    assert_int_equal(tensor_require(random_source_tensors(b), &h, name, 2, shape), ERR_OK);
    assert_int_equal(tensor_require(random_source_tensors(other), &o, name, 2, shape), ERR_OK);
    assert_int_equal(t.dtype, DTYPE_F32);
    assert_int_equal(h.dtype, DTYPE_F16);

    double sum = 0, squares = 0;
    const uint64_t n = tensor_elements(&t);
    for (uint64_t i = 0; i < n; i++) {
        const float v = tensor_at(&t, i);
        assert_true(tensor_at(&h, i) == half_to_float(half_from_float(v)));
        sum += (double) v;
        squares += (double) v * (double) v;
    }
    assert_memory_not_equal(t.data, o.data, t.bytes);
    const double deviation = 1 / sqrt(c.lm.dim);
    assert_true(fabs(sum / (double) n) < 4 * deviation / sqrt((double) n));
    assert_true(fabs(sqrt(squares / (double) n) / deviation - 1) < 0.02);

    assert_int_equal(find_in(random_source_tensors(b), "out_norm.weight", &h), ERR_OK);
    assert_int_equal(h.dtype, DTYPE_F32);
    assert_int_equal(find_in(random_source_tensors(a), "no.such", &t), ERR_MISSING);
    assert_int_equal(tensor_require(random_source_tensors(a), &t, name, 1, shape), ERR_INPUT);
    random_source_destroy(&a);
    random_source_destroy(&b);
    random_source_destroy(&other);
    assert_null(a);
}

static enum err find_all(void *context, const struct tensor_spec *spec)
{
    struct tensor_view t;
    return tensor_require(context, &t, spec->name, spec->rank, spec->shape);
}

static void a_random_model_is_complete(void **state)
{
    (void) state;
    struct model_config c;
    struct random_source *r;
    assert_int_equal(model_config_preset(&c, "tiny"), ERR_OK);
    assert_int_equal(random_source_create(&r, &c, 1, DTYPE_F16), ERR_OK);
    assert_int_equal(model_tensors_each(&c, find_all, random_source_tensors(r)), ERR_OK);
    random_source_destroy(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_have_the_published_parameter_counts),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(every_dtype_reads_as_float),
        cmocka_unit_test(random_tensors_depend_on_seed_and_name_only),
        cmocka_unit_test(a_random_model_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
