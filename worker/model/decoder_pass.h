// decoder_pass: the transformer itself, recorded for any set of rows.
//
// A pass takes rows, each one position of one branch of one slot, through the
// layers. Decoding is a pass of one position for every row that steps; reading a
// prompt is a pass of many positions of the same slot. Keys and values of a pass
// are appended before its attention, and a row attends to positions up to its
// own, so one code does both. Records; never blocks.
#pragma once

#include "worker/model/decoder_weights.h"
#include "worker/model/kv_cache.h"

// What passes read and write. Filled by decoder_open().
struct decoder_model {
    struct lm_config config;
    struct decoder_shape shape;
    struct decoder_weights weights;
    struct kv_cache self, cross;
    uint32_t token_stride;
    uint32_t rows;      // the most a pass may have
    struct span slots;  // slot_state
    struct span tokens; // [slots][K][token_stride]
    // Scratch, [rows][..] f32 with texel views.
    struct span x;        // [dim_stride] the residual stream
    struct span normed;   // [dim_stride]
    struct span mixed;    // [3 inner]: q, k, v
    struct span attended; // [inner]
    struct span hidden;   // [hidden_stride]
};

struct decoder_pass {
    struct span rows; // decode_row
    uint32_t first_row, row_count;
    uint32_t cross_count; // the first rows, which see the condition
    struct span x;        // the residual stream, [..][dim_stride] ...
    uint32_t x_offset;    // ... from this element on
    uint32_t reach;       // about how many positions a row attends to
};

// x = embeddings of the rows' tokens and positions.
void pass_embed(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p);

// x = layer(x).
void pass_layer(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
                uint32_t layer);

// Of a layer, only what later positions need: its keys and values.
void pass_keys(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
               uint32_t layer);

// Put the layer's keys and values of condition rows, which are in x, into the
// cross-attention's cache.
void pass_condition(const struct decoder_model *m, struct stream *s,
                    const struct decoder_pass *p, uint32_t layer);

// `normed` = out_norm(x); logits [row_count][logit_stride] = heads(normed).
void pass_logits(const struct decoder_model *m, struct stream *s, const struct decoder_pass *p,
                 struct span logits);
