// seanet: the convolutions of the codec, a stretch of time at a time.
//
// Signals are time-major: a row is a moment, its channels side by side. Every
// convolution becomes one op_matmul() over overlapping rows of a padded copy
// (op_pad_rows) of its input, a transposed one with a kernel of two strides
// likewise. To compute a range of the output, ask each layer from the last to
// the first which range of its input it sees, then run the layers over just
// those rows. An output's bits do not depend on the range it was computed in.
//
// Architecture: M. Tagliasacchi et al., "SEANet: A Multi-modal Speech
// Enhancement Network", 2020, arXiv:2009.02095, as EnCodec uses it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "worker/engine/stream.h"
#include "worker/model/tensors.h"
#include "worker/ops/matmul.h"

// Rows lo .. hi - 1.
struct range {
    int32_t lo, hi;
};

// Where some rows of a signal are: row `first` at element `offset`, dense.
struct signal {
    struct span span;
    uint32_t offset;
    int32_t first;
};

// One convolution. Step m looks at the input's rows m * stride - left and the
// kernel - 1 after it, and writes `up` rows of output from m * up - trim on; an
// ordinary convolution has up = 1 and trim = 0. `fold` steps are computed by one
// row of the matrix, so that rows start at multiples of 4 floats and narrow
// outputs fill the matmul's tiles.
struct conv {
    uint32_t in, out; // channels
    uint32_t kernel, stride, up, fold;
    int32_t left, trim;
    bool transposed;
    bool reflect;    // how the ends are padded
    bool elu_before; // on the input, in the padded copy
    struct matrix w; // [fold * up * out][(kernel + (fold - 1) * stride) * in]
};

enum layer_kind {
    LAYER_CONV,
    LAYER_BLOCK, // x + second(ELU(first(ELU(x)))), second with a kernel of 1
};

struct layer {
    enum layer_kind kind;
    uint32_t index; // N of model.N in the checkpoint
    struct conv first, second;
};

#define SEANET_MOST_LAYERS (2 * MODEL_MAX_RATIOS + 1)

struct seanet {
    const char *half; // "encoder" or "decoder"
    struct layer layers[SEANET_MOST_LAYERS];
    uint32_t count;
};

// The shapes of what comes before and after the LSTM of either half. No weights
// yet.
void seanet_decoder_front(struct seanet *n, const struct codec_config *c);
void seanet_decoder_back(struct seanet *n, const struct codec_config *c);
void seanet_encoder_front(struct seanet *n, const struct codec_config *c);
void seanet_encoder_back(struct seanet *n, const struct codec_config *c);

// Device memory for the weights; load them. Blocks. ERR_INPUT, ERR_DEVICE_MEM,
// ERR_NOMEM; logs.
uint64_t seanet_weights_bytes(const struct seanet *n, bool f16);
ERR_CHECKED enum err seanet_load(struct seanet *n, struct device *d, struct arena *a,
                                 struct tensor_source *source);

// The length of every layer's input, [0] being `length`, and of the output, [count].
void seanet_lengths(const struct seanet *n, int32_t length, int32_t *lengths);

// The rows of the input that rows `out` of the output depend on.
struct range seanet_needs(const struct seanet *n, struct range out, int32_t length);

// Floats that the buffers of a run need.
struct seanet_room {
    uint64_t rows;   // the layers' outputs
    uint64_t padded; // a layer's padded input
    uint64_t hidden; // inside a block
};

// Take what computing rows `out` needs into `room` where that is more.
void seanet_measure(const struct seanet *n, struct range out, int32_t length,
                    struct seanet_room *room);

struct seanet_buffers {
    struct span rows, padded, hidden; // with texel views
};

// Told of each layer's output while it is there: `valid` rows of it.
struct seanet_watch {
    void (*see)(struct seanet_watch *self, const struct seanet *n, const struct layer *l,
                const struct signal *at, struct range valid, int32_t length);
};

// Record the computation of rows `out` of the output; `in` holds at least
// seanet_needs() of an input that is `length` rows long, not in `b`. Returns
// where the output will be: in b->rows.
struct signal seanet_run(struct stream *s, const struct seanet *n,
                         const struct seanet_buffers *b, struct signal in, int32_t length,
                         struct range out, struct seanet_watch *watch);
