// codec_half: what decoding and encoding have in common: convolutions (the
// front), an LSTM, convolutions (the back), worked through in chunks of columns.
// For codec_decoder.c and codec_encoder.c.
//
// The LSTM must see its columns in order; the convolutions also see a few
// columns to either side. So each round takes the next chunk of columns through
// the front and the LSTM, then computes what the back can give without columns
// that are yet to come, and keeps the columns that it will look back at:
//
//             kept        chunk
//         |---------|----------------|          through the front and the LSTM
//      -------------|------------|              through the back
//             done before    done afterwards
#pragma once

#include "worker/model/codec.h"
#include "worker/model/codec_lstm.h"
#include "worker/model/codec_watch.h"
#include "worker/model/seanet.h"

// What makes a half the one or the other; set before anything else.
struct codec_shape {
    const char *name;     // "codec decoder"
    char lstm[64];        // prefix of its tensors
    char lstm_output[16]; // "model1", for the probe
    uint32_t hidden, lstm_layers;
    uint32_t input_channels;
    uint32_t input_rows;  // of the front's input, a column
    uint32_t output_rows; // of the back's output, a column
    uint32_t slots;       // sequences side by side
    struct seanet front, back;
};

// What follows from it.
struct codec_sizes {
    int32_t chunk;              // columns at once
    int32_t lag;                // columns after a column that the back looks at
    uint32_t room;              // columns in a slot
    uint32_t input;             // most rows of the front's input
    struct seanet_room scratch; // floats
};

struct codec_half {
    struct codec_shape shape;
    struct codec_sizes sizes;
    struct device *device;
    struct stream *stream;
    struct arena *weights, *scratch, *shared; // the last is mapped
    struct codec_lstm lstm;
    struct span input;      // [sizes.input][input_channels], of `scratch` or `shared`
    struct span columns[2]; // [slots][room][H], used in turns: what the LSTM works on
    struct seanet_buffers buffers;
    struct codec_watch *watch;
};

// A sequence on its way through. The caller sets the first three.
struct codec_run {
    void *client;
    int32_t columns;      // in all
    int32_t input_length; // rows of the front's input in all
    int32_t fed, done;    // columns through the LSTM, and through the back
    int32_t first;        // the column that its slot starts with
};

// What only one of the halves knows. Errors in recording stay in the stream.
struct codec_ends {
    // See to it that h->input has, from its beginning on, the rows `needed` of
    // the front's input; `slot` is the sequence's place among those of the round.
    enum err (*feed)(struct codec_half *h, struct codec_run *run, uint32_t slot,
                     struct range needed);
    // The back's output for columns `done` will be at `at`: record the rest, run
    // the stream, hand it over.
    enum err (*take)(struct codec_half *h, struct codec_run *run, struct range done,
                     const struct signal *at);
};

// `chunk_columns` as in codec_params.
struct codec_sizes codec_half_measure(const struct codec_shape *shape, uint32_t chunk_columns);

// Device bytes of a half whose owner takes `more` for itself, an upper bound.
uint64_t codec_half_bytes(const struct codec_shape *shape, const struct codec_sizes *sizes,
                          bool f16, uint64_t more);

// h->shape is set, and the rest zero. `input_shared`: h->input is mapped.
ERR_CHECKED enum err codec_half_open(struct codec_half *h, const struct codec_params *p,
                                     bool input_shared);
void codec_half_close(struct codec_half *h); // a zeroed one is fine

// Floats in `a` with a texel view, all zero. ERR_DEVICE_MEM logs it when the
// device cannot bind that many at once.
ERR_CHECKED enum err codec_half_alloc(struct codec_half *h, struct arena *a, uint64_t floats,
                                      struct span *out);

// Take `count` sequences, at most `slots`, the longest first, all the way.
ERR_CHECKED enum err codec_half_run(struct codec_half *h, struct codec_run *runs,
                                    uint32_t count, const struct codec_ends *ends);
