// codec_decoder: tokens to samples. For codec.c, which documents it.
#pragma once

#include "worker/model/codec.h"

struct codec_decoder;

ERR_CHECKED enum err codec_decoder_open(struct codec_decoder **out,
                                        const struct codec_params *p);
void codec_decoder_close(struct codec_decoder **d);
uint64_t codec_decoder_bytes(const struct codec_config *c, bool f16);
ERR_CHECKED enum err codec_decoder_run(struct codec_decoder *d,
                                       const struct codec_piece *pieces, uint32_t count);
