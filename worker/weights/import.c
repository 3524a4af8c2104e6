#include "worker/weights/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/codec_names.h"
#include "worker/weights/import_sizes.h"
#include "worker/weights/xp_cfg.h"

struct model_import {
    struct tensor_source tensors; // first: `find` gets a pointer to it
    struct checkpoint *lm, *codec;
    enum codec_layout layout;
    struct model_config config;
    float *made;  // the tensor last asked for, when its data is not the file's
    float *gains; // of its weight norm
};

static enum err out_of_memory(const struct checkpoint *c)
{
    log_error("%s: out of memory", checkpoint_path(c));
    return ERR_NOMEM;
}

// ---- tensors under their canonical names

// w = g * v / |v|, the norm over all dimensions but the first, whose extent is
// g's: output channels of a convolution, input channels of a transposed one.
static void fold(const struct tensor_view *v, const float *gains, float *out)
{
    const uint64_t rows = v->shape[0], columns = tensor_elements(v) / rows;
    for (uint64_t r = 0; r < rows; r++) {
        double squares = 0;
        for (uint64_t i = r * columns; i < (r + 1) * columns; i++)
            squares += (double) tensor_at(v, i) * (double) tensor_at(v, i);
        const double scale = squares > 0 ? (double) gains[r] / sqrt(squares) : 0;
        for (uint64_t i = r * columns; i < (r + 1) * columns; i++)
            out[i] = (float) (scale * (double) tensor_at(v, i));
    }
}

// Put into *t, in F32, its own elements, or with gains their folded weight norm.
static enum err make(struct model_import *m, const struct checkpoint *c, const float *gains,
                     struct tensor_view *t)
{
    const uint64_t elements = tensor_elements(t);
    float *made = malloc((elements + 1) * sizeof(*made));
    if (!made)
        return out_of_memory(c);
    if (gains)
        fold(t, gains, made);
    else
        tensor_to_f32(t, 0, elements, made);
    free(m->made);
    m->made = made;
    t->dtype = DTYPE_F32;
    t->data = made;
    t->bytes = elements * sizeof(*made);
    return ERR_OK;
}

// The gains, kept because the next tensor asked for may take their place.
static enum err take_gains(struct model_import *m, const char *name, uint64_t *count)
{
    struct tensor_view g;
    const enum err e = checkpoint_find(m->codec, name, &g);
    if (e)
        return e;
    *count = tensor_elements(&g);
    free(m->gains);
    m->gains = malloc((*count + 1) * sizeof(*m->gains));
    if (!m->gains)
        return out_of_memory(m->codec);
    tensor_to_f32(&g, 0, *count, m->gains);
    return ERR_OK;
}

static enum err find_folded(struct model_import *m, const char *g, const char *v,
                            struct tensor_view *out)
{
    uint64_t gains;
    enum err e = take_gains(m, g, &gains);
    if (!e)
        e = checkpoint_find(m->codec, v, out);
    if (e)
        return e;
    const uint64_t elements = tensor_elements(out);
    if (out->rank != 3 || elements == 0 || gains != out->shape[0]) {
        log_error("%s: %s does not fit its gains", checkpoint_path(m->codec), v);
        return ERR_INPUT;
    }
    return make(m, m->codec, m->gains, out);
}

// As PyTorch's two ways of weight norm name them, or plain.
static enum err find_codec(struct model_import *m, const char *canonical,
                           struct tensor_view *out)
{
    char name[TENSOR_NAME_MAX], g[TENSOR_NAME_MAX + 32], v[TENSOR_NAME_MAX + 32];
    if (!codec_published_name(m->layout, canonical, name))
        return ERR_MISSING;
    enum err e = checkpoint_find(m->codec, name, out);
    const size_t length = strlen(name);
    if (e != ERR_MISSING || length < 7 || strcmp(name + length - 7, ".weight") != 0)
        return e;
    snprintf(g, sizeof(g), "%s_g", name);
    snprintf(v, sizeof(v), "%s_v", name);
    e = find_folded(m, g, v, out);
    if (e != ERR_MISSING)
        return e;
    const int module = (int) length - 7;
    snprintf(g, sizeof(g), "%.*s.parametrizations.weight.original0", module, name);
    snprintf(v, sizeof(v), "%.*s.parametrizations.weight.original1", module, name);
    return find_folded(m, g, v, out);
}

static enum err find(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    struct model_import *m = (struct model_import *) self;
    const bool codec = !strncmp(name, "codec.", 6);
    const enum err e = codec ? find_codec(m, name, out) : checkpoint_find(m->lm, name, out);
    if (!e && (out->dtype == DTYPE_BF16 || out->dtype == DTYPE_F64))
        return make(m, codec ? m->codec : m->lm, NULL, out);
    return e;
}

// ---- checks

static enum err find_layout(struct model_import *m)
{
    struct tensor_view unused;
    const char *path = checkpoint_path(m->codec);
    if (checkpoint_pretrained(m->codec)) {
        log_error(
            "%s: it holds no codec, only a pointer to %s; fetch "
            "https://huggingface.co/facebook/encodec_32khz/resolve/main/model.safetensors "
            "and give that file in its place",
            path, checkpoint_pretrained(m->codec));
        return ERR_INPUT;
    }
    if (checkpoint_find(m->codec, "encoder.model.0.conv.conv.bias", &unused) == ERR_OK)
        m->layout = LAYOUT_AUDIOCRAFT;
    else if (checkpoint_find(m->codec, "encoder.layers.0.conv.bias", &unused) == ERR_OK)
        m->layout = LAYOUT_TRANSFORMERS;
    else {
        log_error("%s: no EnCodec is in it (neither encoder.model.0 nor encoder.layers.0)",
                  path);
        return ERR_INPUT;
    }
    return ERR_OK;
}

static enum err parse_config(struct xp_cfg **out, const struct checkpoint *c, bool required)
{
    *out = NULL;
    const char *text = checkpoint_config(c);
    if (text)
        return xp_cfg_parse(out, checkpoint_path(c), text);
    if (!required)
        return ERR_OK;
    log_error("%s: it has no xp.cfg, which says how the model is built; give the exported "
              "state_dict.bin",
              checkpoint_path(c));
    return ERR_INPUT;
}

static enum err measure(struct model_import *m)
{
    struct xp_cfg *lm = NULL, *codec = NULL;
    enum err e = parse_config(&lm, m->lm, true);
    if (!e)
        e = parse_config(&codec, m->codec, m->layout == LAYOUT_AUDIOCRAFT);
    if (!e)
        e = import_sizes(&m->config,
                         &(struct import_sources){ .tensors = &m->tensors,
                                                   .lm_path = checkpoint_path(m->lm),
                                                   .codec_path = checkpoint_path(m->codec),
                                                   .lm = lm,
                                                   .codec = codec });
    xp_cfg_free(&lm);
    xp_cfg_free(&codec);
    return e;
}

static enum err check_tensor(void *context, const struct tensor_spec *spec)
{
    struct model_import *m = context;
    struct tensor_view t;
    m->tensors.name = checkpoint_path(strncmp(spec->name, "codec.", 6) ? m->lm : m->codec);
    return tensor_require(&m->tensors, &t, spec->name, spec->rank, spec->shape);
}

static bool contains(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

// Tensors that training needed and composing does not.
static bool is_dispensable(const char *name)
{
    static const char clip[] = "condition_provider.conditioners.visual_content.clip.";
    if (contains(name, "quantizer.")) // statistics, and codebooks the decoder does not speak
        return contains(name, "codebook.");
    return !strncmp(name, clip, sizeof(clip) - 1) && // CLIP's text half
           strncmp(name + sizeof(clip) - 1, "visual.", 7) != 0;
}

// A tensor nobody asked for is a part of the model this program would leave out.
static enum err check_unused(const struct checkpoint *c)
{
    for (uint32_t i = 0; i < checkpoint_count(c); i++)
        if (!checkpoint_used(c, i) && !is_dispensable(checkpoint_name(c, i))) {
            log_error("%s: it has a tensor %.150s, which this program does not compute with",
                      checkpoint_path(c), checkpoint_name(c, i));
            return ERR_INPUT;
        }
    return ERR_OK;
}

static enum err open_files(struct model_import *m, const char *lm_path, const char *codec_path)
{
    enum err e = checkpoint_open(&m->lm, lm_path);
    if (!e)
        e = checkpoint_open(&m->codec, codec_path);
    if (!e)
        e = find_layout(m);
    if (!e)
        e = measure(m);
    if (!e)
        e = model_tensors_each(&m->config, check_tensor, m);
    if (!e)
        e = check_unused(m->lm);
    if (!e)
        e = check_unused(m->codec);
    return e;
}

enum err model_import_open(struct model_import **out, const char *lm_path,
                           const char *codec_path)
{
    *out = NULL;
    struct model_import *m = calloc(1, sizeof(*m));
    if (!m) {
        log_error("%s: out of memory", lm_path);
        return ERR_NOMEM;
    }
    m->tensors = (struct tensor_source){ .find = find, .config = &m->config };
    const enum err e = open_files(m, lm_path, codec_path);
    if (e)
        model_import_close(&m);
    *out = m;
    return e;
}

void model_import_close(struct model_import **m)
{
    if (!*m)
        return;
    checkpoint_close(&(*m)->lm);
    checkpoint_close(&(*m)->codec);
    free((*m)->made);
    free((*m)->gains);
    free(*m);
    *m = NULL;
}

struct tensor_source *model_import_tensors(struct model_import *m)
{
    return &m->tensors;
}
