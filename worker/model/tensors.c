#include "worker/model/tensors.h"

#include <stdio.h>
#include <string.h>

#include "common/base/log.h"

// "[3, 4]" into text; cut where it ends.
static void print_shape(char *text, size_t bytes, uint32_t rank, const uint64_t *shape)
{
    size_t used = 0;
    for (uint32_t i = 0; i < rank && used < bytes; i++)
        used += (size_t) snprintf(text + used, bytes - used, "%s%llu", i ? ", " : "",
                                  (unsigned long long) shape[i]);
    if (rank == 0)
        text[0] = 0;
}

enum err tensor_require(struct tensor_source *s, struct tensor_view *out, const char *name,
                        uint32_t rank, const uint64_t *shape)
{
    const char *source = s->name ? s->name : "the model";
    struct tensor_view t;
    const enum err e = s->find(s, name, &t);
    if (e == ERR_MISSING) {
        log_error("%s: it has no tensor %s", source, name);
        return ERR_INPUT;
    }
    if (e)
        return e;
    if (t.rank != rank || memcmp(t.shape, shape, rank * sizeof(*shape)) != 0) {
        char is[96], should[96];
        print_shape(is, sizeof(is), t.rank, t.shape);
        print_shape(should, sizeof(should), rank, shape);
        log_error("%s: its tensor %s has the shape [%s], not [%s]", source, name, is, should);
        return ERR_INPUT;
    }
    if (t.dtype != DTYPE_F32 && t.dtype != DTYPE_F16) {
        log_error("%s: its tensor %s is %s, not F32 or F16", source, name, dtype_name(t.dtype));
        return ERR_INPUT;
    }
    *out = t;
    return ERR_OK;
}

const char *model_part_name(enum model_part p)
{
    static const char *const names[PART_COUNT] = {
        [PART_VISUAL] = "visual encoder",
        [PART_DECODER] = "decoder",
        [PART_CODEC_DECODER] = "codec decoder",
        [PART_CODEC_ENCODER] = "codec encoder",
    };
    return names[p];
}

bool tensor_spec_keeps_f32(const struct tensor_spec *spec)
{
    return spec->rank < 2 || !strncmp(spec->name, "codec.quantizer.", 16);
}

// One pass over a model's tensors. The first error sticks, and everything
// after it does nothing, so that the lists below read as lists.
struct walk {
    enum err (*visit)(void *context, const struct tensor_spec *spec);
    void *context;
    enum err error;
    enum model_part part;
    char prefix[128]; // of the names to come
};

static void enter(struct walk *w, const char *prefix)
{
    snprintf(w->prefix, sizeof(w->prefix), "%s", prefix);
}

static void enter_layer(struct walk *w, const char *before, uint32_t i, const char *after)
{
    snprintf(w->prefix, sizeof(w->prefix), "%s%u%s", before, i, after);
}

// A tensor of 1 to 4 extents; those from the first 0 on are absent.
static void visit(struct walk *w, const char *name, uint64_t a, uint64_t b, uint64_t c,
                  uint64_t d)
{
    if (w->error)
        return;
    struct tensor_spec spec = { .part = w->part, .shape = { a, b, c, d } };
    while (spec.rank < 4 && spec.shape[spec.rank])
        spec.rank++;
    snprintf(spec.name, sizeof(spec.name), "%s%s", w->prefix, name);
    w->error = w->visit(w->context, &spec);
}

static void visit_pair(struct walk *w, const char *weight, const char *bias, uint64_t rows,
                       uint64_t columns)
{
    visit(w, weight, rows, columns, 0, 0);
    visit(w, bias, rows, 0, 0, 0);
}

static void visit_attention(struct walk *w, const char *name, uint64_t width)
{
    char weight[64], bias[64];
    snprintf(weight, sizeof(weight), "%s.in_proj_weight", name);
    snprintf(bias, sizeof(bias), "%s.in_proj_bias", name);
    visit_pair(w, weight, bias, 3 * width, width);
    snprintf(weight, sizeof(weight), "%s.out_proj.weight", name);
    snprintf(bias, sizeof(bias), "%s.out_proj.bias", name);
    visit_pair(w, weight, bias, width, width);
}

#define VISUAL "condition_provider.conditioners.visual_content."

static void visit_vit(struct walk *w, const struct vit_config *c, uint64_t queries)
{
    const uint64_t grid = c->image / c->patch;
    enter(w, VISUAL "clip.visual.");
    visit(w, "class_embedding", c->width, 0, 0, 0);
    visit(w, "positional_embedding", 1 + grid * grid, c->width, 0, 0);
    visit(w, "query_tokens", 1, queries, c->width, 0);
    visit(w, "conv1.weight", c->width, 3, c->patch, c->patch);
    visit_pair(w, "ln_pre.weight", "ln_pre.bias", c->width, 0);
    for (uint32_t i = 0; i < c->layers; i++) {
        enter_layer(w, VISUAL "clip.visual.transformer.resblocks.", i, ".");
        visit_pair(w, "ln_1.weight", "ln_1.bias", c->width, 0);
        visit_attention(w, "attn", c->width);
        visit_pair(w, "ln_2.weight", "ln_2.bias", c->width, 0);
        visit_pair(w, "mlp.c_fc.weight", "mlp.c_fc.bias", c->hidden, c->width);
        visit_pair(w, "mlp.c_proj.weight", "mlp.c_proj.bias", c->width, c->hidden);
    }
}

static void visit_qformer(struct walk *w, const struct qformer_config *c, uint64_t width)
{
    enter(w, VISUAL "clip.visual.qformer.");
    visit_pair(w, "layernorm.weight", "layernorm.bias", width, 0);
    for (uint32_t i = 0; i < c->layers; i++) {
        enter_layer(w, VISUAL "clip.visual.qformer.encoder.layer.", i, ".");
        visit_attention(w, "attention", width);
        visit_pair(w, "self_output.dense.weight", "self_output.dense.bias", width, width);
        visit_pair(w, "self_output.LayerNorm.weight", "self_output.LayerNorm.bias", width, 0);
        if (c->cross[i]) {
            visit_attention(w, "crossattention", width);
            visit_pair(w, "cross_output.dense.weight", "cross_output.dense.bias", width, width);
            visit_pair(w, "cross_output.LayerNorm.weight", "cross_output.LayerNorm.bias", width,
                       0);
        }
        visit_pair(w, "intermediate_query.dense.weight", "intermediate_query.dense.bias",
                   c->hidden, width);
        visit_pair(w, "output_query.dense.weight", "output_query.dense.bias", width, c->hidden);
        visit_pair(w, "output_query.LayerNorm.weight", "output_query.LayerNorm.bias", width, 0);
    }
}

static void visit_visual(struct walk *w, const struct model_config *c)
{
    visit_vit(w, &c->vit, c->qformer.queries);
    visit_qformer(w, &c->qformer, c->vit.width);
    enter(w, VISUAL);
    visit_pair(w, "clip.visual.ln_post.weight", "clip.visual.ln_post.bias", c->vit.width, 0);
    visit(w, "clip.visual.proj", c->vit.width, c->vit.out, 0, 0);
    visit_pair(w, "output_proj.weight", "output_proj.bias", c->lm.dim, c->vit.out);
}

static void visit_lm(struct walk *w, const struct lm_config *c)
{
    for (uint32_t k = 0; k < c->codebooks; k++) {
        enter_layer(w, "emb.", k, ".");
        visit(w, "weight", c->card + 1, c->dim, 0, 0);
    }
    for (uint32_t i = 0; i < c->layers; i++) {
        enter_layer(w, "transformer.layers.", i, ".");
        visit_pair(w, "norm1.weight", "norm1.bias", c->dim, 0);
        visit(w, "self_attn.in_proj_weight", 3ull * c->dim, c->dim, 0, 0);
        visit(w, "self_attn.out_proj.weight", c->dim, c->dim, 0, 0);
        visit_pair(w, "norm_cross.weight", "norm_cross.bias", c->dim, 0);
        visit(w, "cross_attention.in_proj_weight", 3ull * c->dim, c->dim, 0, 0);
        visit(w, "cross_attention.out_proj.weight", c->dim, c->dim, 0, 0);
        visit_pair(w, "norm2.weight", "norm2.bias", c->dim, 0);
        visit(w, "linear1.weight", c->hidden, c->dim, 0, 0);
        visit(w, "linear2.weight", c->dim, c->hidden, 0, 0);
    }
    enter(w, "out_norm.");
    visit_pair(w, "weight", "bias", c->dim, 0);
    for (uint32_t k = 0; k < c->codebooks; k++) {
        enter_layer(w, "linears.", k, ".");
        visit(w, "weight", c->card, c->dim, 0, 0);
    }
}

#define ENCODER "codec.encoder.model."
#define DECODER "codec.decoder.model."

static void visit_conv(struct walk *w, const char *half, uint32_t layer, uint64_t out,
                       uint64_t in, uint64_t kernel)
{
    enter_layer(w, half, layer, ".conv.");
    visit(w, "weight", out, in, kernel, 0);
    visit(w, "bias", out, 0, 0, 0);
}

static void visit_block(struct walk *w, const char *half, uint32_t layer, uint64_t channels,
                        const struct codec_config *c)
{
    const uint64_t hidden = channels / c->compress;
    enter_layer(w, half, layer, ".block.1.conv.");
    visit(w, "weight", hidden, channels, c->residual_kernel, 0);
    visit(w, "bias", hidden, 0, 0, 0);
    enter_layer(w, half, layer, ".block.3.conv.");
    visit(w, "weight", channels, hidden, 1, 0);
    visit(w, "bias", channels, 0, 0, 0);
}

static void visit_lstm(struct walk *w, const char *half, uint32_t layer, uint64_t width,
                       uint32_t layers)
{
    for (uint32_t l = 0; l < layers; l++) {
        char name[32];
        enter_layer(w, half, layer, ".lstm.");
        snprintf(name, sizeof(name), "weight_ih_l%u", l);
        visit(w, name, 4 * width, width, 0, 0);
        snprintf(name, sizeof(name), "weight_hh_l%u", l);
        visit(w, name, 4 * width, width, 0, 0);
        snprintf(name, sizeof(name), "bias_ih_l%u", l);
        visit(w, name, 4 * width, 0, 0, 0);
        snprintf(name, sizeof(name), "bias_hh_l%u", l);
        visit(w, name, 4 * width, 0, 0, 0);
    }
}

// Channels double at every downsampling, halve at every upsampling.
static void visit_codec_decoder(struct walk *w, const struct codec_config *c)
{
    uint64_t channels = (uint64_t) c->filters << c->ratio_count;
    for (uint32_t k = 0; k < c->codebooks; k++) {
        enter_layer(w, "codec.quantizer.", k, ".");
        visit(w, "embed", c->bins, c->dimension, 0, 0);
    }
    visit_conv(w, DECODER, 0, channels, c->dimension, c->kernel);
    visit_lstm(w, DECODER, 1, channels, c->lstm_layers);
    for (uint32_t i = 0; i < c->ratio_count; i++, channels /= 2) {
        enter_layer(w, DECODER, 3 + 3 * i, ".convtr.");
        visit(w, "weight", channels, channels / 2, 2ull * c->ratios[i], 0);
        visit(w, "bias", channels / 2, 0, 0, 0);
        visit_block(w, DECODER, 4 + 3 * i, channels / 2, c);
    }
    visit_conv(w, DECODER, 3 + 3 * c->ratio_count, c->channels, channels, c->last_kernel);
}

static void visit_codec_encoder(struct walk *w, const struct codec_config *c)
{
    uint64_t channels = c->filters;
    visit_conv(w, ENCODER, 0, channels, c->channels, c->kernel);
    for (uint32_t i = 0; i < c->ratio_count; i++, channels *= 2) {
        const uint32_t ratio = c->ratios[c->ratio_count - 1 - i];
        visit_block(w, ENCODER, 1 + 3 * i, channels, c);
        visit_conv(w, ENCODER, 3 + 3 * i, 2 * channels, channels, 2ull * ratio);
    }
    visit_lstm(w, ENCODER, 1 + 3 * c->ratio_count, channels, c->lstm_layers);
    visit_conv(w, ENCODER, 3 + 3 * c->ratio_count, c->dimension, channels, c->last_kernel);
}

enum err model_tensors_each(const struct model_config *c,
                            enum err (*on_tensor)(void *context,
                                                  const struct tensor_spec *spec),
                            void *context)
{
    struct walk w = { .visit = on_tensor, .context = context };
    w.part = PART_VISUAL;
    visit_visual(&w, c);
    w.part = PART_DECODER;
    visit_lm(&w, &c->lm);
    w.part = PART_CODEC_DECODER;
    visit_codec_decoder(&w, &c->codec);
    w.part = PART_CODEC_ENCODER;
    visit_codec_encoder(&w, &c->codec);
    return w.error;
}
