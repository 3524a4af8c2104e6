// decoder_weights: the language model's tensors on the device, as the decoder's
// passes want them. One thread, that of the device.
//
// Heads are padded with zeros to a width that is a multiple of 8, so that no
// kernel has a remainder to mind: scores and sums are unchanged by exact zeros.
// Rows of activations are padded likewise.
#pragma once

#include "worker/model/loader.h"

// transformer.layers.N; inner = heads * width.
struct decoder_layer {
    struct norm norm1, norm_cross, norm2;
    struct matrix self_in;   // self_attn.in_proj_weight: q, k, v [3 inner, dim]
    struct matrix self_out;  // self_attn.out_proj.weight [dim, inner]
    struct matrix cross_q;   // cross_attention.in_proj_weight, its q [inner, dim] ...
    struct matrix cross_kv;  // ... and its k, v [2 inner, dim]
    struct matrix cross_out; // cross_attention.out_proj.weight [dim, inner]
    struct matrix up;        // linear1.weight [hidden, dim]
    struct matrix down;      // linear2.weight [dim, hidden]
};

// Sizes that follow from a configuration.
struct decoder_shape {
    uint32_t width;           // of a padded head
    uint32_t inner;           // heads * width
    uint32_t dim_stride;      // elements of a row of activations
    uint32_t hidden_stride;   // likewise, between linear1 and linear2
    uint32_t codebook_stride; // elements of one codebook's logits
    uint32_t logit_stride;    // of a row of them: codebooks * codebook_stride
};

struct decoder_shape decoder_shape(const struct lm_config *c);

struct decoder_weights {
    bool f16;
    struct decoder_layer *layers;
    struct norm out_norm;
    struct matrix heads; // linears.K.weight, [K * codebook_stride, dim]
    struct span *tables; // emb.K.weight: [table_codebooks][card + 1][dim] in each
    uint32_t table_count, table_codebooks;
    struct span positions; // [positions][dim] f32, sin_embedding()
};

// Load everything into `a`; `positions`: how many the table has. Blocks. On
// failure *out is zeroed; the arena keeps what it got. ERR_INPUT (a tensor is
// missing or misshapen), ERR_DEVICE_MEM, ERR_NOMEM; logs.
ERR_CHECKED enum err decoder_weights_load(struct decoder_weights *out, struct device *d,
                                          struct arena *a, struct tensor_source *source,
                                          uint32_t positions);
void decoder_weights_finish(struct decoder_weights *w); // the arena keeps the device memory

// Device bytes they take.
uint64_t decoder_weights_bytes(const struct lm_config *c, bool f16, uint32_t positions);
