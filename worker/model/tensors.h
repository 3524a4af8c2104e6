// tensors: where a model's numbers come from, whatever they are stored in.
//
// A source is asked for tensors by name, in the canonical names listed below,
// when a stage is loaded. There are two: a mapped model file
// (worker/weights/model_file.h) and random numbers (random_source.h).
//
// Canonical names. The language model's and the visual encoder's are those of
// the published checkpoint, unchanged. The codec's start with "codec.", have
// weight norm folded, and are
//   codec.{encoder,decoder}.model.N.conv.{weight [out,in,k],bias}
//   codec.{encoder,decoder}.model.N.block.{1,3}.conv.{weight,bias}
//   codec.decoder.model.N.convtr.{weight [in,out,k],bias}
//   codec.{encoder,decoder}.model.N.lstm.{weight_ih,weight_hh,bias_ih,bias_hh}_l{0,1,...}
//   codec.quantizer.K.embed [bins,D]
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/tensor_view.h"
#include "worker/model/config.h"

// Find a tensor that must be there in just this shape (rank extents follow,
// uint64_t each). Its dtype is F32 or F16, whatever its neighbours' is.
// ERR_INPUT logs what is wrong.
ERR_CHECKED enum err tensor_require(struct tensor_source *s, struct tensor_view *out,
                                    const char *name, uint32_t rank, const uint64_t *shape);

// The stages that take turns in device memory.
enum model_part {
    PART_VISUAL,
    PART_DECODER,
    PART_CODEC_DECODER,
    PART_CODEC_ENCODER,
    PART_COUNT
};

const char *model_part_name(enum model_part p);

struct tensor_spec {
    char name[TENSOR_NAME_MAX];
    enum model_part part; // the quantizer's codebooks count as PART_CODEC_DECODER
    uint32_t rank;
    uint64_t shape[TENSOR_MAX_RANK];
};

// Vectors and codebooks, which no precision setting narrows: they are small,
// and rounding a codebook would change which code is nearest.
bool tensor_spec_keeps_f32(const struct tensor_spec *spec);

// Visit every tensor a model of this (checked) configuration has, once each,
// part by part. Stops at, and returns, the first error of `visit`.
ERR_CHECKED enum err model_tensors_each(const struct model_config *c,
                                        enum err (*visit)(void *context,
                                                          const struct tensor_spec *spec),
                                        void *context);
