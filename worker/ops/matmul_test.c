// Tests of op_matmul against sums in double.
#include "worker/ops/matmul.h"

#include "common/base/bytes.h"
#include "worker/engine/internal.h"
#include "worker/ops/matmul_internal.h"
#include "worker/ops/ops_fixture.h"

// One product and how it is laid out. Zeros: dense, no bias, no residual.
struct shape {
    uint32_t rows, cols, depth; // M, N, K
    uint32_t x_offset, x_stride, y_offset, y_stride, residual_offset, residual_stride;
    bool f16, bias, residual, in_place;
    uint32_t activation;
    float weight_scale; // 0: 1
};

struct problem {
    struct shape s;
    uint32_t x_stride, y_stride, residual_stride;
    size_t x_count, y_count, residual_count;
    float *x, *w, *bias, *residual, *y;
};

static double activated(uint32_t kind, double v)
{
    switch (kind) {
    case ACTIVATION_QUICKGELU: return v / (1 + exp(-1.702 * v));
    case ACTIVATION_GELU: return 0.5 * v * (1 + erf(v * M_SQRT1_2));
    case ACTIVATION_ELU: return v > 0 ? v : expm1(v);
    default: return v;
    }
}

static double expected(const struct problem *p, uint32_t m, uint32_t n)
{
    const float *x = p->x + p->s.x_offset + (size_t) m * p->x_stride;
    const float *w = p->w + (size_t) n * p->s.depth;
    double sum = p->s.bias ? (double) p->bias[n] : 0;
    for (uint32_t k = 0; k < p->s.depth; k++)
        sum += (double) x[k] * (double) w[k];
    sum = activated(p->s.activation, sum);
    if (p->s.residual)
        sum += (double) p->residual[p->s.residual_offset + (size_t) m * p->residual_stride + n];
    return sum;
}

static struct problem problem_make(struct ops_fixture *f, const struct shape *s)
{
    struct problem p = { .s = *s };
    p.x_stride = s->x_stride ? s->x_stride : s->depth;
    p.y_stride = s->y_stride ? s->y_stride : s->cols;
    p.residual_stride = s->residual_stride ? s->residual_stride : p.y_stride;
    // Beyond x's last row there is always something, and it is NaN.
    p.x_count = s->x_offset + (size_t) (s->rows - 1) * p.x_stride + s->depth + 16;
    p.y_count = s->y_offset + (size_t) s->rows * p.y_stride + 16;
    p.residual_count = s->residual_offset + (size_t) s->rows * p.residual_stride + 16;
    p.x = noise_array(f, p.x_count, 1);
    for (size_t i = p.x_count - 16; i < p.x_count; i++)
        p.x[i] = NAN;
    const size_t weights = (size_t) s->cols * s->depth;
    p.w = noise_array(f, weights, s->weight_scale > 0 ? s->weight_scale : 1);
    if (s->f16)
        for (size_t i = 0; i < weights; i++)
            p.w[i] = half_to_float(half_from_float(p.w[i]));
    p.bias = noise_array(f, s->cols, 1);
    p.residual = noise_array(f, p.residual_count, 1);
    p.y = noise_array(f, p.y_count, 1);
    return p;
}

static void problem_free(struct problem *p)
{
    free(p->x), free(p->w), free(p->bias), free(p->residual), free(p->y);
}

static struct matrix matrix_of(struct ops_fixture *f, const struct problem *p, bool f16)
{
    struct matrix m;
    const struct matrix_source from = {
        .data = p->w,
        .row_stride = p->s.depth,
        .bias = p->s.bias ? p->bias : NULL,
    };
    assert_int_equal(matrix_load(&m, f->device, f->arena, &from, p->s.cols, p->s.depth, f16),
                     ERR_OK);
    return m;
}

// Ways to compute it: as op_matmul() likes, with and without texel views, and
// each kernel by its name.
static const struct way {
    const char *name;
    bool no_views;
    bool brief;  // one of those that stand for all where every case is a kernel to compile
    bool forced; // `choice` is what to take
    struct matmul_choice choice;
} ways[] = {
    { .name = "chosen", .brief = true },
    { .name = "chosen without views", .brief = true, .no_views = true },
    { .name = "plain", .brief = true, .forced = true, .choice = { MATMUL_PLAIN, 0, 0, 0 } },
    { .name = "texel 1x4", .forced = true, .choice = { MATMUL_TEXEL, 1, 4, 0 } },
    { .name = "texel 8x4", .brief = true, .forced = true, .choice = { MATMUL_TEXEL, 8, 4, 0 } },
    { .name = "texel 8x6", .forced = true, .choice = { MATMUL_TEXEL, 8, 6, 0 } },
    { .name = "texel 8x8", .forced = true, .choice = { MATMUL_TEXEL, 8, 8, 0 } },
    { .name = "texel 16x4", .forced = true, .choice = { MATMUL_TEXEL, 16, 4, 0 } },
    { .name = "texel 16x4x8",
      .brief = true,
      .forced = true,
      .choice = { MATMUL_TEXEL, 16, 4, 8 } },
    { .name = "texel 8x6x8", .forced = true, .choice = { MATMUL_TEXEL, 8, 6, 8 } },
    { .name = "texel 1x8", .forced = true, .choice = { MATMUL_TEXEL, 1, 8, 0 } },
    { .name = "sliced 1", .brief = true, .forced = true, .choice = { MATMUL_SLICED, 1, 0, 0 } },
    { .name = "sliced 4", .forced = true, .choice = { MATMUL_SLICED, 4, 0, 0 } },
    { .name = "sliced 16", .forced = true, .choice = { MATMUL_SLICED, 16, 0, 0 } },
    { .name = "tiled 2x2", .brief = true, .forced = true, .choice = { MATMUL_TILED, 2, 2, 0 } },
    { .name = "tiled 4x4", .forced = true, .choice = { MATMUL_TILED, 4, 4, 0 } },
};
#define WAYS (sizeof(ways) / sizeof(*ways))
#define CHOSEN (&ways[0])
#define FIRST_TEXEL 3     // from here on all give the same bits ...
#define FIRST_FOR_GPUS 11 // ... as do those from here on

// y, whole, as it stands after the operation. NULL when the way cannot go there.
static float *run(struct ops_fixture *f, const struct problem *p, const struct matrix *w,
                  const struct way *way)
{
    struct span y = span_of_floats(f, p->s.in_place ? p->residual : p->y,
                                   p->s.in_place ? p->residual_count : p->y_count);
    struct span x = span_of_floats(f, p->x, p->x_count);
    struct span residual = p->s.residual && !p->s.in_place
                               ? span_of_floats(f, p->residual, p->residual_count)
                               : (struct span){ 0 };
    if (way->no_views)
        x.view = y.view = residual.view = VK_NULL_HANDLE;
    const struct matmul m = {
        .w = w,
        .x = x,
        .y = y,
        .residual = p->s.in_place ? y : residual,
        .rows = p->s.rows,
        .x_offset = p->s.x_offset,
        .x_stride = p->s.x_stride,
        .y_offset = p->s.y_offset,
        .y_stride = p->s.y_stride,
        .residual_offset = p->s.residual_offset,
        .residual_stride = p->s.residual_stride,
        .activation = p->s.activation,
    };
    if (way->forced && way->choice.form == MATMUL_TEXEL && !matmul_fits_texel(f->stream, &m))
        return NULL;
    if (way->forced)
        matmul_record(f->stream, &m, way->choice);
    else
        op_matmul(f->stream, &m);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    return floats_of_span(f, y, p->s.in_place ? p->residual_count : p->y_count);
}

static void compare(const struct problem *p, const struct way *way, const float *got,
                    const float *before)
{
    const double scale = p->s.weight_scale > 0 ? (double) p->s.weight_scale : 1;
    const double atol = 1e-6 + 3e-7 * scale * (double) p->s.depth;
    size_t i = 0;
    for (; i < p->s.y_offset; i++)
        assert_true(got[i] == before[i]);
    for (uint32_t m = 0; m < p->s.rows; m++) {
        for (uint32_t n = 0; n < p->y_stride; n++, i++) {
            if (n >= p->s.cols) {
                assert_true(got[i] == before[i]); // between the rows nothing is touched
                continue;
            }
            const double want = expected(p, m, n);
            if (!(fabs((double) got[i] - want) <= atol + 1e-6 * fabs(want)))
                fail_msg("%s: M %u N %u K %u f16 %d activation %u: y[%u, %u] is %.9g, not %.9g",
                         way->name, p->s.rows, p->s.cols, p->s.depth, p->s.f16, p->s.activation,
                         m, n, (double) got[i], want);
        }
    }
    for (; i < p->y_count; i++)
        assert_true(got[i] == before[i]);
}

static void check_ways(struct ops_fixture *f, struct shape s, bool brief)
{
    for (int f16 = 0; f16 <= 1; f16++) {
        s.f16 = f16;
        struct problem p = problem_make(f, &s);
        const struct matrix w = matrix_of(f, &p, f16);
        float *all[WAYS];
        for (size_t i = 0; i < WAYS; i++) {
            all[i] = brief && !ways[i].brief ? NULL : run(f, &p, &w, &ways[i]);
            if (all[i])
                compare(&p, &ways[i], all[i], s.in_place ? p.residual : p.y);
            if (all[i] && i > FIRST_FOR_GPUS)
                assert_memory_equal(all[i], all[FIRST_FOR_GPUS], p.y_count * sizeof(float));
        }
        for (size_t i = 0; i < WAYS; i++)
            free(all[i]);
        problem_free(&p);
    }
}

static void check(struct ops_fixture *f, struct shape s)
{
    check_ways(f, s, false);
}

static void matches_sums_in_double_at_awkward_sizes(void **state)
{
    static const uint32_t rows[] = { 1, 2, 3, 5, 8, 9, 17, 31 };
    static const uint32_t cols[] = { 1, 4, 7, 8, 9, 31, 32, 36, 127 };
    static const uint32_t depths[] = { 1, 3, 4, 15, 16, 17, 60, 257 };
    for (size_t m = 0; m < 8; m++)
        for (size_t n = 0; n < 9; n++)
            check(*state, (struct shape){ .rows = rows[m],
                                          .cols = cols[n],
                                          .depth = depths[(m + n) % 8],
                                          .bias = n % 2 });
    for (size_t k = 0; k < 8; k++)
        check(*state,
              (struct shape){ .rows = 3, .cols = 20, .depth = depths[k], .x_stride = 260 });
    check(*state, (struct shape){ .rows = 13, .cols = 40, .depth = 1023 });
    check(*state, (struct shape){ .rows = 2, .cols = 67, .depth = 4096, .bias = true });
}

// Every pair of the three: each of all combinations is a kernel to compile, for each way.
static void every_activation_with_and_without_bias_and_residual(void **state)
{
    for (uint32_t activation = ACTIVATION_NONE; activation <= ACTIVATION_ELU; activation++)
        for (unsigned bias = 0; bias < 2; bias++)
            check_ways(*state,
                       (struct shape){ .rows = 5,
                                       .cols = bias ? 24 : 23,
                                       .depth = 48,
                                       .bias = bias,
                                       .residual = (activation + bias) % 2,
                                       .activation = activation },
                       true);
}

static void rows_may_overlap_and_be_apart(void **state)
{
    // A convolution: kernel 7, stride 2, 8 channels.
    check(*state,
          (struct shape){ .rows = 30, .cols = 16, .depth = 56, .x_stride = 16, .bias = true });
    check(*state, (struct shape){ .rows = 30, .cols = 16, .depth = 7, .x_stride = 1 });
    check(*state, (struct shape){ .rows = 9,
                                  .cols = 12,
                                  .depth = 32,
                                  .x_offset = 8,
                                  .x_stride = 44,
                                  .y_offset = 4,
                                  .y_stride = 20,
                                  .residual = true,
                                  .residual_offset = 12,
                                  .residual_stride = 16 });
    check(*state, (struct shape){ .rows = 9,
                                  .cols = 12,
                                  .depth = 32,
                                  .x_offset = 3,
                                  .x_stride = 33,
                                  .y_offset = 5,
                                  .y_stride = 13,
                                  .residual = true,
                                  .residual_offset = 1,
                                  .residual_stride = 15 });
}

static void the_residual_may_be_the_output(void **state)
{
    check(*state, (struct shape){ .rows = 9,
                                  .cols = 36,
                                  .depth = 64,
                                  .residual = true,
                                  .in_place = true });
    check(*state, (struct shape){ .rows = 1,
                                  .cols = 9,
                                  .depth = 20,
                                  .residual = true,
                                  .in_place = true });
}

// Weights far from 1: scaled on packing, so that f16 neither loses bits nor overflows.
static void tiny_and_large_weights_keep_their_digits(void **state)
{
    static const float scales[] = { 3e-7f, 1e-4f, 700, 6e4f };
    for (size_t i = 0; i < 4; i++)
        check(*state,
              (struct shape){ .rows = 4, .cols = 32, .depth = 64, .weight_scale = scales[i] });
}

static void weights_of_all_sizes_at_once(void **state)
{
    struct ops_fixture *f = *state;
    struct problem p =
        problem_make(f, &(struct shape){ .rows = 1, .cols = 64, .depth = 16, .f16 = true });
    // Every exponent of a half, denormals too, one a row; an x that picks one.
    for (uint32_t n = 0; n < 64; n++)
        for (uint32_t k = 0; k < 16; k++)
            p.w[n * 16 + k] =
                half_to_float((uint16_t) ((n < 32 ? n % 31 << 10 : n % 31) | (k * 63 + 1)));
    memset(p.x, 0, 16 * sizeof(*p.x));
    p.x[5] = 1;
    const struct matrix w = matrix_of(f, &p, true);
    float *got = run(f, &p, &w, CHOSEN);
    for (uint32_t n = 0; n < 64; n++)
        assert_true(got[n] == p.w[n * 16 + 5]);
    free(got);
    problem_free(&p);
}

static void half_sources_and_float_sources_pack_alike(void **state)
{
    struct ops_fixture *f = *state;
    const struct shape s = { .rows = 3, .cols = 21, .depth = 50, .f16 = true };
    struct problem p = problem_make(f, &s);
    char halves[21 * 51 * 2 + 1];
    char *unaligned = halves + 1;
    for (size_t n = 0; n < 21; n++)
        for (size_t k = 0; k < 50; k++) {
            const uint16_t h = half_from_float(p.w[n * 50 + k]);
            memcpy(unaligned + (n * 51 + k) * 2, &h, 2);
        }
    for (int f16 = 0; f16 <= 1; f16++) {
        const struct matrix from_floats = matrix_of(f, &p, f16);
        struct matrix from_halves;
        const struct matrix_source source = { .data = unaligned,
                                              .f16 = true,
                                              .row_stride = 51 };
        assert_int_equal(matrix_load(&from_halves, f->device, f->arena, &source, 21, 50, f16),
                         ERR_OK);
        float *a = run(f, &p, &from_floats, CHOSEN), *b = run(f, &p, &from_halves, CHOSEN);
        assert_memory_equal(a, b, sizeof(float) * 3 * 21);
        free(a), free(b);
    }
    problem_free(&p);
}

// What a row comes to does not depend on how many rows ride along, nor where.
static void a_row_alone_and_in_company_gives_the_same_bits(void **state)
{
    struct ops_fixture *f = *state;
    for (int f16 = 0; f16 <= 1; f16++) {
        struct problem p = problem_make(f, &(struct shape){ .rows = 67,
                                                            .cols = 40,
                                                            .depth = 1000,
                                                            .f16 = f16,
                                                            .bias = true,
                                                            .activation = ACTIVATION_GELU });
        const struct matrix w = matrix_of(f, &p, f16);
        float *all = run(f, &p, &w, CHOSEN), *gpu = run(f, &p, &w, &ways[FIRST_FOR_GPUS]);
        float *texel = run(f, &p, &w, &ways[FIRST_TEXEL]);
        for (size_t rows = 1; rows <= 34; rows++) {
            struct problem some = p;
            some.s.rows = (uint32_t) rows;
            some.s.x_offset = (uint32_t) (67 - rows) * 1000;
            float *got = run(f, &some, &w, CHOSEN);
            assert_memory_equal(got, all + (67 - rows) * 40, rows * 40 * sizeof(float));
            free(got);
            for (size_t i = FIRST_TEXEL; i < WAYS; i++) {
                const float *want = i < FIRST_FOR_GPUS ? texel : gpu;
                got = run(f, &some, &w, &ways[i]);
                if (got)
                    assert_memory_equal(got, want + (67 - rows) * 40,
                                        rows * 40 * sizeof(float));
                free(got);
            }
        }
        free(all), free(gpu), free(texel);
        problem_free(&p);
    }
}

static void no_rows_do_nothing(void **state)
{
    struct ops_fixture *f = *state;
    struct problem p = problem_make(f, &(struct shape){ .rows = 1, .cols = 8, .depth = 8 });
    const struct matrix w = matrix_of(f, &p, false);
    p.s.rows = 0;
    float *got = run(f, &p, &w, CHOSEN);
    assert_memory_equal(got, p.y, p.y_count * sizeof(float));
    free(got);
    problem_free(&p);
}

static void tuning_chooses_once(void **state)
{
    struct ops_fixture *f = *state;
    uint32_t form;
    assert_false(device_choice(f->device, "matmul", &form));
    device_choose_form(f->device, "matmul", 99); // as a damaged file has it
    assert_int_equal(matmul_tune(f->device), ERR_OK);
    assert_true(device_choice(f->device, "matmul", &form));
    assert_true(form == MATMUL_TEXEL || form == MATMUL_SLICED);
    for (int f16 = 0; f16 <= 1; f16++) {
        uint32_t cols = 0, depth = 0;
        assert_int_equal(device_choice(f->device, matmul_depth_choice[f16], &depth),
                         form == MATMUL_TEXEL);
        assert_int_equal(matmul_best_depth(f->device, f16), depth ? depth : MATMUL_DEPTH);
        device_choose_form(f->device, matmul_depth_choice[f16], 99);
        assert_int_equal(matmul_best_depth(f->device, f16), MATMUL_DEPTH);
        assert_int_equal(device_choice(f->device, matmul_cols_choice[f16], &cols),
                         form == MATMUL_TEXEL);
        assert_true(form == MATMUL_SLICED || cols == MATMUL_FEW_COLS ||
                    cols == MATMUL_MANY_COLS(f16));
    }
    uint32_t rows = 0;
    assert_int_equal(device_choice(f->device, matmul_rows_choice, &rows), form == MATMUL_TEXEL);
    assert_true(form == MATMUL_SLICED || rows == MATMUL_FEW_ROWS || rows == MATMUL_MANY_ROWS);
    device_choose_form(f->device, "matmul", MATMUL_SLICED);
    assert_int_equal(matmul_tune(f->device), ERR_OK); // known: left alone
    assert_true(device_choice(f->device, "matmul", &form) && form == MATMUL_SLICED);
    check(f, (struct shape){ .rows = 5, .cols = 24, .depth = 40 });
    check(f, (struct shape){ .rows = 70, .cols = 24, .depth = 40 });
}

// After tuning_chooses_once(), which leaves the forms for GPUs chosen.
static void small_groups_do_without_tiles(void **state)
{
    struct ops_fixture *f = *state;
    struct problem p = problem_make(f, &(struct shape){ .rows = 70, .cols = 24, .depth = 40 });
    const struct matrix w = matrix_of(f, &p, false);
    const struct matmul m = { .w = &w, .rows = 70 };
    assert_int_equal(matmul_choose(f->stream, &m).form, MATMUL_TILED);
    const uint32_t most = f->device->facts.max_group_invocations;
    f->device->facts.max_group_invocations = 128; // the specification's least
    assert_int_equal(matmul_choose(f->stream, &m).form, MATMUL_SLICED);
    check(f, p.s);
    f->device->facts.max_group_invocations = most;
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_sums_in_double_at_awkward_sizes),
        cmocka_unit_test(every_activation_with_and_without_bias_and_residual),
        cmocka_unit_test(rows_may_overlap_and_be_apart),
        cmocka_unit_test(the_residual_may_be_the_output),
        cmocka_unit_test(tiny_and_large_weights_keep_their_digits),
        cmocka_unit_test(weights_of_all_sizes_at_once),
        cmocka_unit_test(half_sources_and_float_sources_pack_alike),
        cmocka_unit_test(a_row_alone_and_in_company_gives_the_same_bits),
        cmocka_unit_test(no_rows_do_nothing),
        cmocka_unit_test(tuning_chooses_once), // last: it changes what "chosen" is
        cmocka_unit_test(small_groups_do_without_tiles),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
