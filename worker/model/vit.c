#include "worker/model/vit.h"

#include <stdlib.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/ops/attention.h"
#include "worker/ops/layernorm.h"
#include "worker/ops/patchify.h"

#define VISUAL "condition_provider.conditioners.visual_content.clip.visual."
#define EPSILON 1e-5f // of CLIP's LayerNorms

static uint32_t token_count(const struct vit_config *c)
{
    const uint32_t grid = c->image / c->patch;
    return 1 + grid * grid;
}

// Elements from one patch to the next, and from one row of the MLP to the next:
// rows start at whole texels, of halves too.
static uint32_t patch_stride(const struct vit_config *c)
{
    return (uint32_t) round_up((uint64_t) 3 * c->patch * c->patch, 8);
}

static uint32_t hidden_stride(const struct vit_config *c)
{
    return (uint32_t) round_up(c->hidden, 8);
}

// The class token's row gets its embedding from the positions: its patch is zeros.
static struct span load_embed(struct loader *l, uint32_t tokens, uint32_t width)
{
    struct span s = { 0 };
    float *class = load_floats(l, "class_embedding", 1, (const uint64_t[]){ width });
    float *embed =
        load_floats(l, "positional_embedding", 2, (const uint64_t[]){ tokens, width });
    const uint64_t bytes = (uint64_t) tokens * width * sizeof(*embed);
    if (!l->error)
        l->error = arena_alloc_texels(l->arena, bytes, &s);
    if (!l->error) {
        for (uint32_t i = 0; i < width; i++)
            embed[i] += class[i];
        l->error = span_upload(l->device, s, 0, embed, bytes);
    }
    free(class);
    free(embed);
    return s;
}

static void load_block(struct vit_block *b, struct loader *l, const struct vit_config *c)
{
    b->ln_1 = load_norm(l, "ln_1", c->width);
    b->in_proj =
        load_matrix(l, "attn.in_proj_weight", "attn.in_proj_bias", 3 * c->width, c->width);
    b->out_proj =
        load_matrix(l, "attn.out_proj.weight", "attn.out_proj.bias", c->width, c->width);
    b->ln_2 = load_norm(l, "ln_2", c->width);
    b->c_fc = load_matrix(l, "mlp.c_fc.weight", "mlp.c_fc.bias", c->hidden, c->width);
    b->c_proj = load_matrix(l, "mlp.c_proj.weight", "mlp.c_proj.bias", c->width, c->hidden);
}

void vit_load(struct vit *v, struct loader *l, const struct model_config *model)
{
    const struct vit_config *c = &model->vit;
    *v = (struct vit){ .config = *c, .tokens = token_count(c) };
    v->blocks = calloc(c->layers, sizeof(*v->blocks));
    if (!v->blocks) {
        log_error("out of memory for the visual encoder's layers");
        l->error = ERR_NOMEM;
        return;
    }
    loader_enter(l, VISUAL);
    v->embed = load_embed(l, v->tokens, c->width);
    v->conv1 = load_reshaped(l, "conv1.weight", 4,
                             (const uint64_t[]){ c->width, 3, c->patch, c->patch }, c->width,
                             3 * c->patch * c->patch);
    v->ln_pre = load_norm(l, "ln_pre", c->width);
    for (uint32_t i = 0; i < c->layers && !l->error; i++) {
        loader_enter(l, VISUAL "transformer.resblocks.%u.", i);
        load_block(&v->blocks[i], l, c);
    }
}

void vit_finish(struct vit *v)
{
    free(v->blocks);
    *v = (struct vit){ 0 };
}

uint64_t vit_token_bytes(const struct vit_config *c, uint32_t frames)
{
    return (uint64_t) frames * token_count(c) * c->width * sizeof(float);
}

// Holds the patches, then the queries, keys and values, then the MLP's inside.
uint64_t vit_wide_bytes(const struct vit_config *c, uint32_t frames)
{
    uint32_t widest = 3 * c->width;
    if (widest < patch_stride(c))
        widest = patch_stride(c);
    if (widest < hidden_stride(c))
        widest = hidden_stride(c);
    return (uint64_t) frames * token_count(c) * widest * sizeof(float);
}

static struct attention self_attention(const struct vit_config *c, uint32_t frames)
{
    return (struct attention){ .batches = frames,
                               .heads = c->heads,
                               .dims = c->width / c->heads,
                               .queries = token_count(c),
                               .keys = token_count(c) };
}

uint64_t vit_attention_bytes(const struct device *d, const struct vit_config *c,
                             uint32_t frames)
{
    const struct attention a = self_attention(c, frames);
    return attention_scratch_bytes(d, &a);
}

// x = patches conv1^T, with or without what is added to it.
static void record_conv1(const struct vit *v, struct stream *s,
                         const struct vit_scratch *scratch, bool embed, uint32_t frames)
{
    for (uint32_t i = 0; i < frames; i++)
        op_matmul(s, &(struct matmul){
                         .w = &v->conv1,
                         .x = scratch->wide,
                         .y = scratch->x,
                         .rows = v->tokens,
                         .x_offset = i * v->tokens * patch_stride(&v->config),
                         .x_stride = patch_stride(&v->config),
                         .y_offset = i * v->tokens * v->config.width,
                         .residual = embed ? v->embed : (struct span){ 0 },
                     });
}

static void show_tokens(const struct vit *v, const struct watch *w, struct span x,
                        uint32_t frames, const char *name)
{
    watch_show(w, &(struct watched){ x, 3, { frames, v->tokens, v->config.width }, 0 }, "%s",
               name);
}

// [tokens][width] -> [width][patches], without the class token.
static void turn(float *to, const float *from, uint32_t tokens, uint32_t width)
{
    for (uint32_t c = 0; c < width; c++)
        for (uint32_t t = 1; t < tokens; t++)
            *to++ = from[t * width + c];
}

// vis.conv1 is [frames, width, grid, grid]. Made apart, for the pass itself adds
// the embedding at once.
static void show_conv1(const struct vit *v, const struct watch *w,
                       const struct vit_scratch *scratch, uint32_t frames)
{
    const uint32_t width = v->config.width, grid = v->config.image / v->config.patch;
    const uint64_t tokens = (uint64_t) v->tokens * width, patches = tokens - width;
    if (!w->probe)
        return;
    record_conv1(v, w->stream, scratch, false, frames);
    float *rows = watch_fetch(w, scratch->x, frames * tokens);
    float *turned = rows ? malloc(frames * patches * sizeof(*turned)) : NULL;
    for (uint32_t i = 0; turned && i < frames; i++)
        turn(turned + i * patches, rows + i * tokens, v->tokens, width);
    if (turned)
        watch_see(w, "vis.conv1", turned, 4, (const uint64_t[]){ frames, width, grid, grid });
    else if (rows)
        stream_fail(w->stream, ERR_NOMEM);
    free(rows);
    free(turned);
}

static void record_norm(const struct vit *v, struct stream *s, const struct norm *n,
                        struct span x, struct span y, uint32_t frames)
{
    op_layernorm(s, &(struct layernorm){
                        .x = x,
                        .y = y,
                        .gain = n->gain,
                        .bias = n->bias,
                        .rows = frames * v->tokens,
                        .cols = v->config.width,
                        .epsilon = EPSILON,
                    });
}

static void record_attention(const struct vit *v, struct stream *s,
                             const struct vit_scratch *scratch, uint32_t frames)
{
    const uint32_t width = v->config.width;
    struct attention a = self_attention(&v->config, frames);
    a.q = (struct attention_rows){ scratch->wide, 0, 3 * width, 0 };
    a.k = (struct attention_rows){ scratch->wide, width, 3 * width, 0 };
    a.v = (struct attention_rows){ scratch->wide, 2 * width, 3 * width, 0 };
    a.y = (struct attention_rows){ scratch->y, 0, 0, 0 };
    a.scratch = scratch->attention;
    op_attention(s, &a);
}

// x += out_proj(attention(ln_1 x)); x += c_proj(QuickGELU(c_fc(ln_2 x)))
static void record_block(const struct vit *v, const struct vit_block *b, struct stream *s,
                         const struct vit_scratch *scratch, uint32_t frames)
{
    const uint32_t rows = frames * v->tokens, hidden = hidden_stride(&v->config);
    const struct span x = scratch->x, y = scratch->y, wide = scratch->wide;
    record_norm(v, s, &b->ln_1, x, y, frames);
    op_matmul(s, &(struct matmul){ .w = &b->in_proj, .x = y, .y = wide, .rows = rows });
    record_attention(v, s, scratch, frames);
    op_matmul(
        s, &(struct matmul){ .w = &b->out_proj, .x = y, .y = x, .rows = rows, .residual = x });
    record_norm(v, s, &b->ln_2, x, y, frames);
    op_matmul(s, &(struct matmul){ .w = &b->c_fc,
                                   .x = y,
                                   .y = wide,
                                   .rows = rows,
                                   .y_stride = hidden,
                                   .activation = ACTIVATION_QUICKGELU });
    op_matmul(s, &(struct matmul){ .w = &b->c_proj,
                                   .x = wide,
                                   .y = x,
                                   .rows = rows,
                                   .x_stride = hidden,
                                   .residual = x });
}

void vit_record(const struct vit *v, const struct watch *w, const struct vit_scratch *scratch,
                struct span frames, bool normalised, uint32_t count)
{
    const struct vit_config *c = &v->config;
    op_patchify(w->stream, &(struct patchify){
                               .frames_in = frames,
                               .normalised = normalised,
                               .y = scratch->wide,
                               .frames = count,
                               .image = c->image,
                               .patch = c->patch,
                               .y_stride = patch_stride(c),
                           });
    show_conv1(v, w, scratch, count);
    record_conv1(v, w->stream, scratch, true, count);
    show_tokens(v, w, scratch->x, count, "vis.embed");
    record_norm(v, w->stream, &v->ln_pre, scratch->x, scratch->x, count);
    show_tokens(v, w, scratch->x, count, "vis.ln_pre");
    for (uint32_t i = 0; i < c->layers; i++) {
        record_block(v, &v->blocks[i], w->stream, scratch, count);
        watch_show(w, &(struct watched){ scratch->x, 3, { count, v->tokens, c->width }, 0 },
                   "vis.block%u", i);
    }
}
