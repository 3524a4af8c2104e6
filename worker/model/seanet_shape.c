// seanet_shape: which convolutions there are, and how each is cut into steps.
#include "worker/model/seanet.h"

static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
    return b ? greatest_common_divisor(b, a % b) : a;
}

#define LEAST_COLUMNS 8 // of a matrix, so that a tile of the matmul is full

static uint32_t choose_fold(uint32_t step_floats, uint32_t columns)
{
    uint32_t fold = 4 / greatest_common_divisor(4, step_floats);
    while (fold * columns < LEAST_COLUMNS)
        fold *= 2;
    return fold;
}

// Padding: kernel - stride in all, the larger half on the left.
static struct conv conv_shape(const struct codec_config *c, uint32_t in, uint32_t out,
                              uint32_t kernel, uint32_t stride)
{
    const uint32_t total = kernel - stride;
    return (struct conv){
        .in = in,
        .out = out,
        .kernel = kernel,
        .stride = stride,
        .up = 1,
        .fold = choose_fold(stride * in, out),
        .left = (int32_t) (total - total / 2),
        .reflect = c->pad == PAD_REFLECT,
        .elu_before = true,
    };
}

// Stride s and a kernel of 2 s: rows m s .. m s + s - 1 of the untrimmed output
// are made of the input's rows m - 1 and m.
static struct conv transposed_shape(uint32_t in, uint32_t out, uint32_t stride)
{
    return (struct conv){
        .in = in,
        .out = out,
        .kernel = 2,
        .stride = 1,
        .up = stride,
        .fold = choose_fold(in, stride * out),
        .left = 1,
        .trim = (int32_t) (stride - stride / 2),
        .transposed = true,
        .elu_before = true,
    };
}

static struct layer *add_layer(struct seanet *n, enum layer_kind kind, uint32_t index)
{
    struct layer *l = &n->layers[n->count++];
    *l = (struct layer){ .kind = kind, .index = index };
    return l;
}

static void add_conv(struct seanet *n, uint32_t index, struct conv shape)
{
    add_layer(n, LAYER_CONV, index)->first = shape;
}

static void add_block(struct seanet *n, uint32_t index, const struct codec_config *c,
                      uint32_t channels)
{
    const uint32_t hidden = channels / c->compress;
    struct layer *l = add_layer(n, LAYER_BLOCK, index);
    l->first = conv_shape(c, channels, hidden, c->residual_kernel, 1);
    l->second = conv_shape(c, hidden, channels, 1, 1);
}

static uint32_t widest(const struct codec_config *c)
{
    return c->filters << c->ratio_count;
}

static uint32_t last_index(const struct codec_config *c)
{
    return 3 + 3 * c->ratio_count;
}

void seanet_decoder_front(struct seanet *n, const struct codec_config *c)
{
    *n = (struct seanet){ .half = "decoder" };
    struct conv first = conv_shape(c, c->dimension, widest(c), c->kernel, 1);
    first.elu_before = false;
    add_conv(n, 0, first);
}

void seanet_decoder_back(struct seanet *n, const struct codec_config *c)
{
    *n = (struct seanet){ .half = "decoder" };
    uint32_t channels = widest(c);
    for (uint32_t i = 0; i < c->ratio_count; i++) {
        add_conv(n, 3 + 3 * i, transposed_shape(channels, channels / 2, c->ratios[i]));
        channels /= 2;
        add_block(n, 4 + 3 * i, c, channels);
    }
    add_conv(n, last_index(c), conv_shape(c, channels, c->channels, c->last_kernel, 1));
}

void seanet_encoder_front(struct seanet *n, const struct codec_config *c)
{
    *n = (struct seanet){ .half = "encoder" };
    uint32_t channels = c->filters;
    struct conv first = conv_shape(c, c->channels, channels, c->kernel, 1);
    first.elu_before = false;
    add_conv(n, 0, first);
    for (uint32_t i = 0; i < c->ratio_count; i++) {
        const uint32_t ratio = c->ratios[c->ratio_count - 1 - i];
        add_block(n, 1 + 3 * i, c, channels);
        add_conv(n, 3 + 3 * i, conv_shape(c, channels, 2 * channels, 2 * ratio, ratio));
        channels *= 2;
    }
}

void seanet_encoder_back(struct seanet *n, const struct codec_config *c)
{
    *n = (struct seanet){ .half = "encoder" };
    add_conv(n, last_index(c), conv_shape(c, widest(c), c->dimension, c->last_kernel, 1));
}
