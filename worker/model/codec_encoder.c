#include "worker/model/codec_encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/model/codec_half.h"
#include "worker/ops/nearest_code.h"

struct codec_encoder {
    struct codec_config config;
    struct codec_half half;
    struct codes codes[MODEL_MAX_CODEBOOKS];
    struct span left[2]; // [chunk][dimension]: what codebooks leave of the latent, in turns
    struct span found;   // struct nearest, [codebooks][chunk]; mapped
    struct span latent;  // [chunk][dimension]; mapped
};

static struct codec_shape shape_of(const struct codec_config *c)
{
    struct codec_shape s = {
        .name = "codec encoder",
        .hidden = c->filters << c->ratio_count,
        .lstm_layers = c->lstm_layers,
        .input_channels = c->channels,
        .input_rows = codec_hop(c),
        .output_rows = 1,
        .slots = 1,
    };
    snprintf(s.lstm_output, sizeof(s.lstm_output), "model%u", 1 + 3 * c->ratio_count);
    snprintf(s.lstm, sizeof(s.lstm), "codec.encoder.model.%u.lstm", 1 + 3 * c->ratio_count);
    seanet_encoder_front(&s.front, c);
    seanet_encoder_back(&s.back, c);
    return s;
}

static uint64_t latent_count(const struct codec_config *c, const struct codec_sizes *z)
{
    return (uint64_t) (uint32_t) z->chunk * c->dimension;
}

static uint64_t found_count(const struct codec_config *c, const struct codec_sizes *z)
{
    return (uint64_t) (uint32_t) z->chunk * c->codebooks;
}

uint64_t codec_encoder_bytes(const struct codec_config *c, bool f16)
{
    const struct codec_shape shape = shape_of(c);
    const struct codec_sizes z = codec_half_measure(&shape, 0);
    const uint64_t more = c->codebooks * codes_bytes(c->bins, c->dimension) +
                          12ull * latent_count(c, &z) +
                          sizeof(struct nearest) * found_count(c, &z);
    return codec_half_bytes(&shape, &z, f16, more);
}

// --- Opening ----------------------------------------------------------------

static enum err load_codebook(struct codec_encoder *n, struct tensor_source *source, uint32_t k,
                              float *entries)
{
    const struct codec_config *c = &n->config;
    const uint64_t shape[] = { c->bins, c->dimension };
    char name[64];
    snprintf(name, sizeof(name), "codec.quantizer.%u.embed", k);
    struct tensor_view t;
    const enum err e = tensor_require(source, &t, name, 2, shape);
    if (e)
        return e;
    tensor_to_f32(&t, 0, shape[0] * shape[1], entries);
    return codes_load(&n->codes[k], n->half.device, n->half.weights, entries, c->bins,
                      c->dimension);
}

static enum err load_codebooks(struct codec_encoder *n, struct tensor_source *source)
{
    const struct codec_config *c = &n->config;
    float *entries = malloc((size_t) c->bins * c->dimension * sizeof(*entries));
    if (!entries) {
        log_error("out of memory for a codebook");
        return ERR_NOMEM;
    }
    enum err e = ERR_OK;
    for (uint32_t k = 0; !e && k < c->codebooks; k++)
        e = load_codebook(n, source, k, entries);
    free(entries);
    return e;
}

static enum err make_room(struct codec_encoder *n)
{
    const struct codec_sizes *z = &n->half.sizes;
    const uint64_t latent = latent_count(&n->config, z);
    enum err e = ERR_OK;
    for (int i = 0; !e && i < 2; i++)
        e = codec_half_alloc(&n->half, n->half.scratch, latent, &n->left[i]);
    if (!e)
        e = codec_half_alloc(&n->half, n->half.shared,
                             found_count(&n->config, z) * (sizeof(struct nearest) / 4),
                             &n->found);
    return e ? e : codec_half_alloc(&n->half, n->half.shared, latent, &n->latent);
}

enum err codec_encoder_open(struct codec_encoder **out, const struct codec_params *p)
{
    *out = NULL;
    struct codec_encoder *n = calloc(1, sizeof(*n));
    if (!n)
        return ERR_NOMEM;
    n->config = p->source->config->codec;
    n->half.shape = shape_of(&n->config);
    enum err e = codec_half_open(&n->half, p, true);
    if (!e)
        e = load_codebooks(n, p->source);
    if (!e)
        e = make_room(n);
    if (e) {
        codec_encoder_close(&n);
        return e;
    }
    *out = n;
    return ERR_OK;
}

void codec_encoder_close(struct codec_encoder **n)
{
    if (!*n)
        return;
    codec_half_close(&(*n)->half);
    free(*n);
    *n = NULL;
}

// --- Running ----------------------------------------------------------------

struct job {
    const float *pcm;
    int32_t *codes; // [codebooks][columns]
    float *latent;  // [dimension][columns], or NULL
};

static struct codec_encoder *encoder_of(struct codec_half *h)
{
    return (struct codec_encoder *) ((uint8_t *) h - offsetof(struct codec_encoder, half));
}

static enum err feed(struct codec_half *h, struct codec_run *run, uint32_t slot,
                     struct range needed)
{
    (void) slot;
    const struct job *job = run->client;
    memcpy(h->input.host, job->pcm + needed.lo, 4 * (size_t) (needed.hi - needed.lo));
    return ERR_OK;
}

// The codes of the latent rows in left[0].
static void record_search(struct codec_encoder *n, uint32_t rows)
{
    for (uint32_t k = 0; k < n->config.codebooks; k++)
        op_nearest_code(n->half.stream, &(struct nearest_code){
                                            .codes = &n->codes[k],
                                            .x = n->left[k % 2],
                                            .y = n->left[(k + 1) % 2],
                                            .best = n->found,
                                            .rows = rows,
                                            .first_row = k * (uint32_t) n->half.sizes.chunk,
                                        });
}

// [chunk][dimension] on the device to [dimension][columns].
static void hand_over_latent(const struct codec_encoder *n, float *latent, int32_t columns,
                             struct range done)
{
    const uint32_t dimension = n->config.dimension;
    const float *rows = (const float *) (const void *) n->latent.host;
    for (int32_t t = done.lo; t < done.hi; t++)
        for (uint32_t i = 0; i < dimension; i++)
            latent[(size_t) i * (size_t) columns + (size_t) t] = *rows++;
}

static enum err hand_over_codes(const struct codec_encoder *n, int32_t *codes, int32_t columns,
                                struct range done)
{
    const struct nearest *found = (const struct nearest *) (const void *) n->found.host;
    for (uint32_t k = 0; k < n->config.codebooks; k++, found += n->half.sizes.chunk)
        for (int32_t t = done.lo; t < done.hi; t++) {
            const uint32_t code = found[t - done.lo].code;
            if (code >= n->config.bins) {
                log_error("codec: the latent at column %d is no number", t);
                return ERR_INPUT;
            }
            codes[(size_t) k * (size_t) columns + (size_t) t] = (int32_t) code;
        }
    return ERR_OK;
}

static enum err take(struct codec_half *h, struct codec_run *run, struct range done,
                     const struct signal *at)
{
    struct codec_encoder *n = encoder_of(h);
    const struct job *job = run->client;
    const uint32_t rows = (uint32_t) (done.hi - done.lo);
    const uint64_t row = 4ull * n->config.dimension;
    const struct span latent =
        span_slice(at->span, (uint32_t) (done.lo - at->first) * row, rows * row);
    stream_copy(h->stream, latent, span_slice(n->left[0], 0, latent.bytes));
    stream_copy(h->stream, latent, span_slice(n->latent, 0, latent.bytes));
    record_search(n, rows);
    const enum err e = stream_run(h->stream);
    if (e)
        return e;
    if (job->latent)
        hand_over_latent(n, job->latent, run->columns, done);
    return hand_over_codes(n, job->codes, run->columns, done);
}

enum err codec_encoder_run(struct codec_encoder *n, const float *pcm, uint64_t samples,
                           int32_t *codes, float *latent)
{
    static const struct codec_ends ends = { feed, take };
    if (samples == 0 || samples > INT32_MAX / 4) {
        log_error("codec: %llu samples at once; it takes 1 to %d", (unsigned long long) samples,
                  INT32_MAX / 4);
        return ERR_INPUT;
    }
    struct job job = { pcm, codes, latent };
    struct codec_run run = {
        .client = &job,
        .columns = (int32_t) codec_encoded_columns(&n->config, samples),
        .input_length = (int32_t) samples,
    };
    return codec_half_run(&n->half, &run, 1, &ends);
}
