// codec_encoder: samples to tokens. For codec.c, which documents it.
#pragma once

#include "worker/model/codec.h"

struct codec_encoder;

ERR_CHECKED enum err codec_encoder_open(struct codec_encoder **out,
                                        const struct codec_params *p);
void codec_encoder_close(struct codec_encoder **d);
uint64_t codec_encoder_bytes(const struct codec_config *c, bool f16);
ERR_CHECKED enum err codec_encoder_run(struct codec_encoder *n, const float *pcm,
                                       uint64_t samples, int32_t *codes, float *latent);
