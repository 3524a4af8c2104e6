// matmul_tune: short races, between the form for CPUs and those for GPUs, then for the
// former between a whole and half a round, few and many columns for a lane, and few and
// many rows.
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "worker/ops/matmul_internal.h"

// A projection of the decoder at two rows, what most of the time goes to, and
// eight segments side by side.
#define ROWS 2u
#define MANY_ROWS 16u
#define SIDE 1024u
#define TRIES 5
#define TURNS 4
// The form that is not usual for the kind of device must win clearly, so that
// two runs without a cache do not come to different choices.
#define CLEARLY 2.0

struct race {
    struct device *device;
    struct arena *arena;
    struct stream *stream;
    struct matrix w;
    struct span x, y;
};

static void race_finish(struct race *r)
{
    stream_destroy(&r->stream);
    arena_destroy(&r->arena);
}

static enum err race_prepare(struct race *r, bool f16)
{
    float *zeros = calloc((size_t) SIDE * SIDE, sizeof(*zeros));
    if (!zeros)
        return ERR_NOMEM;
    enum err e = arena_create(&r->arena, r->device, MEMORY_DEVICE, "measuring");
    if (!e)
        e = stream_create(&r->stream, r->device);
    if (!e)
        e = matrix_load(&r->w, r->device, r->arena,
                        &(struct matrix_source){ .data = zeros, .row_stride = SIDE }, SIDE,
                        SIDE, f16);
    if (!e)
        e = arena_alloc_texels(r->arena, 4ull * MANY_ROWS * SIDE, &r->x);
    if (!e)
        e = span_zero(r->device, r->x);
    if (!e)
        e = arena_alloc_texels(r->arena, 4ull * MANY_ROWS * SIDE, &r->y);
    free(zeros);
    return e;
}

static bool fits_texel(const struct race *r)
{
    return matmul_fits_texel(
        r->stream, &(struct matmul){ .w = &r->w, .x = r->x, .y = r->y, .rows = ROWS });
}

// The shortest of a few runs, after one that warms up; *out is lowered to it.
static enum err seconds_of(struct race *r, struct matmul_choice c, uint32_t rows, double *out)
{
    stream_reset(r->stream);
    stream_label(r->stream, "measuring matmul");
    matmul_record(r->stream, &(struct matmul){ .w = &r->w, .x = r->x, .y = r->y, .rows = rows },
                  c);
    for (int i = 0; i <= TRIES; i++) {
        const double start = clock_seconds();
        enum err e = stream_submit(r->stream, 1);
        if (!e)
            e = stream_wait(r->stream);
        if (e)
            return e;
        const double took = clock_seconds() - start;
        if (i > 0 && took < *out)
            *out = took;
    }
    return ERR_OK;
}

static enum err race_forms(struct race *r)
{
    const bool cpu = device_facts(r->device)->kind == DEVICE_CPU;
    double texel = 1e30, sliced = 1e30;
    enum err e = ERR_OK;
    if (fits_texel(r))
        e = seconds_of(r, (struct matmul_choice){ MATMUL_TEXEL, ROWS, 4, 0 }, ROWS, &texel);
    if (!e)
        e = seconds_of(r, (struct matmul_choice){ MATMUL_SLICED, ROWS, 0, 0 }, ROWS, &sliced);
    if (e)
        return e;
    const bool choose_texel = cpu ? texel < sliced * CLEARLY : texel * CLEARLY < sliced;
    device_choose_form(r->device, "matmul", choose_texel ? MATMUL_TEXEL : MATMUL_SLICED);
    log_debug("matmul: texel %.0f us, sliced %.0f us", texel * 1e6, sliced * 1e6);
    return ERR_OK;
}

// Two tiles of MATMUL_TEXEL: is the other one faster?
static enum err race_tiles(struct race *r, struct matmul_choice one, struct matmul_choice other,
                           bool *out)
{
    double with_one = 1e30, with_other = 1e30;
    enum err e = ERR_OK;
    // In turns: a clock that rises would favour the last.
    for (int turn = 0; !e && turn < TURNS; turn++) {
        e = seconds_of(r, one, MANY_ROWS, &with_one);
        if (!e)
            e = seconds_of(r, other, MANY_ROWS, &with_other);
    }
    *out = with_other < with_one;
    log_debug("matmul: %u x %u x %u %.0f us, %u x %u x %u %.0f us", one.rows, one.cols,
              one.depth, with_one * 1e6, other.rows, other.cols, other.depth, with_other * 1e6);
    return e;
}

static enum err race_depths(struct race *r)
{
    bool better;
    const enum err e = race_tiles(
        r,
        (struct matmul_choice){ MATMUL_TEXEL, MATMUL_MANY_ROWS, MATMUL_FEW_COLS, MATMUL_DEPTH },
        (struct matmul_choice){ MATMUL_TEXEL, MATMUL_MANY_ROWS, MATMUL_FEW_COLS,
                                MATMUL_SHALLOW },
        &better);
    if (!e)
        device_choose_form(r->device, matmul_depth_choice[r->w.f16],
                           better ? MATMUL_SHALLOW : MATMUL_DEPTH);
    return e;
}

static enum err race_cols(struct race *r)
{
    const bool f16 = r->w.f16;
    const uint32_t few = MATMUL_FEW_COLS, many = MATMUL_MANY_COLS(f16);
    const uint32_t depth = matmul_best_depth(r->device, f16);
    bool better;
    const enum err e = race_tiles(
        r, (struct matmul_choice){ MATMUL_TEXEL, MATMUL_FEW_ROWS, few, depth },
        (struct matmul_choice){ MATMUL_TEXEL, MATMUL_FEW_ROWS, many, depth }, &better);
    if (!e)
        device_choose_form(r->device, matmul_cols_choice[f16], better ? many : few);
    return e;
}

static enum err race_rows(struct race *r) // after race_cols()
{
    const uint32_t depth = matmul_best_depth(r->device, r->w.f16);
    uint32_t cols = MATMUL_FEW_COLS;
    (void) device_choice(r->device, matmul_cols_choice[r->w.f16], &cols);
    bool better;
    const enum err e = race_tiles(
        r, (struct matmul_choice){ MATMUL_TEXEL, MATMUL_FEW_ROWS, cols, depth },
        (struct matmul_choice){ MATMUL_TEXEL, MATMUL_MANY_ROWS, MATMUL_FEW_COLS, depth },
        &better);
    if (!e)
        device_choose_form(r->device, matmul_rows_choice,
                           better ? MATMUL_MANY_ROWS : MATMUL_FEW_ROWS);
    return e;
}

static enum err tune(struct device *d, bool f16, enum err (*race)(struct race *r))
{
    struct race r = { .device = d };
    enum err e = race_prepare(&r, f16);
    if (!e)
        e = race(&r);
    race_finish(&r);
    return e;
}

// The forms add up in different orders: a file of choices that is damaged must not choose another.
static bool form_is_known(const struct device *d)
{
    uint32_t form;
    return device_choice(d, "matmul", &form) && (form == MATMUL_TEXEL || form == MATMUL_SLICED);
}

enum err matmul_tune(struct device *d)
{
    uint32_t known;
    enum err e = ERR_OK;
    if (!form_is_known(d))
        e = tune(d, true, race_forms);
    const bool texel = device_choice(d, "matmul", &known) && known == MATMUL_TEXEL;
    for (int f16 = 0; !e && texel && f16 < 2; f16++) {
        if (!device_choice(d, matmul_depth_choice[f16], &known))
            e = tune(d, f16, race_depths);
        if (!e && !device_choice(d, matmul_cols_choice[f16], &known))
            e = tune(d, f16, race_cols);
    }
    if (!e && texel && !device_choice(d, matmul_rows_choice, &known))
        e = tune(d, true, race_rows);
    return e;
}
