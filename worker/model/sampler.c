#include "worker/model/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "worker/ops/sample.h"

#define ROWS_AT_ONCE 64

// What one call of the kernel needs. The null logits are a row of zeros, so that
// an infinite logit is not taken from itself.
struct sampler {
    struct device *device;
    struct arena *arena;
    struct stream *stream;
    struct span draws, slots, tokens, logits, distribution;
    uint32_t card, stride;
    float *room; // [ROWS_AT_ONCE + 1][stride], the last row zeros
};

static enum err make_draws(struct sampler *b)
{
    struct sample_draw draws[ROWS_AT_ONCE] = { 0 };
    for (uint32_t i = 0; i < ROWS_AT_ONCE; i++)
        draws[i] = (struct sample_draw){ .cond = i, .null = ROWS_AT_ONCE };
    const enum err e = arena_alloc(b->arena, sizeof(draws), &b->draws);
    return e ? e : span_upload(b->device, b->draws, 0, draws, sizeof(draws));
}

static enum err make_slot(struct sampler *b, const struct sampling *s)
{
    const struct slot_state state = { .top_k = s->top_k,
                                      .top_p = s->top_p,
                                      .temperature = s->temperature,
                                      .guidance = 1 };
    const enum err e = arena_alloc(b->arena, sizeof(state), &b->slots);
    return e ? e : span_upload(b->device, b->slots, 0, &state, sizeof(state));
}

static enum err sampler_open(struct sampler *b, const struct sampling *s)
{
    const uint64_t bytes = (ROWS_AT_ONCE + 1ull) * b->stride * sizeof(float);
    b->room = calloc(ROWS_AT_ONCE + 1, b->stride * sizeof(float));
    enum err e =
        b->room ? arena_create(&b->arena, b->device, MEMORY_DEVICE, "sampler") : ERR_NOMEM;
    if (!e)
        e = stream_create(&b->stream, b->device);
    if (!e)
        e = make_draws(b);
    if (!e)
        e = make_slot(b, s);
    if (!e)
        e = arena_alloc(b->arena, sizeof(uint32_t), &b->tokens);
    if (!e)
        e = arena_alloc_texels(b->arena, bytes, &b->logits);
    if (!e)
        e = span_upload(b->device, b->logits, 0, b->room, bytes);
    return e ? e : arena_alloc(b->arena, bytes, &b->distribution);
}

static void sampler_close(struct sampler *b)
{
    stream_destroy(&b->stream);
    arena_destroy(&b->arena);
    free(b->room);
}

static enum err distribute(struct sampler *b, const float *logits, uint32_t rows, float *out)
{
    const uint64_t bytes = (uint64_t) rows * b->stride * sizeof(float);
    for (uint32_t r = 0; r < rows; r++)
        memcpy(b->room + (size_t) r * b->stride, logits + (size_t) r * b->card,
               b->card * sizeof(float));
    enum err e = span_upload(b->device, b->logits, 0, b->room, bytes);
    if (e)
        return e;
    op_sample(b->stream, &(struct sample){
                             .draws = b->draws,
                             .slots = b->slots,
                             .tokens = b->tokens,
                             .logits = b->logits,
                             .distribution = b->distribution,
                             .draw_count = rows,
                             .card = b->card,
                             .codebooks = 1,
                             .codebook_stride = b->stride,
                         });
    e = stream_run(b->stream);
    if (!e)
        e = span_download(b->device, b->distribution, 0, b->room, bytes);
    for (uint32_t r = 0; !e && r < rows; r++)
        memcpy(out + (size_t) r * b->card, b->room + (size_t) r * b->stride,
               b->card * sizeof(float));
    return e;
}

enum err sampler_distribution(struct device *d, const float *logits, uint32_t rows,
                              uint32_t card, const struct sampling *s, float *out)
{
    struct sampler b = { .device = d, .card = card, .stride = (uint32_t) round_up(card, 4) };
    enum err e = sampler_open(&b, s);
    for (uint32_t first = 0; !e && first < rows; first += ROWS_AT_ONCE) {
        const uint32_t count = rows - first < ROWS_AT_ONCE ? rows - first : ROWS_AT_ONCE;
        e = distribute(&b, logits + (size_t) first * card, count, out + (size_t) first * card);
    }
    sampler_close(&b);
    return e;
}
