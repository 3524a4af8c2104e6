// sample: draw the next token of every codebook of some sequences, write it
// where it is not given, and move the sequences on by a step. Or write what
// would be drawn from. Records; never blocks.
#pragma once

#include <stdbool.h>

#include "shaders/sample.h"
#include "worker/engine/stream.h"

struct sample {
    struct span draws;  // sample_draw
    struct span slots;  // slot_state: settings; positions are moved on, `broken` is set
    struct span tokens; // [slots][codebooks][token_stride]
    struct span logits; // f32 [rows][codebooks][codebook_stride]
    // bytes > 0: nothing is drawn; the distributions, [draws][codebooks]
    // [codebook_stride], are written here.
    struct span distribution;
    uint32_t draw_count;
    uint32_t card, codebooks;
    uint32_t codebook_stride; // elements, a multiple of 4, >= card
    uint32_t token_stride;
    const uint32_t *delays; // [codebooks]; NULL: none
};

void op_sample(struct stream *s, const struct sample *a);
