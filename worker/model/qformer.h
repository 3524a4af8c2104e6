// qformer: learned queries that look at the ViT's tokens and come back as what
// the music needs to know of a frame.
//
// The part of the visual encoder (visual.h) after the ViT. LayerNorm stands
// after each dense, and only the last sum of a layer has a residual: that is how
// the published model is. Records; never blocks, loading excepted.
#pragma once

#include "worker/model/loader.h"
#include "worker/model/watch.h"

struct qformer_layer {
    struct matrix self_in;  // [3 width, width]: queries, keys, values
    struct matrix self_out; // [width, width]
    struct matrix self_dense;
    struct norm self_norm;
    bool cross;                // this layer looks at the picture
    struct matrix cross_query; // [width, width]
    struct matrix cross_in;    // [2 width, width]: keys, values
    struct matrix cross_out, cross_dense;
    struct norm cross_norm;
    struct matrix dense_in;  // [hidden, width]
    struct matrix dense_out; // [width, hidden]
    struct norm norm;
};

struct qformer {
    struct qformer_config config;
    uint32_t width, heads;
    uint32_t tokens;          // the ViT's, of a frame
    struct span query_tokens; // [queries, width]
    struct norm layernorm;
    struct qformer_layer *layers; // config.layers of them
};

// What a pass over several frames works in. All with texel views, and finite.
struct qformer_scratch {
    struct span q, h, y;   // [frames][queries][width]; q is the result
    struct span inner;     // qformer_inner_bytes()
    struct span picture;   // qformer_picture_bytes(); may be the ViT's `wide`
    struct span attention; // qformer_attention_bytes(); may be the ViT's
};

// Load the weights. Failures stick in the loader; qformer_finish() is due anyway.
void qformer_load(struct qformer *q, struct loader *l, const struct model_config *c);
void qformer_finish(struct qformer *q);

uint64_t qformer_query_bytes(const struct model_config *c, uint32_t frames); // of q, h, y each
uint64_t qformer_inner_bytes(const struct model_config *c, uint32_t frames);
uint64_t qformer_picture_bytes(const struct model_config *c, uint32_t frames);
uint64_t qformer_attention_bytes(const struct device *d, const struct model_config *c,
                                 uint32_t frames);

// x: the ViT's tokens [frames][tokens][width]. Leaves [frames][queries][width] in
// scratch->q. Shows vis.qf_norm, vis.qf_layerN_self_output,
// vis.qf_layerN_cross_output, vis.qf_layerN, vis.qformer.
void qformer_record(const struct qformer *q, const struct watch *w,
                    const struct qformer_scratch *scratch, struct span x, uint32_t frames);
