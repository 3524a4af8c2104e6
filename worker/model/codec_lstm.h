// codec_lstm: the recurrent layers in the middle of either half of the codec,
// with their skip: x + LSTM(x), block of time after block of time, several
// sequences side by side.
#pragma once

#include <stdint.h>

#include "worker/model/tensors.h"
#include "worker/ops/lstm_step.h"
#include "worker/ops/matmul.h"

#define CODEC_LSTM_MOST_LAYERS 8

struct codec_lstm {
    uint32_t layers, hidden;
    uint32_t block;                              // most columns at once
    struct matrix input[CODEC_LSTM_MOST_LAYERS]; // [4 H][H], both biases added up
    struct lstm_weights recurrent[CODEC_LSTM_MOST_LAYERS];
    struct lstm_state state[CODEC_LSTM_MOST_LAYERS];
    struct span gates; // [LSTM_MOST_SEQUENCES][block][4 H]
    // [LSTM_MOST_SEQUENCES][block][H]: one layer's output, the next one's input.
    struct span between;
};

uint64_t codec_lstm_weights_bytes(uint32_t layers, uint32_t hidden, bool f16);
uint64_t codec_lstm_scratch_bytes(uint32_t layers, uint32_t hidden, uint32_t block);

// Weights of `prefix`.{weight_ih,...}_l{0,1,...}. Blocks. ERR_INPUT,
// ERR_DEVICE_MEM, ERR_NOMEM; logs.
ERR_CHECKED enum err codec_lstm_load(struct codec_lstm *l, struct device *d, struct arena *a,
                                     struct tensor_source *source, const char *prefix,
                                     uint32_t layers, uint32_t hidden);

// Room for blocks of `block` columns.
ERR_CHECKED enum err codec_lstm_make_room(struct codec_lstm *l, struct arena *a,
                                          uint32_t block);

// Back to the beginning of all sequences. Blocks.
ERR_CHECKED enum err codec_lstm_clear(const struct codec_lstm *l, struct device *d);

// The columns of one sequence in a block: `count` rows of x from row `row` on.
struct codec_lstm_run {
    uint32_t row;
    uint32_t count; // at most l->block; a sequence that has less than the others ends here
};

// Record x += LSTM(x), in place, x being f32 rows of H. `turn` is the number of
// columns each sequence has had before, the same for all.
void codec_lstm_step(struct stream *s, const struct codec_lstm *l, struct span x,
                     const struct codec_lstm_run *runs, uint32_t sequences, uint32_t turn);
