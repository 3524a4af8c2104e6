// codec_names: where a codec's canonical tensors are in the two published
// layouts.
//
//   canonical                     audiocraft                       Hugging Face transformers
//   encoder.model.N.conv          encoder.model.N.conv.conv        encoder.layers.N.conv
//   encoder.model.N.block.1.conv  encoder.model.N.block.1.conv.conv  encoder.layers.N.block.1.conv
//   decoder.model.N.convtr        decoder.model.N.convtr.convtr    decoder.layers.N.conv
//   encoder.model.N.lstm          encoder.model.N.lstm             encoder.layers.N.lstm
//   quantizer.K.embed             quantizer.vq.layers.K._codebook.embed  quantizer.layers.K.codebook.embed
//
// N counts the same modules in both. Source: the table that transformers
// converts audiocraft's files with,
// src/transformers/models/encodec/convert_encodec_checkpoint_to_pytorch.py.
#pragma once

#include <stdbool.h>

#include "worker/model/tensors.h"

enum codec_layout { LAYOUT_AUDIOCRAFT, LAYOUT_TRANSFORMERS };

// The published name for a canonical one, "codec." included. "X.weight" of a
// convolution gives the name it would have without weight norm. False when the
// name is not canonical.
bool codec_published_name(enum codec_layout layout, const char *canonical,
                          char out[TENSOR_NAME_MAX]);
