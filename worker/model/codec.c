#include "worker/model/codec.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "worker/model/codec_decoder.h"
#include "worker/model/codec_encoder.h"

struct codec {
    struct codec_decoder *decoder; // NULL: not asked for
    struct codec_encoder *encoder;
};

enum err codec_open(struct codec **out, const struct codec_params *p)
{
    *out = NULL;
    struct codec *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    if (p->decode)
        e = codec_decoder_open(&c->decoder, p);
    if (!e && p->encode)
        e = codec_encoder_open(&c->encoder, p);
    if (e) {
        codec_close(&c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void codec_close(struct codec **c)
{
    if (!*c)
        return;
    codec_decoder_close(&(*c)->decoder);
    codec_encoder_close(&(*c)->encoder);
    free(*c);
    *c = NULL;
}

uint64_t codec_bytes(const struct codec_config *c, enum model_part part, bool f16)
{
    return part == PART_CODEC_ENCODER ? codec_encoder_bytes(c, f16)
                                      : codec_decoder_bytes(c, f16);
}

static enum err not_loaded(const char *what)
{
    log_error("the codec was not opened to %s", what);
    return ERR_BUG;
}

enum err codec_decode(struct codec *c, const struct codec_piece *pieces, uint32_t count)
{
    return c->decoder ? codec_decoder_run(c->decoder, pieces, count) : not_loaded("decode");
}

uint64_t codec_encoded_columns(const struct codec_config *c, uint64_t samples)
{
    const uint64_t hop = codec_hop(c);
    return samples / hop + (samples % hop != 0);
}

enum err codec_encode(struct codec *c, const float *pcm, uint64_t samples, int32_t *codes,
                      float *latent)
{
    return c->encoder ? codec_encoder_run(c->encoder, pcm, samples, codes, latent)
                      : not_loaded("encode");
}
