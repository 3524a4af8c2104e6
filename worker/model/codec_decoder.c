#include "worker/model/codec_decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/model/codec_half.h"
#include "worker/model/numbers.h"
#include "worker/ops/codebook_sum.h"

struct codec_decoder {
    struct codec_config config;
    struct codec_half half;
    struct span embed;  // [codebooks][bins][dimension]
    struct span tokens; // i32, [slots][codebooks][input]: of the chunk under way; mapped
    struct span pcm;    // [chunk * hop]; mapped
};

static struct codec_shape shape_of(const struct codec_config *c)
{
    struct codec_shape s = {
        .name = "codec decoder",
        .lstm = "codec.decoder.model.1.lstm",
        .lstm_output = "model1",
        .hidden = c->filters << c->ratio_count,
        .lstm_layers = c->lstm_layers,
        .input_channels = c->dimension,
        .input_rows = 1,
        .output_rows = codec_hop(c),
        .slots = LSTM_MOST_SEQUENCES,
    };
    seanet_decoder_front(&s.front, c);
    seanet_decoder_back(&s.back, c);
    return s;
}

static uint64_t embed_bytes(const struct codec_config *c)
{
    return 4ull * c->codebooks * c->bins * c->dimension;
}

static uint64_t token_count(const struct codec_config *c, const struct codec_sizes *z)
{
    return (uint64_t) LSTM_MOST_SEQUENCES * c->codebooks * z->input;
}

static uint64_t pcm_count(const struct codec_config *c, const struct codec_sizes *z)
{
    return (uint64_t) (uint32_t) z->chunk * codec_hop(c);
}

uint64_t codec_decoder_bytes(const struct codec_config *c, bool f16)
{
    const struct codec_shape shape = shape_of(c);
    const struct codec_sizes z = codec_half_measure(&shape, 0);
    return codec_half_bytes(&shape, &z, f16,
                            embed_bytes(c) + 4 * (token_count(c, &z) + pcm_count(c, &z)));
}

// --- Opening ----------------------------------------------------------------

static enum err load_codebook(struct codec_decoder *d, struct tensor_source *source, uint32_t k,
                              float *entries)
{
    const struct codec_config *c = &d->config;
    const uint64_t shape[] = { c->bins, c->dimension };
    const uint64_t n = shape[0] * shape[1];
    char name[64];
    snprintf(name, sizeof(name), "codec.quantizer.%u.embed", k);
    struct tensor_view t;
    const enum err e = tensor_require(source, &t, name, 2, shape);
    if (e)
        return e;
    tensor_to_f32(&t, 0, n, entries);
    return span_upload(d->half.device, d->embed, 4 * n * k, entries, 4 * n);
}

static enum err load_codebooks(struct codec_decoder *d, struct tensor_source *source)
{
    const struct codec_config *c = &d->config;
    enum err e = codec_half_alloc(&d->half, d->half.weights, embed_bytes(c) / 4, &d->embed);
    if (e)
        return e;
    float *entries = malloc((size_t) c->bins * c->dimension * sizeof(*entries));
    if (!entries) {
        log_error("out of memory for a codebook");
        return ERR_NOMEM;
    }
    for (uint32_t k = 0; !e && k < c->codebooks; k++)
        e = load_codebook(d, source, k, entries);
    free(entries);
    return e;
}

enum err codec_decoder_open(struct codec_decoder **out, const struct codec_params *p)
{
    *out = NULL;
    struct codec_decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    d->config = p->source->config->codec;
    d->half.shape = shape_of(&d->config);
    enum err e = codec_half_open(&d->half, p, false);
    const struct codec_sizes *z = &d->half.sizes;
    if (!e)
        e = load_codebooks(d, p->source);
    if (!e)
        e = codec_half_alloc(&d->half, d->half.shared, token_count(&d->config, z), &d->tokens);
    if (!e)
        e = codec_half_alloc(&d->half, d->half.shared, pcm_count(&d->config, z), &d->pcm);
    if (e) {
        codec_decoder_close(&d);
        return e;
    }
    *out = d;
    return ERR_OK;
}

void codec_decoder_close(struct codec_decoder **d)
{
    if (!*d)
        return;
    codec_half_close(&(*d)->half);
    free(*d);
    *d = NULL;
}

// --- Running ----------------------------------------------------------------

static struct codec_decoder *decoder_of(struct codec_half *h)
{
    return (struct codec_decoder *) ((uint8_t *) h - offsetof(struct codec_decoder, half));
}

// Latent rows from their tokens.
static enum err feed(struct codec_half *h, struct codec_run *run, uint32_t slot,
                     struct range needed)
{
    struct codec_decoder *d = decoder_of(h);
    const struct codec_piece *piece = run->client;
    const uint32_t codebooks = d->config.codebooks, stride = h->sizes.input;
    const uint32_t rows = (uint32_t) (needed.hi - needed.lo);
    for (uint32_t k = 0; k < codebooks; k++)
        memcpy(d->tokens.host + 4 * ((size_t) slot * codebooks + k) * stride,
               piece->tokens + (size_t) k * piece->columns + needed.lo, 4 * (size_t) rows);
    op_codebook_sum(h->stream, &(struct codebook_sum){
                                   .tokens = d->tokens,
                                   .embed = d->embed,
                                   .y = h->input,
                                   .rows = rows,
                                   .width = d->config.dimension,
                                   .codebooks = codebooks,
                                   .bins = d->config.bins,
                                   .tokens_offset = slot * codebooks * stride,
                                   .tokens_stride = stride,
                               });
    const struct signal latent = { .span = h->input, .first = needed.lo };
    codec_watch_see(h->watch, "latent", d->config.dimension, &latent, needed, run->columns);
    return ERR_OK;
}

static enum err take(struct codec_half *h, struct codec_run *run, struct range done,
                     const struct signal *at)
{
    struct codec_decoder *d = decoder_of(h);
    const struct codec_piece *piece = run->client;
    const int32_t hop = (int32_t) codec_hop(&d->config);
    const uint64_t bytes = 4ull * (uint32_t) (done.hi - done.lo) * (uint32_t) hop;
    const uint64_t from = 4ull * (uint32_t) (done.lo * hop - at->first);
    stream_copy(h->stream, span_slice(at->span, from, bytes), span_slice(d->pcm, 0, bytes));
    const enum err e = stream_run(h->stream);
    if (e)
        return e;
    float *to = piece->pcm + (size_t) done.lo * (size_t) hop;
    memcpy(to, d->pcm.host, bytes);
    return numbers_check(h->device, "codec", to, bytes / sizeof(*to));
}

static enum err check_piece(const struct codec_config *c, const struct codec_piece *p)
{
    const uint64_t longest = INT32_MAX / 4 / codec_hop(c);
    if (p->columns == 0 || p->columns > longest) {
        log_error("codec: %u columns at once; it takes 1 to %llu", p->columns,
                  (unsigned long long) longest);
        return ERR_INPUT;
    }
    for (size_t i = 0; i < (size_t) c->codebooks * p->columns; i++)
        if (p->tokens[i] < 0 || (uint32_t) p->tokens[i] >= c->bins) {
            log_error("codec: column %zu of codebook %zu is %d, which is none of its %u codes",
                      i % p->columns, i / p->columns, p->tokens[i], c->bins);
            return ERR_INPUT;
        }
    return ERR_OK;
}

static int longest_first(const void *a, const void *b)
{
    const struct codec_piece *const *x = a, *const *y = b;
    return ((*x)->columns < (*y)->columns) - ((*x)->columns > (*y)->columns);
}

static enum err run_sorted(struct codec_decoder *d, const struct codec_piece **pieces,
                           uint32_t count)
{
    static const struct codec_ends ends = { feed, take };
    const uint32_t most = d->half.watch ? 1 : d->half.shape.slots; // a probe sees one at a time
    enum err e = ERR_OK;
    for (uint32_t first = 0; !e && first < count; first += most) {
        struct codec_run runs[LSTM_MOST_SEQUENCES];
        const uint32_t n = count - first < most ? count - first : most;
        for (uint32_t i = 0; i < n; i++) {
            const int32_t columns = (int32_t) pieces[first + i]->columns;
            runs[i] = (struct codec_run){ .client = (void *) (uintptr_t) pieces[first + i],
                                          .columns = columns,
                                          .input_length = columns };
        }
        e = codec_half_run(&d->half, runs, n, &ends);
    }
    return e;
}

enum err codec_decoder_run(struct codec_decoder *d, const struct codec_piece *pieces,
                           uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const enum err e = check_piece(&d->config, &pieces[i]);
        if (e)
            return e;
    }
    const struct codec_piece **sorted = malloc((count + 1) * sizeof(*sorted));
    if (!sorted) {
        log_error("out of memory for %u pieces", count);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = &pieces[i];
    qsort(sorted, count, sizeof(*sorted), longest_first);
    const enum err e = run_sorted(d, sorted, count);
    free(sorted);
    return e;
}
