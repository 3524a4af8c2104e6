#include "worker/weights/import_sizes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/log.h"

#define VISUAL "condition_provider.conditioners.visual_content.clip.visual."

// ---- settings that must be as this program computes

struct rule {
    const char *path;
    const char *allowed; // alternatives between '|'; an absent setting is fine
};

static const struct rule lm_rules[] = {
    { "lm_model", "transformer_lm" },
    { "transformer_lm.activation", "gelu" },
    { "transformer_lm.norm", "layer_norm" },
    { "transformer_lm.norm_first", "true" },
    { "transformer_lm.bias_ff", "false" },
    { "transformer_lm.bias_attn", "false" },
    { "transformer_lm.bias_proj", "false" },
    { "transformer_lm.past_context", "null" },
    { "transformer_lm.causal", "true" },
    { "transformer_lm.layer_scale", "null" },
    { "transformer_lm.positional_embedding", "sin" },
    { "transformer_lm.max_period", "10000" },
    { "transformer_lm.positional_scale", "1" },
    { "transformer_lm.xpos", "false" },
    { "transformer_lm.qk_layer_norm", "false" },
    { "transformer_lm.qk_layer_norm_cross", "false" },
    { "transformer_lm.kv_repeat", "1" },
    { "codebooks_pattern.modeling", "delay" },
    { "codebooks_pattern.delay.flatten_first", "0|null" },
    { "codebooks_pattern.delay.empty_initial", "0|null" },
    { "conditioners.visual_content.model", "video" },
    { "conditioners.visual_content.video.is_qformer", "true" },
    { "conditioners.visual_content.video.qformer.query_type", "mean" },
    { "fuser.cross", "visual_content" },
    { "fuser.sum", "|null" },
    { "fuser.prepend", "|null" },
    { "fuser.input_interpolate", "|null" },
    { NULL, NULL },
};

static const struct rule codec_rules[] = {
    { "compression_model", "encodec" },
    { "encodec.autoencoder", "seanet" },
    { "encodec.quantizer", "rvq" },
    { "encodec.causal", "false" },
    { "encodec.renormalize", "false" },
    { "seanet.causal", "false" },
    { "seanet.n_residual_layers", "1" },
    { "seanet.lstm", "1|2|3|4|5|6|7|8" },
    { "seanet.activation", "ELU" },
    { "seanet.activation_params.alpha", "1" },
    { "seanet.norm", "weight_norm|none" },
    { "seanet.true_skip", "true" },
    { "seanet.pad_mode", "constant|reflect" },
    { "seanet.decoder.final_activation", "null" },
    { "seanet.decoder.trim_right_ratio", "1" },
    { NULL, NULL },
};

static bool is_number(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == 0;
}

static bool same_value(const char *a, const char *b)
{
    double x, y;
    if (is_number(a, &x) && is_number(b, &y))
        return x == y;
    return !strcasecmp(a, b);
}

static bool is_allowed(const char *value, const char *allowed)
{
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", allowed);
    char *rest = copy;
    for (const char *one; (one = strsep(&rest, "|"));)
        if (same_value(value, one))
            return true;
    return false;
}

static enum err check_rules(const struct rule *rules, const struct xp_cfg *c, const char *path)
{
    for (const struct rule *r = rules; r->path; r++) {
        char value[128];
        bool present;
        const enum err e = xp_cfg_text(c, r->path, value, sizeof(value), &present);
        if (e)
            return e;
        if (present && !is_allowed(value, r->allowed)) {
            log_error("%s: %s is '%s'; this program computes only with '%s'", path, r->path,
                      value, r->allowed);
            return ERR_INPUT;
        }
    }
    return ERR_OK;
}

// ---- sizes from tensors

static enum err find(const struct import_sources *s, const char *name, struct tensor_view *out)
{
    return s->tensors->find(s->tensors, name, out);
}

// Extent `axis` of a tensor of this rank.
static enum err extent(const struct import_sources *s, const char *name, uint32_t rank,
                       uint32_t axis, uint32_t *out)
{
    struct tensor_view t;
    const enum err e = find(s, name, &t);
    const char *path = strncmp(name, "codec.", 6) ? s->lm_path : s->codec_path;
    if (e == ERR_MISSING) {
        log_error("%s: there is no tensor for %s", path, name);
        return ERR_INPUT;
    }
    if (e)
        return e;
    if (t.rank != rank || t.shape[axis] == 0 || t.shape[axis] > UINT32_MAX) {
        log_error("%s: the tensor for %s has a senseless shape", path, name);
        return ERR_INPUT;
    }
    *out = (uint32_t) t.shape[axis];
    return ERR_OK;
}

struct measure {
    uint32_t *out;
    const char *name;
    uint32_t rank, axis;
};

static enum err take_measures(const struct import_sources *s, const struct measure *m,
                              size_t count)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++)
        e = extent(s, m[i].name, m[i].rank, m[i].axis, m[i].out);
    return e;
}

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

// How many of a row of tensors there are: "before0after", "before1after", ...
static uint32_t count_tensors(const struct import_sources *s, const char *before, uint32_t step,
                              uint32_t first, const char *after)
{
    for (uint32_t n = 0; n < 1024; n++) {
        char name[2 * TENSOR_NAME_MAX];
        struct tensor_view unused;
        snprintf(name, sizeof(name), "%s%u%s", before, first + n * step, after);
        if (find(s, name, &unused) != ERR_OK)
            return n;
    }
    return 1024;
}

static enum err measure_visual(struct model_config *c, const struct import_sources *s)
{
    struct vit_config *v = &c->vit;
    uint32_t positions;
    const struct measure measures[] = {
        { &v->width, VISUAL "conv1.weight", 4, 0 },
        { &v->patch, VISUAL "conv1.weight", 4, 2 },
        { &v->out, VISUAL "proj", 2, 1 },
        { &v->hidden, VISUAL "transformer.resblocks.0.mlp.c_fc.weight", 2, 0 },
        { &positions, VISUAL "positional_embedding", 2, 0 },
        { &c->qformer.queries, VISUAL "query_tokens", 3, 1 },
        { &c->qformer.hidden, VISUAL "qformer.encoder.layer.0.intermediate_query.dense.weight",
          2, 0 },
    };
    const enum err e = take_measures(s, measures, COUNT_OF(measures));
    if (e)
        return e;
    const uint32_t grid = (uint32_t) lrint(sqrt(positions - 1.0));
    if ((uint64_t) grid * grid + 1 != positions || v->patch > 4096 || grid > 4096) {
        log_error("%s: %u positions are no square of patches and a class", s->lm_path,
                  positions);
        return ERR_INPUT;
    }
    v->image = grid * v->patch;
    v->heads = v->width / 64;
    v->layers = count_tensors(s, VISUAL "transformer.resblocks.", 1, 0, ".ln_1.weight");
    c->qformer.layers =
        count_tensors(s, VISUAL "qformer.encoder.layer.", 1, 0, ".attention.in_proj_weight");
    return ERR_OK;
}

static void find_cross_layers(struct qformer_config *q, const struct import_sources *s)
{
    for (uint32_t i = 0; i < q->layers && i < MODEL_MAX_QFORMER_LAYERS; i++) {
        char name[TENSOR_NAME_MAX];
        struct tensor_view unused;
        snprintf(name, sizeof(name),
                 VISUAL "qformer.encoder.layer.%u.crossattention.in_proj_weight", i);
        q->cross[i] = find(s, name, &unused) == ERR_OK;
    }
}

static enum err measure_lm(struct lm_config *c, const struct import_sources *s)
{
    const struct measure measures[] = {
        { &c->dim, "emb.0.weight", 2, 1 },
        { &c->card, "linears.0.weight", 2, 0 },
        { &c->hidden, "transformer.layers.0.linear1.weight", 2, 0 },
    };
    c->codebooks = count_tensors(s, "emb.", 1, 0, ".weight");
    c->layers = count_tensors(s, "transformer.layers.", 1, 0, ".norm1.weight");
    return take_measures(s, measures, COUNT_OF(measures));
}

static enum err measure_ratios(struct codec_config *c, const struct import_sources *s)
{
    c->ratio_count = count_tensors(s, "codec.decoder.model.", 3, 4, ".block.1.conv.bias");
    if (c->ratio_count == 0 || c->ratio_count > MODEL_MAX_RATIOS) {
        log_error("%s: %u upsampling layers; this program computes with 1 to %u", s->codec_path,
                  c->ratio_count, MODEL_MAX_RATIOS);
        return ERR_INPUT;
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < c->ratio_count; i++) {
        char name[TENSOR_NAME_MAX];
        snprintf(name, sizeof(name), "codec.decoder.model.%u.convtr.weight", 3 + 3 * i);
        e = extent(s, name, 3, 2, &c->ratios[i]);
        c->ratios[i] /= 2; // kernels are two strides wide; the shapes are checked later
    }
    return e;
}

static enum err measure_codec(struct codec_config *c, const struct import_sources *s)
{
    enum err e = measure_ratios(c, s);
    if (e)
        return e;
    char last[TENSOR_NAME_MAX], lstm[TENSOR_NAME_MAX];
    snprintf(last, sizeof(last), "codec.encoder.model.%u.conv.weight", 3 + 3 * c->ratio_count);
    snprintf(lstm, sizeof(lstm), "codec.encoder.model.%u.lstm.weight_ih_l",
             1 + 3 * c->ratio_count);
    uint32_t hidden;
    const struct measure measures[] = {
        { &c->filters, "codec.encoder.model.0.conv.weight", 3, 0 },
        { &c->channels, "codec.encoder.model.0.conv.weight", 3, 1 },
        { &c->kernel, "codec.encoder.model.0.conv.weight", 3, 2 },
        { &c->residual_kernel, "codec.encoder.model.1.block.1.conv.weight", 3, 2 },
        { &hidden, "codec.encoder.model.1.block.1.conv.weight", 3, 0 },
        { &c->dimension, last, 3, 0 },
        { &c->last_kernel, last, 3, 2 },
        { &c->bins, "codec.quantizer.0.embed", 2, 0 },
    };
    e = take_measures(s, measures, COUNT_OF(measures));
    if (e)
        return e;
    c->compress = c->filters / hidden; // the settings know better where a rest is left
    c->lstm_layers = count_tensors(s, lstm, 1, 0, "");
    c->codebooks = count_tensors(s, "codec.quantizer.", 1, 0, ".embed");
    return ERR_OK;
}

// ---- settings that tensors do not tell

static enum err read_real(const struct xp_cfg *c, const char *path, float *out)
{
    double value = (double) *out;
    const enum err e = xp_cfg_real(c, path, &value);
    *out = (float) value;
    return e;
}

static enum err read_delays(struct lm_config *c, const struct xp_cfg *x, const char *path)
{
    uint32_t count = 0;
    const enum err e = xp_cfg_u32_list(x, "codebooks_pattern.delay.delays", c->delays,
                                       MODEL_MAX_CODEBOOKS, &count);
    if (e)
        return e;
    for (uint32_t k = 0; count == 0 && k < c->codebooks && k < MODEL_MAX_CODEBOOKS; k++)
        c->delays[k] = k; // the default
    if (count == 0 || count == c->codebooks)
        return ERR_OK;
    log_error("%s: %u delays for %u codebooks", path, count, c->codebooks);
    return ERR_INPUT;
}

static enum err read_lm_settings(struct model_config *c, const struct import_sources *s)
{
    struct lm_config *lm = &c->lm;
    *lm = (struct lm_config){ .dim = lm->dim,
                              .layers = lm->layers,
                              .hidden = lm->hidden,
                              .card = lm->card,
                              .codebooks = lm->codebooks,
                              .guidance = 3,
                              .temperature = 1,
                              .top_k = 250,
                              .max_duration_s = 30,
                              .cross_position_scale = 1 };
    c->qformer.epsilon = 1e-12f;
    enum err e = xp_cfg_u32(s->lm, "transformer_lm.num_heads", &lm->heads);
    if (!e)
        e = read_delays(lm, s->lm, s->lm_path);
    if (!e)
        e = read_real(s->lm, "classifier_free_guidance.inference_coef", &lm->guidance);
    if (!e)
        e = read_real(s->lm, "generate.lm.temp", &lm->temperature);
    if (!e)
        e = xp_cfg_u32(s->lm, "generate.lm.top_k", &lm->top_k);
    if (!e)
        e = read_real(s->lm, "generate.lm.top_p", &lm->top_p);
    if (!e)
        e = xp_cfg_real(s->lm, "dataset.segment_duration", &lm->max_duration_s);
    if (!e)
        e = xp_cfg_bool(s->lm, "fuser.cross_attention_pos_emb", &lm->cross_positions);
    if (!e)
        e = read_real(s->lm, "fuser.cross_attention_pos_emb_scale", &lm->cross_position_scale);
    if (!e)
        e = read_real(s->lm, "conditioners.visual_content.video.qformer.layer_norm_eps",
                      &c->qformer.epsilon);
    return e;
}

static enum err read_codec_settings(struct codec_config *c, const struct import_sources *s)
{
    c->pad = PAD_REFLECT; // what the published 32 kHz model has
    c->sample_rate = 32000;
    enum err e = xp_cfg_u32(s->lm, "sample_rate", &c->sample_rate);
    if (e || !s->codec)
        return e;
    char pad[32];
    bool present;
    e = xp_cfg_text(s->codec, "seanet.pad_mode", pad, sizeof(pad), &present);
    if (!e && present && !strcasecmp(pad, "constant"))
        c->pad = PAD_CONSTANT;
    if (!e)
        e = xp_cfg_u32(s->codec, "seanet.compress",
                       &c->compress); // the shapes are checked later
    return e ? e : xp_cfg_u32(s->codec, "sample_rate", &c->sample_rate);
}

// ---- what xp.cfg repeats

struct claim {
    const char *path;
    uint32_t measured;
};

static enum err check_claims(const struct claim *claims, size_t count, const struct xp_cfg *c,
                             const char *file)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t claimed = claims[i].measured;
        const enum err e = xp_cfg_u32(c, claims[i].path, &claimed);
        if (e)
            return e;
        if (claimed != claims[i].measured) {
            log_error("%s: its xp.cfg says %s is %u, the model's is %u", file, claims[i].path,
                      claimed, claims[i].measured);
            return ERR_INPUT;
        }
    }
    return ERR_OK;
}

static enum err check_lm_claims(const struct model_config *c, const struct import_sources *s)
{
    const struct claim claims[] = {
        { "transformer_lm.dim", c->lm.dim },
        { "transformer_lm.num_layers", c->lm.layers },
        { "transformer_lm.hidden_scale", c->lm.hidden / c->lm.dim },
        { "transformer_lm.n_q", c->lm.codebooks },
        { "transformer_lm.card", c->lm.card },
        { "conditioners.visual_content.video.qformer.query_num", c->qformer.queries },
        { "conditioners.visual_content.video.qformer.qformer_layers", c->qformer.layers },
        { "sample_rate", c->codec.sample_rate },
    };
    enum err e = check_claims(claims, COUNT_OF(claims), s->lm, s->lm_path);
    uint32_t every = 0; // layers i with i % every == 0 look at the picture
    if (!e)
        e = xp_cfg_u32(s->lm,
                       "conditioners.visual_content.video.qformer.cross_attention_frequency",
                       &every);
    for (uint32_t i = 0; !e && every && i < c->qformer.layers; i++)
        if (c->qformer.cross[i] != (i % every == 0)) {
            log_error("%s: its xp.cfg and its tensors disagree on which Q-Former layers have "
                      "cross-attention",
                      s->lm_path);
            e = ERR_INPUT;
        }
    return e;
}

static enum err check_codec_claims(const struct codec_config *c, const struct import_sources *s)
{
    const struct claim claims[] = {
        { "seanet.dimension", c->dimension },
        { "seanet.channels", c->channels },
        { "seanet.n_filters", c->filters },
        { "seanet.kernel_size", c->kernel },
        { "seanet.last_kernel_size", c->last_kernel },
        { "seanet.residual_kernel_size", c->residual_kernel },
        { "seanet.lstm", c->lstm_layers },
        { "rvq.bins", c->bins },
        { "rvq.n_q", c->codebooks },
        { "channels", c->channels },
        { "encodec.sample_rate", c->sample_rate },
    };
    enum err e = check_claims(claims, COUNT_OF(claims), s->codec, s->codec_path);
    uint32_t ratios[MODEL_MAX_RATIOS], count = 0;
    if (!e)
        e = xp_cfg_u32_list(s->codec, "seanet.ratios", ratios, MODEL_MAX_RATIOS, &count);
    if (!e && count &&
        (count != c->ratio_count || memcmp(ratios, c->ratios, count * sizeof(*ratios)) != 0)) {
        log_error("%s: its xp.cfg and its tensors disagree on the ratios", s->codec_path);
        e = ERR_INPUT;
    }
    return e;
}

enum err import_sizes(struct model_config *out, const struct import_sources *s)
{
    *out = (struct model_config){ .frames_per_s = 1 };
    enum err e = check_rules(lm_rules, s->lm, s->lm_path);
    if (!e && s->codec)
        e = check_rules(codec_rules, s->codec, s->codec_path);
    if (!e)
        e = measure_visual(out, s);
    if (!e)
        e = measure_lm(&out->lm, s);
    if (!e)
        e = measure_codec(&out->codec, s);
    if (!e)
        e = read_lm_settings(out, s);
    if (!e)
        e = read_codec_settings(&out->codec, s);
    if (e)
        return e;
    find_cross_layers(&out->qformer, s);
    e = check_lm_claims(out, s);
    if (!e && s->codec)
        e = check_codec_claims(&out->codec, s);
    if (out->codec.codebooks > out->lm.codebooks)
        out->codec.codebooks = out->lm.codebooks; // the decoder speaks no others
    return e ? e : model_config_check(out);
}
