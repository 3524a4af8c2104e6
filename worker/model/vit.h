// vit: the picture half of CLIP, from frames to one vector for every patch and
// one for the whole (the class token), each layer in turn.
//
// The part of the visual encoder (visual.h) before the Q-Former. Owns its host
// memory alone; weights and scratch belong to the caller's arenas. Records;
// never blocks, loading excepted.
//
// Architecture: A. Radford et al., "Learning Transferable Visual Models From
// Natural Language Supervision", 2021, arXiv:2103.00020.
#pragma once

#include "worker/model/loader.h"
#include "worker/model/watch.h"

struct vit_block {
    struct norm ln_1, ln_2;
    struct matrix in_proj;  // [3 width, width]: queries, keys, values
    struct matrix out_proj; // [width, width]
    struct matrix c_fc;     // [hidden, width]
    struct matrix c_proj;   // [width, hidden]
};

struct vit {
    struct vit_config config;
    uint32_t tokens;     // of a frame: 1 + patches
    struct matrix conv1; // [width, 3 patch patch]
    struct span embed;   // [tokens, width]: positions, the class embedding added to the first
    struct norm ln_pre;
    struct vit_block *blocks; // config.layers of them
};

// What a pass over several frames works in. All with texel views, and finite.
struct vit_scratch {
    struct span x;         // [frames][tokens][width]: the tokens, the result too
    struct span y;         // likewise
    struct span wide;      // vit_wide_bytes()
    struct span attention; // vit_attention_bytes()
};

// Load the weights. Failures stick in the loader; vit_finish() is due anyway.
void vit_load(struct vit *v, struct loader *l, const struct model_config *c);
void vit_finish(struct vit *v);

uint64_t vit_token_bytes(const struct vit_config *c, uint32_t frames); // of x and of y
uint64_t vit_wide_bytes(const struct vit_config *c, uint32_t frames);
uint64_t vit_attention_bytes(const struct device *d, const struct vit_config *c,
                             uint32_t frames);

// frames: as op_patchify() takes them, `normalised` or bytes. Leaves the tokens
// in scratch->x, the last block's output: no ln_post.
// Shows vis.conv1, vis.embed, vis.ln_pre, vis.blockN.
void vit_record(const struct vit *v, const struct watch *w, const struct vit_scratch *scratch,
                struct span frames, bool normalised, uint32_t count);
