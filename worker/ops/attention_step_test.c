// Tests of op_kv_append and op_attention_step against softmax in double.
#include "worker/ops/attention_step.h"

#include <float.h>

#include "common/base/bytes.h"
#include "worker/ops/ops_fixture.h"

struct shape {
    uint32_t heads, width, length;
    bool f16, cross, buffers;
    uint32_t subgroups;
};

// A cache of one group, filled with `length` positions for each of its rows.
struct filled {
    struct kv_block block;
    struct span rows, slots;
    uint32_t cache_rows, length;
    float *k, *v; // [cache_rows][length][heads * width], as the cache rounds them
};

#define FIRST_SLOT 2
#define GROUP_SLOTS 2
#define SLOTS (FIRST_SLOT + GROUP_SLOTS)

static void round_to_half(float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = half_to_float(half_from_float(v[i]));
}

static struct kv_block new_block(struct ops_fixture *f, const struct shape *s)
{
    struct kv_block b = {
        .f16 = s->f16,
        .first_slot = FIRST_SLOT,
        .slots = GROUP_SLOTS,
        .branches = 2,
        .heads = s->heads,
        .width = s->width,
        .blocks = (s->length + DECODE_BLOCK - 1) / DECODE_BLOCK,
    };
    const uint64_t bytes = GROUP_SLOTS * 2 * kv_row_bytes(s->f16, s->heads, s->width, b.blocks);
    b.keys = span_with(f, NULL, bytes);
    b.values = span_with(f, NULL, bytes);
    if (s->buffers)
        b.keys.view = b.values.view = VK_NULL_HANDLE;
    return b;
}

// Append all positions of all cache rows: the source has values, then keys.
static void fill(struct ops_fixture *f, struct filled *c, const struct shape *s)
{
    const uint32_t dim = s->heads * s->width, stride = 2 * dim + 4;
    const uint32_t count = c->cache_rows * s->length;
    struct decode_row *rows = calloc(count, sizeof(*rows));
    float *source = calloc((size_t) count * stride, sizeof(*source));
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = i / s->length;
        rows[i] = (struct decode_row){ FIRST_SLOT + row / 2, row % 2, i % s->length, 0 };
        memcpy(source + (size_t) i * stride, c->v + (size_t) i * dim, dim * sizeof(float));
        memcpy(source + (size_t) i * stride + dim, c->k + (size_t) i * dim,
               dim * sizeof(float));
    }
    op_kv_append(f->stream, &(struct kv_append){
                                .to = &c->block,
                                .rows = span_with(f, rows, count * sizeof(*rows)),
                                .slots = c->slots,
                                .source = span_of_floats(f, source, (size_t) count * stride),
                                .k_offset = dim,
                                .v_offset = 0,
                                .stride = stride,
                                .row_count = count,
                            });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    free(rows), free(source);
}

static struct filled new_filled(struct ops_fixture *f, const struct shape *s)
{
    struct slot_state slots[SLOTS] = { 0 };
    for (uint32_t i = 0; i < SLOTS; i++) {
        slots[i].position[0] = s->length - 1;
        slots[i].frames = s->length;
    }
    struct filled c = { .cache_rows = GROUP_SLOTS * 2, .length = s->length };
    const size_t n = (size_t) c.cache_rows * s->length * s->heads * s->width;
    c.k = noise_array(f, n, 2);
    c.v = noise_array(f, n, 1);
    c.slots = span_with(f, slots, sizeof(slots));
    c.block = new_block(f, s);
    fill(f, &c, s);
    if (s->f16) {
        round_to_half(c.k, n);
        round_to_half(c.v, n);
    }
    return c;
}

static void reference(double *y, const float *q, const struct filled *c, uint32_t cache_row,
                      const struct shape *s, uint32_t length)
{
    const uint32_t dim = s->heads * s->width;
    double *score = malloc(length * sizeof(*score));
    for (uint32_t h = 0; h < s->heads; h++) {
        const size_t at = (size_t) cache_row * c->length * dim + h * s->width;
        double top = -DBL_MAX, mass = 0;
        for (uint32_t i = 0; i < length; i++) {
            score[i] = 0;
            for (uint32_t j = 0; j < s->width; j++)
                score[i] +=
                    (double) q[h * s->width + j] * (double) c->k[at + (size_t) i * dim + j];
            score[i] /= sqrt(s->width);
            top = fmax(top, score[i]);
        }
        for (uint32_t i = 0; i < length; i++)
            mass += score[i] = exp(score[i] - top);
        for (uint32_t j = 0; j < s->width; j++) {
            double sum = 0;
            for (uint32_t i = 0; i < length; i++)
                sum += score[i] / mass * (double) c->v[at + (size_t) i * dim + j];
            y[h * s->width + j] = sum;
        }
    }
    free(score);
}

static void attend(struct ops_fixture *f, const struct filled *c, const struct shape *s,
                   const struct decode_row *rows, uint32_t count, struct span q, struct span y)
{
    const uint32_t dim = s->heads * s->width;
    if (s->buffers)
        q.view = VK_NULL_HANDLE;
    op_attention_step(f->stream, &(struct attention_step){
                                     .from = &c->block,
                                     .rows = span_with(f, rows, count * sizeof(*rows)),
                                     .slots = c->slots,
                                     .q = q,
                                     .y = y,
                                     .q_offset = 8,
                                     .q_stride = dim + 4,
                                     .y_offset = 4,
                                     .y_stride = dim + 8,
                                     .row_count = count,
                                     .cross = s->cross,
                                     .scale = 1.0f / sqrtf((float) s->width),
                                     .reach = s->length,
                                     .subgroups = s->subgroups,
                                 });
    assert_int_equal(stream_run(f->stream), ERR_OK);
}

static void check(struct ops_fixture *f, const struct shape *s)
{
    const uint32_t dim = s->heads * s->width, slot = FIRST_SLOT;
    const struct filled c = new_filled(f, s);
    // The last row belongs to the other group: not touched.
    const struct decode_row rows[] = {
        { slot, 0, DECODE_AT_STEP, 0 },
        { slot + 1, 1, s->length / 2, 0 },
        { slot, 1, 0, 0 },
        { slot + 1, 0, DECODE_AT_STEP, 0 },
        { 0, 0, 0, 0 },
    };
    const uint32_t count = 5;
    float *q = noise_array(f, 8 + (size_t) count * (dim + 4), 2);
    struct span y = span_of_floats(f, NULL, 4 + (size_t) count * (dim + 8));
    attend(f, &c, s, rows, count, span_of_floats(f, q, 8 + (size_t) count * (dim + 4)), y);

    float *got = floats_of_span(f, y, 4 + (size_t) count * (dim + 8));
    double *want = calloc(dim, sizeof(*want));
    for (uint32_t r = 0; r < count; r++) {
        const uint32_t position =
            rows[r].position == DECODE_AT_STEP ? s->length - 1 : rows[r].position;
        if (r + 1 < count)
            reference(want, q + 8 + r * (dim + 4), &c,
                      (rows[r].slot - slot) * 2 + rows[r].branch, s,
                      s->cross ? s->length : position + 1);
        else
            memset(want, 0, dim * sizeof(*want));
        assert_close(got + 4 + r * (dim + 8), want, dim, 3e-6, 1e-5);
    }
    free(q), free(got), free(want), free(c.k), free(c.v);
}

static void matches_softmax(void **state)
{
    static const uint32_t widths[] = { 8, 16, 24, 40, 64, 72, 256 };
    static const uint32_t lengths[] = { 1, 2, 31, 33, 64, 65, 127, 200 };
    uint32_t n = 0;
    for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++)
        for (size_t l = 0; l < sizeof(lengths) / sizeof(*lengths); l++)
            for (int f16 = 0; f16 < 2; f16++, n++)
                check(*state, &(struct shape){ .heads = 1 + n % 3,
                                               .width = widths[w],
                                               .length = lengths[l],
                                               .f16 = f16,
                                               .cross = n % 5 == 0 });
}

static void works_without_texel_views(void **state)
{
    check(*state, &(struct shape){ .heads = 2, .width = 64, .length = 77, .buffers = true });
    check(
        *state,
        &(struct shape){ .heads = 2, .width = 64, .length = 77, .buffers = true, .f16 = true });
}

static void several_subgroups_share_a_row(void **state)
{
    for (uint32_t n = 2; n <= 8; n += 3)
        for (uint32_t width = 16; width <= 72; width += 56)
            for (uint32_t length = 1; length <= 331; length += 110)
                check(*state, &(struct shape){ .heads = 2,
                                               .width = width,
                                               .length = length,
                                               .f16 = n == 5,
                                               .subgroups = n });
}

static void a_row_is_the_same_in_any_company(void **state)
{
    struct ops_fixture *f = *state;
    const struct shape s = { .heads = 2, .width = 64, .length = 150, .f16 = true };
    const uint32_t dim = s.heads * s.width, slot = FIRST_SLOT, stride = dim + 4;
    const struct filled c = new_filled(f, &s);
    const struct decode_row together[] = {
        { slot + 1, 1, 149, 0 },
        { slot, 0, 17, 0 },
        { slot + 1, 0, DECODE_AT_STEP, 0 },
        { slot, 1, 3, 0 },
    };
    float *q = noise_array(f, 8 + 4 * stride, 2);
    const struct span y = span_of_floats(f, NULL, 4 + 4 * (dim + 8));
    attend(f, &c, &s, together, 4, span_of_floats(f, q, 8 + 4 * stride), y);
    float *all = floats_of_span(f, y, 4 + 4 * (dim + 8));
    for (uint32_t r = 0; r < 4; r++) {
        memmove(q + 8, q + 8 + r * stride, (r ? dim : 0) * sizeof(*q));
        const struct span alone = span_of_floats(f, NULL, 4 + dim + 8);
        attend(f, &c, &s, together + r, 1, span_of_floats(f, q, 8 + stride), alone);
        float *one = floats_of_span(f, alone, 4 + dim);
        assert_memory_equal(one + 4, all + 4 + r * (dim + 8), dim * sizeof(*one));
        free(one);
    }
    free(q), free(all), free(c.k), free(c.v);
}

static void an_overflow_stays_with_its_row(void **state)
{
    struct ops_fixture *f = *state;
    const struct shape s = { .heads = 1, .width = 8, .length = 3, .f16 = true };
    struct filled c = new_filled(f, &s);
    // Position 2 of every row overflows f16; rows that end before it see nothing.
    for (uint32_t row = 0; row < c.cache_rows; row++)
        for (uint32_t j = 0; j < 8; j++)
            c.v[(row * 3 + 2) * 8 + j] = INFINITY;
    fill(f, &c, &s);
    const struct decode_row rows[] = { { FIRST_SLOT, 0, 1, 0 } };
    float *q = noise_array(f, 8 + 12, 2);
    const struct span y = span_of_floats(f, NULL, 4 + 16);
    attend(f, &c, &s, rows, 1, span_of_floats(f, q, 8 + 12), y);
    float *got = floats_of_span(f, y, 4 + 8);
    double want[8];
    reference(want, q + 8, &c, 0, &s, 2);
    assert_close(got + 4, want, 8, 3e-6, 1e-5);
    free(q), free(got), free(c.k), free(c.v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_softmax),
        cmocka_unit_test(works_without_texel_views),
        cmocka_unit_test(several_subgroups_share_a_row),
        cmocka_unit_test(a_row_is_the_same_in_any_company),
        cmocka_unit_test(an_overflow_stays_with_its_row),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
