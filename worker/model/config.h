// config: every size of a model. All of them come from its checkpoint; none is
// assumed anywhere else.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

#define MODEL_MAX_CODEBOOKS 16
#define MODEL_MAX_RATIOS 8
#define MODEL_MAX_QFORMER_LAYERS 64
// lavapipe ends a shader's loops after 65,535 rounds; sample.comp makes 21 for 16
// tokens where subgroups are 4 wide.
#define MODEL_MAX_CARD 49152u

// How the codec fills the samples before the first and after the last.
enum pad_mode { PAD_CONSTANT, PAD_REFLECT };

struct vit_config {
    uint32_t width; // w
    uint32_t heads; // w / 64, rounded down: a head is 64 wide, or somewhat wider
    uint32_t layers;
    uint32_t hidden; // of the MLP
    uint32_t patch;  // pixels along a side
    uint32_t image;  // R: pixels along a side
    uint32_t out;    // features per frame
};

struct qformer_config {
    uint32_t queries; // Q
    uint32_t layers;
    uint32_t hidden;                      // of the dense pair
    bool cross[MODEL_MAX_QFORMER_LAYERS]; // which layers look at the picture
    float epsilon;                        // of every LayerNorm in it
};

struct lm_config {
    uint32_t dim, heads, layers;
    uint32_t hidden;    // of linear1
    uint32_t card;      // tokens in a codebook; `card` itself is the special token
    uint32_t codebooks; // K
    uint32_t delays[MODEL_MAX_CODEBOOKS];
    // The checkpoint's own way to sample; the command line may say otherwise.
    float guidance; // classifier_free_guidance.inference_coef
    float temperature;
    uint32_t top_k;
    float top_p;           // > 0 wins over top_k
    double max_duration_s; // dataset.segment_duration
    bool cross_positions;  // fuser.cross_attention_pos_emb
    float cross_position_scale;
};

struct codec_config {
    uint32_t sample_rate; // Hz
    uint32_t channels;
    uint32_t filters;
    uint32_t dimension; // D of the latent
    uint32_t bins, codebooks;
    uint32_t ratios[MODEL_MAX_RATIOS]; // decoder order; their product is the hop
    uint32_t ratio_count;
    uint32_t kernel, last_kernel, residual_kernel;
    uint32_t compress;
    uint32_t lstm_layers;
    enum pad_mode pad;
};

struct model_config {
    struct vit_config vit;
    struct qformer_config qformer;
    struct lm_config lm;
    struct codec_config codec;
    double frames_per_s; // film frames the visual encoder is shown in a second
};

// Samples per token column: the product of the ratios.
uint32_t codec_hop(const struct codec_config *c);

// Token columns in a second: sample_rate / hop (50 for the published codec).
double codec_frame_rate(const struct codec_config *c);

// int(seconds * frame_rate), as the published code counts.
uint32_t codec_columns(const struct codec_config *c, double seconds);

// Every size positive, within what the code can address, and consistent with
// the others. ERR_INPUT logs the first that is not.
ERR_CHECKED enum err model_config_check(const struct model_config *c);

// A published size: "tiny", "small" or "large". ERR_USAGE when the name is
// another.
ERR_CHECKED enum err model_config_preset(struct model_config *out, const char *name);
