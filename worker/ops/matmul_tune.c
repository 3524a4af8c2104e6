// matmul_tune: a short race between the form for CPUs and those for GPUs.
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "worker/ops/matmul_internal.h"

// A projection of the decoder at two rows: what most of the time goes to.
#define ROWS 2u
#define SIDE 1024u
#define TRIES 5
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

static enum err race_prepare(struct race *r)
{
    float *zeros = calloc((size_t) SIDE * SIDE, sizeof(*zeros));
    if (!zeros)
        return ERR_NOMEM;
    enum err e = arena_create(&r->arena, r->device, MEMORY_DEVICE, "measuring");
    if (!e)
        e = stream_create(&r->stream, r->device);
    if (!e)
        e = matrix_load(&r->w, r->device, r->arena,
                        &(struct matrix_source){ .data = zeros, .row_stride = SIDE }, SIDE, SIDE, true);
    if (!e)
        e = arena_alloc_texels(r->arena, 4ull * ROWS * SIDE, &r->x);
    if (!e)
        e = span_zero(r->device, r->x);
    if (!e)
        e = arena_alloc_texels(r->arena, 4ull * ROWS * SIDE, &r->y);
    free(zeros);
    return e;
}

// The shortest of a few runs, after one that warms up.
static enum err seconds_of(struct race *r, struct matmul_choice c, double *out)
{
    stream_reset(r->stream);
    stream_label(r->stream, "measuring matmul");
    matmul_record(r->stream, &(struct matmul){ .w = &r->w, .x = r->x, .y = r->y, .rows = ROWS }, c);
    *out = 1e30;
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

static enum err race_run(struct race *r)
{
    const bool cpu = device_facts(r->device)->kind == DEVICE_CPU;
    double texel = 1e30, sliced;
    enum err e = ERR_OK;
    if (matmul_fits_texel(r->stream, &(struct matmul){ .w = &r->w, .x = r->x, .y = r->y, .rows = ROWS }))
        e = seconds_of(r, (struct matmul_choice){ MATMUL_TEXEL, ROWS, 4 }, &texel);
    if (!e)
        e = seconds_of(r, (struct matmul_choice){ MATMUL_SLICED, ROWS, 0 }, &sliced);
    if (e)
        return e;
    const bool choose_texel = cpu ? texel < sliced * CLEARLY : texel * CLEARLY < sliced;
    device_choose_form(r->device, "matmul", choose_texel ? MATMUL_TEXEL : MATMUL_SLICED);
    log_debug("matmul: texel %.0f us, sliced %.0f us", texel * 1e6, sliced * 1e6);
    return ERR_OK;
}

enum err matmul_tune(struct device *d)
{
    uint32_t known;
    if (device_choice(d, "matmul", &known))
        return ERR_OK;
    struct race r = { .device = d };
    enum err e = race_prepare(&r);
    if (!e)
        e = race_run(&r);
    race_finish(&r);
    return e;
}
