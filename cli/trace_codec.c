#include <stdlib.h>

#include "cli/trace_parts.h"
#include "common/base/log.h"
#include "worker/model/codec.h"

// One way through the codec: where it starts and what comes out.
struct passage {
    const char *codes, *wav;              // decoding: in, out
    const char *pcm, *latent, *enc_codes; // encoding: in, out, out (NULL: not asked for)
    bool watched;                         // the tensors in between too
};

static const struct passage passages[] = {
    { "codec.dec_codes", "codec.dec_wav", "codec.wav", "codec.enc_latent", "codec.enc_codes",
      true },
    { "codec.short_codes", "codec.short_dec_wav", "codec.short_wav", "codec.short_enc_latent",
      NULL, false },
};

static enum err no_memory(const char *name)
{
    log_error("out of memory for %s", name);
    return ERR_NOMEM;
}

static enum err decode(struct trace *t, struct codec *c, const struct passage *p)
{
    const struct codec_config *config = &t->model->config->codec;
    struct tensor_view v;
    bool found;
    enum err e = trace_input(t, &v, &found, p->codes, 2,
                             (const uint64_t[]){ config->codebooks, TRACE_SOME });
    if (e || !found)
        return e;
    const uint64_t samples = v.shape[1] * codec_hop(config);
    int32_t *tokens;
    e = trace_tokens(&v, p->codes, config->bins, &tokens);
    float *pcm = malloc(samples * sizeof(*pcm));
    if (!e && !pcm)
        e = no_memory(p->wav);
    if (!e)
        e = codec_decode(c, &(struct codec_piece){ tokens, (uint32_t) v.shape[1], pcm }, 1);
    if (!e)
        e = tensor_dump_add(&t->out, p->wav, DTYPE_F32, pcm, 2,
                            (const uint64_t[]){ 1, samples });
    free(tokens);
    free(pcm);
    return e;
}

static enum err encode_pcm(struct trace *t, struct codec *c, const struct passage *p,
                           const float *pcm, uint64_t samples)
{
    const struct codec_config *config = &t->model->config->codec;
    const uint64_t columns = codec_encoded_columns(config, samples);
    int32_t *codes = malloc(config->codebooks * columns * sizeof(*codes));
    float *latent = malloc(config->dimension * columns * sizeof(*latent));
    enum err e =
        codes && latent ? codec_encode(c, pcm, samples, codes, latent) : no_memory(p->latent);
    if (!e)
        e = tensor_dump_add(&t->out, p->latent, DTYPE_F32, latent, 2,
                            (const uint64_t[]){ config->dimension, columns });
    if (!e && p->enc_codes)
        e = tensor_dump_tokens(&t->out, p->enc_codes, codes, config->codebooks, columns);
    free(codes);
    free(latent);
    return e;
}

static enum err encode(struct trace *t, struct codec *c, const struct passage *p)
{
    struct tensor_view v;
    bool found;
    enum err e = trace_input(t, &v, &found, p->pcm, 2, (const uint64_t[]){ 1, TRACE_SOME });
    if (e || !found)
        return e;
    float *pcm;
    e = trace_floats(&v, p->pcm, &pcm);
    if (!e)
        e = encode_pcm(t, c, p, pcm, v.shape[1]);
    free(pcm);
    return e;
}

// Open the halves that the input asks for; none is no failure.
static enum err run(struct trace *t, const struct passage *p)
{
    struct tensor_view v;
    const bool decodes = safetensors_find(t->in, p->codes, &v);
    const bool encodes = safetensors_find(t->in, p->pcm, &v);
    if (!decodes && !encodes)
        return ERR_OK;
    struct codec *c;
    enum err e = codec_open(&c, &(struct codec_params){
                                    .device = t->device,
                                    .source = t->model,
                                    .decode = decodes,
                                    .encode = encodes,
                                    .probe = p->watched ? &t->out.probe : NULL,
                                });
    if (e)
        return e;
    if (decodes)
        e = decode(t, c, p);
    if (!e && encodes)
        e = encode(t, c, p);
    codec_close(&c);
    return e;
}

enum err trace_codec(struct trace *t)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof(passages) / sizeof(*passages); i++)
        e = run(t, &passages[i]);
    return e;
}
