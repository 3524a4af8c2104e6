#include "worker/model/codec_lstm.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/log.h"

uint64_t codec_lstm_weights_bytes(uint32_t layers, uint32_t hidden, bool f16)
{
    return layers *
           (matrix_bytes(4 * hidden, hidden, f16, true) + lstm_weights_bytes(hidden, f16));
}

static uint64_t gates_bytes(uint32_t hidden, uint32_t block)
{
    return 16ull * LSTM_MOST_SEQUENCES * block * hidden;
}

static uint64_t between_bytes(uint32_t hidden, uint32_t block)
{
    return 4ull * (LSTM_MOST_SEQUENCES * block + 1) * hidden;
}

uint64_t codec_lstm_scratch_bytes(uint32_t layers, uint32_t hidden, uint32_t block)
{
    return layers * lstm_state_bytes(hidden) + gates_bytes(hidden, block) +
           between_bytes(hidden, block);
}

struct loader {
    struct device *device;
    struct arena *arena;
    struct tensor_source *source;
    const char *prefix;
};

static enum err find(const struct loader *from, struct tensor_view *out, const char *what,
                     uint32_t layer, uint32_t rank, uint32_t hidden)
{
    char name[TENSOR_NAME_MAX];
    snprintf(name, sizeof(name), "%s.%s_l%u", from->prefix, what, layer);
    return tensor_require(from->source, out, name, rank,
                          (const uint64_t[]){ 4ull * hidden, hidden });
}

// The sum of the two bias vectors; `bias` and `other` have room for one each.
static enum err load_bias(const struct loader *from, uint32_t layer, uint32_t hidden,
                          float *bias, float *other)
{
    struct tensor_view t;
    enum err e = find(from, &t, "bias_ih", layer, 1, hidden);
    if (e)
        return e;
    tensor_to_f32(&t, 0, 4ull * hidden, bias);
    e = find(from, &t, "bias_hh", layer, 1, hidden);
    if (e)
        return e;
    tensor_to_f32(&t, 0, 4ull * hidden, other);
    for (uint32_t i = 0; i < 4 * hidden; i++)
        bias[i] += other[i];
    return ERR_OK;
}

static enum err load_layer(struct codec_lstm *l, const struct loader *from, uint32_t layer,
                           float *bias)
{
    const uint32_t hidden = l->hidden;
    enum err e = load_bias(from, layer, hidden, bias, bias + 4 * (size_t) hidden);
    if (e)
        return e;
    struct tensor_view t;
    e = find(from, &t, "weight_ih", layer, 2, hidden);
    if (e)
        return e;
    const struct matrix_source rows = {
        .data = t.data,
        .f16 = t.dtype == DTYPE_F16,
        .row_stride = hidden,
        .bias = bias,
    };
    e = matrix_load(&l->input[layer], from->device, from->arena, &rows, 4 * hidden, hidden,
                    rows.f16);
    if (e)
        return e;
    e = find(from, &t, "weight_hh", layer, 2, hidden);
    if (e)
        return e;
    return lstm_weights_load(&l->recurrent[layer], from->device, from->arena, t.data, hidden,
                             t.dtype == DTYPE_F16);
}

enum err codec_lstm_load(struct codec_lstm *l, struct device *d, struct arena *a,
                         struct tensor_source *source, const char *prefix, uint32_t layers,
                         uint32_t hidden)
{
    *l = (struct codec_lstm){ .layers = layers, .hidden = hidden };
    const struct loader from = { d, a, source, prefix };
    float *bias = calloc(8 * (size_t) hidden, sizeof(*bias));
    if (!bias) {
        log_error("out of memory for %s", prefix);
        return ERR_NOMEM;
    }
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < layers; i++)
        e = load_layer(l, &from, i, bias);
    free(bias);
    return e;
}

enum err codec_lstm_make_room(struct codec_lstm *l, struct arena *a, uint32_t block)
{
    l->block = block;
    enum err e = arena_alloc_texels(a, gates_bytes(l->hidden, block), &l->gates);
    if (!e)
        e = arena_alloc_texels(a, between_bytes(l->hidden, block), &l->between);
    for (uint32_t i = 0; !e && i < l->layers; i++)
        e = lstm_state_create(&l->state[i], a, l->hidden);
    return e;
}

enum err codec_lstm_clear(const struct codec_lstm *l, struct device *d)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < l->layers; i++)
        e = lstm_state_clear(d, &l->state[i]);
    return e;
}

// What layer `layer`'s input says to all gates of the block.
static void record_input(struct stream *s, const struct codec_lstm *l, uint32_t layer,
                         struct span x, const struct codec_lstm_run *runs, uint32_t sequences)
{
    for (uint32_t b = 0; b < sequences; b++)
        op_matmul(s, &(struct matmul){
                         .w = &l->input[layer],
                         .x = layer ? l->between : x,
                         .y = l->gates,
                         .rows = runs[b].count,
                         .x_offset = (layer ? b * l->block : runs[b].row) * l->hidden,
                         .y_offset = b * l->block * 4 * l->hidden,
                     });
}

// The last layer adds to x; the others write what the next one reads.
static void record_steps(struct stream *s, const struct codec_lstm *l, uint32_t layer,
                         struct span x, const struct codec_lstm_run *runs, uint32_t sequences,
                         uint32_t turn)
{
    const bool last = layer + 1 == l->layers;
    uint32_t columns = 0;
    for (uint32_t b = 0; b < sequences; b++)
        columns = runs[b].count > columns ? runs[b].count : columns;
    for (uint32_t t = 0; t < columns; t++) {
        struct lstm_step step = {
            .w = &l->recurrent[layer],
            .state = &l->state[layer],
            .gates = l->gates,
            .y = last ? x : l->between,
            .sequences = sequences,
            .turn = turn + t,
            .add = last,
        };
        for (uint32_t b = 0; b < sequences; b++) {
            step.gates_row[b] = t < runs[b].count ? b * l->block + t : LSTM_NO_ROW;
            step.y_row[b] = last ? runs[b].row + t : b * l->block + t;
        }
        op_lstm_step(s, &step);
    }
}

void codec_lstm_step(struct stream *s, const struct codec_lstm *l, struct span x,
                     const struct codec_lstm_run *runs, uint32_t sequences, uint32_t turn)
{
    for (uint32_t layer = 0; layer < l->layers; layer++) {
        record_input(s, l, layer, x, runs, sequences);
        record_steps(s, l, layer, x, runs, sequences, turn);
    }
}
