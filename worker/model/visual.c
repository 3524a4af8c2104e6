#include "worker/model/visual.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/model/numbers.h"
#include "worker/model/qformer.h"
#include "worker/model/vit.h"
#include "worker/ops/layernorm.h"
#include "worker/ops/mean_rows.h"

#define VISUAL "condition_provider.conditioners.visual_content."
#define EPSILON 1e-5f              // of ln_post
#define WIDEST_BYTES (64ull << 20) // of a scratch span; the smallest device binds 128 MiB

struct visual {
    struct device *device;
    struct model_config config;
    struct probe *probe;
    uint32_t batch;
    struct arena *weights, *scratch;
    struct stream *stream;

    struct vit vit;
    struct qformer qformer;
    struct norm ln_post;
    struct matrix proj;        // [out, width]
    struct matrix output_proj; // [dim, out]

    struct span frames; // as the caller has them, one batch
    struct vit_scratch vit_scratch;
    struct qformer_scratch qformer_scratch;
    struct span pooled, post; // [batch][width]
    struct span features;     // [batch][out], rows features_stride() apart
    struct span condition;    // [batch][dim]
};

static uint32_t features_stride(const struct model_config *c)
{
    return (uint32_t) round_up(c->vit.out, 8); // rows start at whole texels
}

static uint64_t frame_numbers(const struct model_config *c)
{
    return 3ull * c->vit.image * c->vit.image;
}

static uint32_t choose_batch(const struct model_config *c, uint32_t max_frames, uint32_t asked)
{
    if (asked)
        return asked;
    uint32_t batch = max_frames && max_frames < VISUAL_BATCH ? max_frames : VISUAL_BATCH;
    while (batch > 1 && vit_wide_bytes(&c->vit, batch) > WIDEST_BYTES)
        batch--;
    return batch;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void load_weights(struct visual *v, struct loader *l)
{
    const struct model_config *c = &v->config;
    vit_load(&v->vit, l, c);
    qformer_load(&v->qformer, l, c);
    loader_enter(l, VISUAL);
    v->ln_post = load_norm(l, "clip.visual.ln_post", c->vit.width);
    v->proj = load_transposed(l, "clip.visual.proj", c->vit.out, c->vit.width);
    v->output_proj =
        load_matrix(l, "output_proj.weight", "output_proj.bias", c->lm.dim, c->vit.out);
}

// A scratch span. Zeroed, so that what stands between rows is finite for ever.
static void take(struct visual *v, enum err *e, struct span *out, uint64_t bytes)
{
    const uint64_t most = device_facts(v->device)->max_storage_range;
    if (!*e && bytes > most) {
        log_error("%s: the visual encoder needs %.1f MiB in one piece, the device binds %.1f",
                  device_facts(v->device)->name, (double) bytes / 0x1p20,
                  (double) most / 0x1p20);
        *e = ERR_DEVICE_MEM;
    }
    if (!*e)
        *e = arena_alloc_texels(v->scratch, bytes, out);
    if (!*e)
        *e = span_zero(v->device, *out);
}

static enum err make_scratch(struct visual *v)
{
    const struct model_config *c = &v->config;
    const uint32_t n = v->batch;
    struct vit_scratch *t = &v->vit_scratch;
    struct qformer_scratch *q = &v->qformer_scratch;
    enum err e =
        arena_create(&v->scratch, v->device, MEMORY_DEVICE, "the visual encoder's scratch");
    take(v, &e, &v->frames, n * frame_numbers(c) * sizeof(float));
    take(v, &e, &t->x, vit_token_bytes(&c->vit, n));
    take(v, &e, &t->y, vit_token_bytes(&c->vit, n));
    take(v, &e, &t->wide, larger(vit_wide_bytes(&c->vit, n), qformer_picture_bytes(c, n)));
    take(v, &e, &t->attention,
         larger(vit_attention_bytes(v->device, &c->vit, n),
                qformer_attention_bytes(v->device, c, n)));
    take(v, &e, &q->q, qformer_query_bytes(c, n));
    take(v, &e, &q->h, qformer_query_bytes(c, n));
    take(v, &e, &q->y, qformer_query_bytes(c, n));
    take(v, &e, &q->inner, qformer_inner_bytes(c, n));
    q->picture = t->wide;
    q->attention = t->attention;
    take(v, &e, &v->pooled, (uint64_t) n * c->vit.width * sizeof(float));
    take(v, &e, &v->post, (uint64_t) n * c->vit.width * sizeof(float));
    take(v, &e, &v->features, (uint64_t) n * features_stride(c) * sizeof(float));
    take(v, &e, &v->condition, (uint64_t) n * c->lm.dim * sizeof(float));
    return e;
}

enum err visual_open(struct visual **out, struct device *d, struct tensor_source *source,
                     const struct visual_params *p)
{
    *out = NULL;
    struct visual *v = calloc(1, sizeof(*v));
    if (!v) {
        log_error("out of memory for the visual encoder");
        return ERR_NOMEM;
    }
    v->device = d;
    v->config = *source->config;
    v->probe = p->probe;
    v->batch = choose_batch(&v->config, p->max_frames, p->batch);
    enum err e = stream_create(&v->stream, d);
    if (!e)
        e = arena_create(&v->weights, d, MEMORY_DEVICE, "the visual encoder's weights");
    if (e)
        goto fail;
    stream_label(v->stream, "visual encoder");
    struct loader l = { .device = d, .arena = v->weights, .source = source };
    load_weights(v, &l);
    e = l.error ? l.error : make_scratch(v);
    if (e)
        goto fail;
    *out = v;
    return ERR_OK;

fail:
    visual_close(&v);
    return e;
}

void visual_close(struct visual **vp)
{
    struct visual *v = *vp;
    if (!v)
        return;
    stream_destroy(&v->stream);
    arena_destroy(&v->scratch);
    arena_destroy(&v->weights);
    vit_finish(&v->vit);
    qformer_finish(&v->qformer);
    free(v);
    *vp = NULL;
}

static enum err add_weight(void *context, const struct tensor_spec *spec)
{
    uint64_t *elements = context; // [0] of vectors, [1] of matrices
    uint64_t n = 1;
    for (uint32_t i = 0; i < spec->rank; i++)
        n *= spec->shape[i];
    if (spec->part == PART_VISUAL)
        elements[!tensor_spec_keeps_f32(spec)] += round_up(n, 256);
    return ERR_OK;
}

// Scratch is counted for a device with the widest subgroups, where a head takes
// 64 numbers or 128; an arena's last block may be half empty.
uint64_t visual_bytes(const struct model_config *c, bool f16, uint32_t max_frames)
{
    const uint64_t block = 64ull << 20;
    const uint32_t n = choose_batch(c, max_frames, 0), grid = c->vit.image / c->vit.patch;
    const uint64_t tokens = round_up(1 + (uint64_t) grid * grid, 64);
    uint64_t elements[2] = { 0 };
    if (model_tensors_each(c, add_weight, elements))
        return UINT64_MAX;
    const uint64_t weights = elements[0] * 4 + elements[1] * (f16 ? 2 : 4);
    const uint64_t head = round_up(c->vit.width / c->vit.heads, 64);
    const uint64_t attention = 3 * tokens * n * c->vit.heads * head * sizeof(float);
    const uint64_t scratch =
        n * frame_numbers(c) * sizeof(float) + 2 * vit_token_bytes(&c->vit, n) +
        larger(vit_wide_bytes(&c->vit, n), qformer_picture_bytes(c, n)) + attention +
        3 * qformer_query_bytes(c, n) + qformer_inner_bytes(c, n);
    return round_up(weights, block) + round_up(scratch, block) + block;
}

// A vector of each frame, shown.
static void show(const struct watch *w, const char *name, struct span s, uint32_t frames,
                 uint32_t cols, uint32_t stride)
{
    watch_show(w, &(struct watched){ s, 2, { frames, cols }, stride }, "%s", name);
}

// From the queries' last state to the condition.
static void record_tail(struct visual *v, const struct watch *w, uint32_t n)
{
    const struct model_config *c = &v->config;
    struct stream *s = w->stream;
    op_mean_rows(s, &(struct mean_rows){ .x = v->qformer_scratch.q,
                                         .y = v->pooled,
                                         .batches = n,
                                         .rows = c->qformer.queries,
                                         .cols = c->vit.width });
    show(w, "vis.pooled", v->pooled, n, c->vit.width, 0);
    op_layernorm(s, &(struct layernorm){ .x = v->pooled,
                                         .y = v->post,
                                         .gain = v->ln_post.gain,
                                         .bias = v->ln_post.bias,
                                         .rows = n,
                                         .cols = c->vit.width,
                                         .epsilon = EPSILON });
    show(w, "vis.ln_post", v->post, n, c->vit.width, 0);
    op_matmul(s, &(struct matmul){ .w = &v->proj,
                                   .x = v->post,
                                   .y = v->features,
                                   .rows = n,
                                   .y_stride = features_stride(c) });
    show(w, "vis.features", v->features, n, c->vit.out, features_stride(c));
    op_matmul(s, &(struct matmul){ .w = &v->output_proj,
                                   .x = v->features,
                                   .y = v->condition,
                                   .rows = n,
                                   .x_stride = features_stride(c) });
    show(w, "vis.condition", v->condition, n, c->lm.dim, 0);
}

// One batch, its frames uploaded already.
static enum err run_batch(struct visual *v, bool normalised, uint32_t n, float *condition)
{
    const struct watch w = { v->stream, v->probe };
    vit_record(&v->vit, &w, &v->vit_scratch, v->frames, normalised, n);
    qformer_record(&v->qformer, &w, &v->qformer_scratch, v->vit_scratch.x, n);
    record_tail(v, &w, n);
    const uint64_t count = (uint64_t) n * v->config.lm.dim;
    enum err e = stream_run(v->stream);
    if (!e)
        e = span_download(v->device, v->condition, 0, condition, count * sizeof(float));
    // In the decoder's cache of halves a NaN may become a number like any other.
    return e ? e : numbers_check(v->device, "visual encoder", condition, count);
}

static enum err run(struct visual *v, const uint8_t *frames, uint64_t frame_bytes,
                    bool normalised, uint32_t count, float *condition)
{
    enum err e = ERR_OK;
    for (uint32_t done = 0; !e && done < count; done += v->batch) {
        const uint32_t n = count - done < v->batch ? count - done : v->batch;
        e = span_upload(v->device, v->frames, 0, frames + done * frame_bytes, n * frame_bytes);
        if (!e)
            e = run_batch(v, normalised, n, condition + (uint64_t) done * v->config.lm.dim);
    }
    return e;
}

uint32_t visual_batch(const struct visual *v)
{
    return v->batch;
}

enum err visual_run(struct visual *v, const uint8_t *frames, uint32_t count, float *condition)
{
    return run(v, frames, frame_numbers(&v->config), false, count, condition);
}

enum err visual_run_normalised(struct visual *v, const float *frames, uint32_t count,
                               float *condition)
{
    return run(v, (const uint8_t *) frames, frame_numbers(&v->config) * sizeof(float), true,
               count, condition);
}
