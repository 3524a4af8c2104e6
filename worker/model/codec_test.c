// The codec at sizes that no published model has, against the formulas in
// double, layer after layer as the published code runs them.
#include "worker/model/codec.h"

#include "worker/model/random_source.h"
#include "worker/ops/ops_fixture.h"

// --- The reference -----------------------------------------------------------

// [channels][length]
struct wave {
    int channels, length;
    double *v;
};

static struct wave wave_of(int channels, int length)
{
    struct wave w = { channels, length,
                      calloc((size_t) channels * (size_t) length, sizeof(double)) };
    assert_non_null(w.v);
    return w;
}

static double *at(const struct wave *w, int channel, int t)
{
    return &w->v[channel * w->length + t];
}

static double *tensor(struct tensor_source *s, const char *name, int *a, int *b, int *c)
{
    struct tensor_view t;
    if (s->find(s, name, &t))
        fail_msg("no tensor %s", name);
    int *const extents[] = { a, b, c };
    for (uint32_t i = 0; i < 3; i++)
        if (extents[i])
            *extents[i] = i < t.rank ? (int) t.shape[i] : 1;
    const uint64_t n = tensor_elements(&t);
    double *v = malloc(n * sizeof(*v));
    assert_non_null(v);
    for (uint64_t i = 0; i < n; i++)
        v[i] = (double) tensor_at(&t, i);
    return v;
}

static double *tensor_at_layer(struct tensor_source *s, const char *half, int layer,
                               const char *what, int *a, int *b, int *c)
{
    char name[TENSOR_NAME_MAX];
    snprintf(name, sizeof(name), "codec.%s.model.%d.%s", half, layer, what);
    return tensor(s, name, a, b, c);
}

static void elu(struct wave *w)
{
    for (int i = 0; i < w->channels * w->length; i++)
        w->v[i] = w->v[i] > 0 ? w->v[i] : expm1(w->v[i]);
}

static struct wave copy(const struct wave *w)
{
    struct wave c = wave_of(w->channels, w->length);
    memcpy(c.v, w->v, (size_t) (w->channels * w->length) * sizeof(double));
    return c;
}

// The published pad1d: when reflecting a signal no longer than the padding,
// zeros are appended first and dropped afterwards.
static struct wave padded(const struct wave *w, int left, int right, bool reflect)
{
    struct wave p = wave_of(w->channels, left + w->length + right);
    const int most = left > right ? left : right;
    const int extra = reflect && w->length <= most ? most - w->length + 1 : 0;
    const int end = w->length + extra - 1;
    for (int c = 0; c < w->channels; c++)
        for (int t = 0; t < p.length; t++) {
            int from = t - left;
            if (reflect)
                from = abs(from);
            if (reflect && from > end)
                from = 2 * end - from;
            *at(&p, c, t) = from >= 0 && from < w->length ? *at(w, c, from) : 0;
        }
    return p;
}

struct reference {
    struct tensor_source *source;
    const struct codec_config *config;
    const char *half;
};

// Replaces *w.
static void conv(const struct reference *r, struct wave *w, int layer, const char *prefix,
                 int stride)
{
    char name[64];
    int out, in, k;
    snprintf(name, sizeof(name), "%s.weight", prefix);
    double *weight = tensor_at_layer(r->source, r->half, layer, name, &out, &in, &k);
    snprintf(name, sizeof(name), "%s.bias", prefix);
    double *bias = tensor_at_layer(r->source, r->half, layer, name, NULL, NULL, NULL);
    assert_int_equal(in, w->channels);
    const int total = k - stride, right = total / 2;
    const int length = (w->length + stride - 1) / stride, extra = length * stride - w->length;
    struct wave p = padded(w, total - right, right + extra, r->config->pad == PAD_REFLECT);
    struct wave y = wave_of(out, length);
    for (int o = 0; o < out; o++)
        for (int t = 0; t < length; t++) {
            double sum = bias[o];
            for (int i = 0; i < in; i++)
                for (int j = 0; j < k; j++)
                    sum += weight[(o * in + i) * k + j] * *at(&p, i, t * stride + j);
            *at(&y, o, t) = sum;
        }
    free(weight), free(bias), free(p.v), free(w->v);
    *w = y;
}

static void transposed(const struct reference *r, struct wave *w, int layer, int stride)
{
    int in, out, k;
    double *weight = tensor_at_layer(r->source, r->half, layer, "convtr.weight", &in, &out, &k);
    double *bias = tensor_at_layer(r->source, r->half, layer, "convtr.bias", NULL, NULL, NULL);
    const int right = (k - stride) / 2, left = k - stride - right;
    struct wave full = wave_of(out, (w->length - 1) * stride + k);
    for (int t = 0; t < w->length; t++)
        for (int i = 0; i < in; i++)
            for (int o = 0; o < out; o++)
                for (int j = 0; j < k; j++)
                    *at(&full, o, t * stride + j) +=
                        weight[(i * out + o) * k + j] * *at(w, i, t);
    struct wave y = wave_of(out, full.length - left - right);
    for (int o = 0; o < out; o++)
        for (int t = 0; t < y.length; t++)
            *at(&y, o, t) = *at(&full, o, t + left) + bias[o];
    free(weight), free(bias), free(full.v), free(w->v);
    *w = y;
}

static void block(const struct reference *r, struct wave *w, int layer)
{
    struct wave h = copy(w);
    elu(&h);
    conv(r, &h, layer, "block.1.conv", 1);
    elu(&h);
    conv(r, &h, layer, "block.3.conv", 1);
    for (int i = 0; i < w->channels * w->length; i++)
        w->v[i] += h.v[i];
    free(h.v);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double *lstm_tensor(const struct reference *r, int layer, const char *what, uint32_t n)
{
    char name[64];
    snprintf(name, sizeof(name), "lstm.%s_l%u", what, n);
    return tensor_at_layer(r->source, r->half, layer, name, NULL, NULL, NULL);
}

static void lstm_layer(const struct reference *r, struct wave *w, int layer, uint32_t n)
{
    const int size = w->channels;
    double *wi = lstm_tensor(r, layer, "weight_ih", n),
           *wh = lstm_tensor(r, layer, "weight_hh", n);
    double *bi = lstm_tensor(r, layer, "bias_ih", n), *bh = lstm_tensor(r, layer, "bias_hh", n);
    double *h = calloc((size_t) size * 6, sizeof(*h)), *c = h + size, *g = c + size;
    for (int t = 0; t < w->length; t++) {
        for (int row = 0; row < 4 * size; row++) {
            g[row] = bi[row] + bh[row];
            for (int i = 0; i < size; i++)
                g[row] += wi[row * size + i] * *at(w, i, t) + wh[row * size + i] * h[i];
        }
        for (int i = 0; i < size; i++) {
            c[i] = sigmoid(g[size + i]) * c[i] + sigmoid(g[i]) * tanh(g[2 * size + i]);
            h[i] = sigmoid(g[3 * size + i]) * tanh(c[i]);
            *at(w, i, t) = h[i];
        }
    }
    free(wi), free(wh), free(bi), free(bh), free(h);
}

static void lstm(const struct reference *r, struct wave *w, int layer)
{
    struct wave h = copy(w);
    for (uint32_t n = 0; n < r->config->lstm_layers; n++)
        lstm_layer(r, &h, layer, n);
    for (int i = 0; i < w->channels * w->length; i++)
        w->v[i] += h.v[i];
    free(h.v);
}

static struct wave decode(struct reference *r, const int32_t *tokens, int columns)
{
    const struct codec_config *c = r->config;
    struct wave w = wave_of((int) c->dimension, columns);
    for (int k = 0; k < (int) c->codebooks; k++) {
        char name[64];
        snprintf(name, sizeof(name), "codec.quantizer.%d.embed", k);
        double *embed = tensor(r->source, name, NULL, NULL, NULL);
        for (int t = 0; t < columns; t++)
            for (int d = 0; d < w.channels; d++)
                *at(&w, d, t) += embed[tokens[k * columns + t] * w.channels + d];
        free(embed);
    }
    r->half = "decoder";
    conv(r, &w, 0, "conv", 1);
    lstm(r, &w, 1);
    for (int i = 0; i < (int) c->ratio_count; i++) {
        elu(&w);
        transposed(r, &w, 3 + 3 * i, (int) c->ratios[i]);
        block(r, &w, 4 + 3 * i);
    }
    elu(&w);
    conv(r, &w, 3 + 3 * (int) c->ratio_count, "conv", 1);
    return w;
}

static struct wave encode(struct reference *r, const float *pcm, int samples)
{
    const struct codec_config *c = r->config;
    const int ratios = (int) c->ratio_count;
    struct wave w = wave_of(1, samples);
    for (int i = 0; i < samples; i++)
        w.v[i] = (double) pcm[i];
    r->half = "encoder";
    conv(r, &w, 0, "conv", 1);
    for (int i = 0; i < ratios; i++) {
        block(r, &w, 1 + 3 * i);
        elu(&w);
        conv(r, &w, 3 + 3 * i, "conv", (int) c->ratios[ratios - 1 - i]);
    }
    lstm(r, &w, 1 + 3 * ratios);
    elu(&w);
    conv(r, &w, 3 + 3 * ratios, "conv", 1);
    return w;
}

// --- The tests ---------------------------------------------------------------

static double largest(const struct wave *w)
{
    double most = 0;
    for (int i = 0; i < w->channels * w->length; i++)
        most = fmax(most, fabs(w->v[i]));
    return most;
}

static void check_decode(struct ops_fixture *f, struct codec *c, struct reference *r,
                         uint32_t columns)
{
    int32_t *tokens = malloc((size_t) r->config->codebooks * columns * sizeof(*tokens));
    for (uint32_t i = 0; i < r->config->codebooks * columns; i++)
        tokens[i] = (int32_t) ((noise(f) + 1) / 2 * (float) r->config->bins);
    struct wave want = decode(r, tokens, (int) columns);
    assert_int_equal(want.length, columns * codec_hop(r->config));
    float *pcm = malloc((size_t) want.length * sizeof(*pcm));
    assert_int_equal(codec_decode(c, &(struct codec_piece){ tokens, columns, pcm }, 1), ERR_OK);
    assert_close(pcm, want.v, (size_t) want.length, 1e-5 * largest(&want), 1e-5);
    free(tokens), free(pcm), free(want.v);
}

// What the greedy search leaves of the latent says whether the codes are right,
// ties and near ties included.
static void check_codes(struct tensor_source *s, const struct wave *latent,
                        const int32_t *codes, const struct codec_config *c)
{
    struct wave left = copy(latent);
    for (int k = 0; k < (int) c->codebooks; k++) {
        char name[64];
        snprintf(name, sizeof(name), "codec.quantizer.%d.embed", k);
        double *embed = tensor(s, name, NULL, NULL, NULL);
        for (int t = 0; t < left.length; t++) {
            double least = HUGE_VAL, chosen = 0;
            const int code = codes[k * left.length + t];
            assert_in_range(code, 0, c->bins - 1);
            for (int b = 0; b < (int) c->bins; b++) {
                double distance = 0;
                for (int d = 0; d < left.channels; d++)
                    distance += pow(*at(&left, d, t) - embed[b * left.channels + d], 2);
                least = fmin(least, distance);
                chosen = b == code ? distance : chosen;
            }
            assert_true(chosen <= least * 1.0001);
            for (int d = 0; d < left.channels; d++)
                *at(&left, d, t) -= embed[code * left.channels + d];
        }
        free(embed);
    }
    free(left.v);
}

static void check_encode(struct ops_fixture *f, struct codec *c, struct reference *r,
                         uint32_t samples)
{
    float *pcm = noise_array(f, samples, 1);
    struct wave want = encode(r, pcm, (int) samples);
    const size_t columns = codec_encoded_columns(r->config, samples);
    assert_int_equal(want.length, columns);
    float *latent = malloc(columns * r->config->dimension * sizeof(*latent));
    int32_t *codes = malloc(columns * r->config->codebooks * sizeof(*codes));
    assert_int_equal(codec_encode(c, pcm, samples, codes, latent), ERR_OK);
    assert_close(latent, want.v, columns * r->config->dimension, 1e-5 * largest(&want), 1e-5);
    check_codes(r->source, &want, codes, r->config);
    free(pcm), free(latent), free(codes), free(want.v);
}

static const struct codec_config odd_sizes[] = {
    // The smallest of everything.
    { .sample_rate = 8000,
      .channels = 1,
      .filters = 1,
      .dimension = 1,
      .bins = 2,
      .codebooks = 1,
      .ratios = { 1 },
      .ratio_count = 1,
      .kernel = 1,
      .last_kernel = 1,
      .residual_kernel = 1,
      .compress = 1,
      .lstm_layers = 1 },
    // Channels that are no multiple of 4, strides that are odd or 1, even kernels.
    { .sample_rate = 16000,
      .channels = 1,
      .filters = 3,
      .dimension = 5,
      .bins = 7,
      .codebooks = 3,
      .ratios = { 3, 1, 5 },
      .ratio_count = 3,
      .kernel = 4,
      .last_kernel = 6,
      .residual_kernel = 2,
      .compress = 3,
      .lstm_layers = 3 },
    { .sample_rate = 16000,
      .channels = 1,
      .filters = 6,
      .dimension = 10,
      .bins = 33,
      .codebooks = 2,
      .ratios = { 2, 7 },
      .ratio_count = 2,
      .kernel = 9,
      .last_kernel = 3,
      .residual_kernel = 5,
      .compress = 2,
      .lstm_layers = 2 },
    // A kernel wider than most signals.
    { .sample_rate = 16000,
      .channels = 1,
      .filters = 4,
      .dimension = 12,
      .bins = 100,
      .codebooks = 1,
      .ratios = { 2, 2 },
      .ratio_count = 2,
      .kernel = 31,
      .last_kernel = 17,
      .residual_kernel = 11,
      .compress = 1,
      .lstm_layers = 1 },
};

static void check_config(struct ops_fixture *f, const struct codec_config *c, enum pad_mode pad,
                         uint32_t chunk)
{
    struct model_config m;
    assert_int_equal(model_config_preset(&m, "tiny"), ERR_OK);
    m.codec = *c;
    m.codec.pad = pad;
    m.lm.card = c->bins;
    m.lm.codebooks = c->codebooks;
    struct random_source *random;
    assert_int_equal(random_source_create(&random, &m, 5, DTYPE_F32), ERR_OK);
    struct tensor_source *source = random_source_tensors(random);
    struct reference r = { .source = source, .config = &source->config->codec };
    const struct codec_params params = { .device = f->device,
                                         .source = source,
                                         .decode = true,
                                         .encode = true,
                                         .chunk_columns = chunk };
    struct codec *codec;
    assert_int_equal(codec_open(&codec, &params), ERR_OK);
    const uint32_t hop = codec_hop(c);
    static const uint32_t columns[] = { 1, 2, 5, 23 };
    for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++) {
        check_decode(f, codec, &r, columns[i]);
        check_encode(f, codec, &r, columns[i] * hop - hop / 2);
    }
    check_encode(f, codec, &r, 1);
    check_encode(f, codec, &r, 7 * hop + 1);
    codec_close(&codec);
    random_source_destroy(&random);
}

static void matches_the_formulas_at_odd_sizes(void **state)
{
    for (size_t i = 0; i < sizeof(odd_sizes) / sizeof(*odd_sizes); i++)
        for (enum pad_mode pad = PAD_CONSTANT; pad <= PAD_REFLECT; pad++) {
            check_config(*state, &odd_sizes[i], pad, 0);
            check_config(*state, &odd_sizes[i], pad, 1 + (uint32_t) i);
        }
}

// A tensor source that has forgotten one name.
struct forgetful {
    struct tensor_source tensors; // first: find() gets a pointer to it
    struct tensor_source *from;
    const char *name;
};

static enum err find_most(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    const struct forgetful *f = (struct forgetful *) self;
    return strcmp(name, f->name) ? f->from->find(f->from, name, out) : ERR_MISSING;
}

static void does_not_open_without_all_its_tensors(void **state)
{
    static const char *const names[] = {
        "codec.decoder.model.0.conv.bias",           "codec.decoder.model.1.lstm.weight_hh_l1",
        "codec.decoder.model.4.block.3.conv.weight", "codec.decoder.model.12.convtr.weight",
        "codec.encoder.model.15.conv.weight",        "codec.quantizer.3.embed",
    };
    struct ops_fixture *f = *state;
    struct model_config m;
    assert_int_equal(model_config_preset(&m, "tiny"), ERR_OK);
    struct random_source *random;
    assert_int_equal(random_source_create(&random, &m, 5, DTYPE_F32), ERR_OK);
    struct tensor_source *source = random_source_tensors(random);
    const uint64_t before = device_memory_used(f->device);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct forgetful part = { .tensors = *source, .from = source, .name = names[i] };
        part.tensors.find = find_most;
        const struct codec_params params = { .device = f->device,
                                             .source = &part.tensors,
                                             .decode = true,
                                             .encode = true };
        struct codec *c;
        assert_int_equal(codec_open(&c, &params), ERR_INPUT);
        assert_null(c);
        assert_int_equal(device_memory_used(f->device), before);
    }
    random_source_destroy(&random);
}

// A tensor source whose first code of the first codebook is no number.
static enum err find_broken(struct tensor_source *self, const char *name,
                            struct tensor_view *out)
{
    static float embed[1 << 18];
    const struct forgetful *f = (struct forgetful *) self;
    const enum err e = f->from->find(f->from, name, out);
    if (e || strcmp(name, f->name) != 0)
        return e;
    assert_true(out->dtype == DTYPE_F32 && out->bytes <= sizeof(embed));
    memcpy(embed, out->data, out->bytes);
    embed[3] = NAN;
    out->data = embed;
    return ERR_OK;
}

static void sound_that_is_no_number_is_told(void **state)
{
    struct ops_fixture *f = *state;
    struct model_config m;
    assert_int_equal(model_config_preset(&m, "tiny"), ERR_OK);
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_F16; dtype++) {
        struct random_source *random;
        assert_int_equal(random_source_create(&random, &m, 5, dtype), ERR_OK);
        struct tensor_source *source = random_source_tensors(random);
        struct forgetful broken = { .tensors = *source,
                                    .from = source,
                                    .name = "codec.quantizer.0.embed" };
        broken.tensors.find = find_broken;
        const struct codec_params params = { .device = f->device,
                                             .source = &broken.tensors,
                                             .decode = true };
        struct codec *c;
        assert_int_equal(codec_open(&c, &params), ERR_OK);
        enum { columns = 3 };
        int32_t *tokens = malloc(sizeof(*tokens) * m.codec.codebooks * columns);
        float *pcm = malloc(sizeof(*pcm) * columns * codec_hop(&m.codec));
        for (uint32_t i = 0; i < m.codec.codebooks * columns; i++)
            tokens[i] = 1;
        const struct codec_piece piece = { tokens, columns, pcm };
        assert_int_equal(codec_decode(c, &piece, 1), ERR_OK);
        tokens[1] = 0;
        assert_int_equal(codec_decode(c, &piece, 1), ERR_DEVICE);
        codec_close(&c);
        free(tokens), free(pcm);
        random_source_destroy(&random);
    }
}

static void does_not_open_without_room(void **state)
{
    (void) state;
    struct model_config m;
    assert_int_equal(model_config_preset(&m, "tiny"), ERR_OK);
    struct random_source *random;
    assert_int_equal(random_source_create(&random, &m, 5, DTYPE_F32), ERR_OK);
    struct tensor_source *source = random_source_tensors(random);
    for (uint64_t limit = 1 << 20; limit <= 16 << 20; limit *= 2) {
        struct device *device;
        const struct device_params tight = { .memory_limit = limit };
        assert_int_equal(device_open(&device, &tight), ERR_OK);
        struct codec *c;
        const struct codec_params params = { .device = device,
                                             .source = source,
                                             .decode = true };
        assert_int_equal(codec_open(&c, &params), ERR_DEVICE_MEM);
        assert_null(c);
        device_close(&device);
    }
    random_source_destroy(&random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_the_formulas_at_odd_sizes),
        cmocka_unit_test(does_not_open_without_all_its_tensors),
        cmocka_unit_test(sound_that_is_no_number_is_told),
        cmocka_unit_test(does_not_open_without_room),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
