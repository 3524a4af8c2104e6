// codec: EnCodec on the device: columns of tokens to samples, samples to columns.
//
// A column is one token of each codebook and stands for codec_hop() samples.
// Both ways work through time in chunks with the overlap that their
// convolutions see, so the memory taken does not grow with the length, and the
// result has the bits it would have in one piece.
//
// A codec owns its weights and scratch on the device; open it when its turn
// comes and close it to make room. One thread, that of the device. Opening,
// decoding and encoding block. Each function logs before it fails.
//
// Architecture: A. Défossez et al., "High Fidelity Neural Audio Compression",
// 2022, arXiv:2210.13438; the 32 kHz model of J. Copet et al., "Simple and
// Controllable Music Generation", 2023, arXiv:2306.05284.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "worker/engine/device.h"
#include "worker/model/probe.h"
#include "worker/model/tensors.h"

struct codec;

struct codec_params {
    struct device *device;
    struct tensor_source *source; // used by codec_open() alone
    bool decode, encode;          // which halves to load; at least one
    // Sees "codec.dec_latent" and "codec.dec_modelN", "codec.enc_modelN" for
    // every N whose output is not just an activation, each [channels, time] and
    // of the whole signal, held on the host meanwhile. NULL in ordinary work.
    struct probe *probe;
    uint32_t chunk_columns; // time worked on at once; 0: CODEC_CHUNK_FLOATS decides
};

// What the largest activation of a chunk may hold: 16 MiB. The scratch of a half
// is at most five times that (unless a single column of a model is larger).
#define CODEC_CHUNK_FLOATS (4u << 20)

// Matrices keep the precision that the source has them in. ERR_INPUT when a
// tensor is missing or misshapen, ERR_DEVICE_MEM, ERR_NOMEM. On failure *out is
// NULL.
ERR_CHECKED enum err codec_open(struct codec **out, const struct codec_params *p);
void codec_close(struct codec **c); // NULL inside is fine

// Device memory that codec_open() takes for PART_CODEC_DECODER or
// PART_CODEC_ENCODER, an upper bound; open for both, it takes the sum.
uint64_t codec_bytes(const struct codec_config *c, enum model_part part, bool f16);

// One run of columns to decode.
struct codec_piece {
    const int32_t *tokens; // [codebooks][columns]
    uint32_t columns;      // >= 1
    float *pcm;            // out: columns * codec_hop() samples, mono
};

// Decode `count` pieces that have nothing to do with each other. Several at
// once are faster than one after the other, because the LSTM's weights are read
// for all of them together; the samples are the same. ERR_INPUT for a token
// that is no code (< 0 or >= bins), ERR_DEVICE, also for samples that are no numbers.
ERR_CHECKED enum err codec_decode(struct codec *c, const struct codec_piece *pieces,
                                  uint32_t count);

// Columns that `samples` samples make: ceil(samples / hop).
uint64_t codec_encoded_columns(const struct codec_config *c, uint64_t samples);

// Encode mono samples. `codes` is [codebooks][columns] and `latent`, where it is
// not NULL, [dimension][columns], for columns = codec_encoded_columns(samples);
// samples >= 1. Of two codes equally near, the first.
ERR_CHECKED enum err codec_encode(struct codec *c, const float *pcm, uint64_t samples,
                                  int32_t *codes, float *latent);
