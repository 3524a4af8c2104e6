#include "worker/model/config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "common/base/log.h"

static uint64_t product_of_ratios(const struct codec_config *c) // 32^8 at most
{
    uint64_t hop = 1;
    for (uint32_t i = 0; i < c->ratio_count; i++)
        hop *= c->ratios[i];
    return hop;
}

uint32_t codec_hop(const struct codec_config *c)
{
    return (uint32_t) product_of_ratios(c); // fits once the configuration is checked
}

double codec_frame_rate(const struct codec_config *c)
{
    return (double) c->sample_rate / codec_hop(c);
}

uint32_t codec_columns(const struct codec_config *c, double seconds)
{
    return (uint32_t) (seconds * codec_frame_rate(c));
}

struct range {
    const char *name;
    uint32_t value, least, most;
};

static enum err check_ranges(const struct range *r, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (r[i].value < r[i].least || r[i].value > r[i].most) {
            log_error("model configuration: %s is %u, not within %u to %u", r[i].name,
                      r[i].value, r[i].least, r[i].most);
            return ERR_INPUT;
        }
    return ERR_OK;
}

static enum err refuse(const char *what)
{
    log_error("model configuration: %s", what);
    return ERR_INPUT;
}

static enum err check_visual(const struct vit_config *v, const struct qformer_config *q)
{
    const struct range ranges[] = {
        { "vit.width", v->width, 64, 8192 },
        { "vit.heads", v->heads, 1, 128 },
        { "vit.layers", v->layers, 1, 256 },
        { "vit.hidden", v->hidden, 1, 65536 },
        { "vit.patch", v->patch, 1, 256 },
        { "vit.image", v->image, 1, 2048 },
        { "vit.out", v->out, 1, 65536 },
        { "qformer.queries", q->queries, 1, 1024 },
        { "qformer.layers", q->layers, 1, MODEL_MAX_QFORMER_LAYERS },
        { "qformer.hidden", q->hidden, 1, 65536 },
    };
    const enum err e = check_ranges(ranges, sizeof(ranges) / sizeof(*ranges));
    if (e)
        return e;
    if (v->width / 64 != v->heads || v->width % v->heads)
        return refuse(
            "vit.heads is not vit.width / 64, rounded down, or does not divide the width");
    if (v->image % v->patch)
        return refuse("vit.image is not a multiple of vit.patch");
    if (v->image / v->patch > 128)
        return refuse("vit.image is more than 128 patches wide");
    if (!(q->epsilon > 0 && q->epsilon < 1))
        return refuse("qformer.epsilon is not between 0 and 1");
    return ERR_OK;
}

static enum err check_lm(const struct lm_config *c)
{
    const struct range ranges[] = {
        { "lm.dim", c->dim, 4, 16384 },
        { "lm.heads", c->heads, 1, 256 },
        { "lm.layers", c->layers, 1, 256 },
        { "lm.hidden", c->hidden, 1, 131072 },
        { "lm.card", c->card, 2, MODEL_MAX_CARD },
        { "lm.codebooks", c->codebooks, 1, MODEL_MAX_CODEBOOKS },
        { "lm.delays[0]", c->delays[0], 0, 0 },
        { "lm.top_k", c->top_k, 0, 1u << 20 },
    };
    const enum err e = check_ranges(ranges, sizeof(ranges) / sizeof(*ranges));
    if (e)
        return e;
    if (c->dim % 2 || c->dim % c->heads)
        return refuse("lm.dim is not even, or not a multiple of lm.heads");
    if (c->dim / c->heads > 256)
        return refuse("lm heads are wider than 256");
    for (uint32_t k = 1; k < c->codebooks; k++)
        if (c->delays[k] < c->delays[k - 1] || c->delays[k] > 64)
            return refuse("lm.delays fall, or exceed 64");
    if (!isfinite(c->guidance) || !isfinite(c->temperature) || !isfinite(c->top_p) ||
        !isfinite(c->cross_position_scale))
        return refuse("a sampling default is not a number");
    if (!(c->max_duration_s > 0 && c->max_duration_s <= 600))
        return refuse("lm.max_duration_s is not within 0 to 600");
    return ERR_OK;
}

static enum err check_codec(const struct codec_config *c)
{
    const struct range ranges[] = {
        { "codec.sample_rate", c->sample_rate, 1000, 384000 },
        { "codec.channels", c->channels, 1, 1 },
        { "codec.filters", c->filters, 1, 1024 },
        { "codec.dimension", c->dimension, 1, 8192 },
        { "codec.bins", c->bins, 2, MODEL_MAX_CARD },
        { "codec.codebooks", c->codebooks, 1, MODEL_MAX_CODEBOOKS },
        { "codec.ratio_count", c->ratio_count, 1, MODEL_MAX_RATIOS },
        { "codec.kernel", c->kernel, 1, 64 },
        { "codec.last_kernel", c->last_kernel, 1, 64 },
        { "codec.residual_kernel", c->residual_kernel, 1, 64 },
        { "codec.compress", c->compress, 1, c->filters },
        { "codec.lstm_layers", c->lstm_layers, 1, 8 },
        { "codec.pad", c->pad, PAD_CONSTANT, PAD_REFLECT },
    };
    const enum err e = check_ranges(ranges, sizeof(ranges) / sizeof(*ranges));
    if (e)
        return e;
    for (uint32_t i = 0; i < c->ratio_count; i++)
        if (c->ratios[i] < 1 || c->ratios[i] > 32)
            return refuse("a codec ratio is not within 1 to 32");
    if (product_of_ratios(c) > c->sample_rate)
        return refuse("the codec has less than one column in a second");
    if ((uint64_t) c->filters << c->ratio_count > 16384)
        return refuse("the codec is wider than 16384 channels");
    return ERR_OK;
}

enum err model_config_check(const struct model_config *c)
{
    enum err e = check_visual(&c->vit, &c->qformer);
    if (!e)
        e = check_lm(&c->lm);
    if (!e)
        e = check_codec(&c->codec);
    if (e)
        return e;
    if (c->lm.card != c->codec.bins || c->lm.codebooks != c->codec.codebooks)
        return refuse("the decoder and the codec disagree on the codebooks");
    if (!(c->frames_per_s > 0 && c->frames_per_s <= 60))
        return refuse("frames_per_s is not within 0 to 60");
    return ERR_OK;
}

static const struct codec_config encodec_32khz = {
    .sample_rate = 32000,
    .channels = 1,
    .filters = 64,
    .dimension = 128,
    .bins = 2048,
    .codebooks = 4,
    .ratios = { 8, 5, 4, 4 },
    .ratio_count = 4,
    .kernel = 7,
    .last_kernel = 7,
    .residual_kernel = 3,
    .compress = 2,
    .lstm_layers = 2,
    .pad = PAD_REFLECT,
};

static const struct lm_config published_lm = {
    .card = 2048,
    .codebooks = 4,
    .delays = { 0, 1, 2, 3 },
    .guidance = 3,
    .temperature = 1,
    .top_k = 250,
    .max_duration_s = 30,
    .cross_position_scale = 1,
};

// CLIP ViT-L/14@336px and the Q-Former on it, the decoder still to be sized.
static struct model_config published(uint32_t dim, uint32_t heads, uint32_t layers)
{
    struct model_config c = {
        .vit = { 1024, 16, 24, 4096, 14, 336, 768 },
        .qformer = { 16, 6, 2048, { [0] = true, [2] = true, [4] = true }, 1e-12f },
        .lm = published_lm,
        .codec = encodec_32khz,
        .frames_per_s = 1,
    };
    c.lm.dim = dim;
    c.lm.heads = heads;
    c.lm.layers = layers;
    c.lm.hidden = 4 * dim;
    return c;
}

static struct model_config tiny(void)
{
    struct model_config c = published(128, 4, 3);
    c.vit = (struct vit_config){ 128, 2, 3, 512, 14, 56, 96 };
    c.qformer.layers = 4;
    c.qformer.hidden = 256;
    c.qformer.cross[4] = false;
    c.lm.card = c.codec.bins = 64;
    c.codec.filters = 8;
    c.codec.dimension = 32;
    return c;
}

enum err model_config_preset(struct model_config *out, const char *name)
{
    if (!strcmp(name, "tiny"))
        *out = tiny();
    else if (!strcmp(name, "small"))
        *out = published(1024, 16, 24);
    else if (!strcmp(name, "large"))
        *out = published(1536, 24, 48);
    else {
        log_error("no preset '%s'; there are tiny, small and large", name);
        return ERR_USAGE;
    }
    return ERR_OK;
}
