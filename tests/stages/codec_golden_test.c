// The codec against the golden data, and its promises about chunks and batches.
#include "common/base/bytes.h"
#include "tests/stages/golden.h"
#include "worker/model/codec.h"

// The golden codec with other padding, or with its matrices as halves.
struct altered {
    struct tensor_source tensors; // first: find() gets a pointer to it
    struct tensor_source *from;
    struct model_config config;
    bool f16;
    uint16_t *halves;
};

static enum err find(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    struct altered *a = (struct altered *) self;
    const enum err e = a->from->find(a->from, name, out);
    struct tensor_spec spec = { .rank = e ? 0 : out->rank };
    snprintf(spec.name, sizeof(spec.name), "%s", name);
    if (e || !a->f16 || tensor_spec_keeps_f32(&spec))
        return e;
    const uint64_t n = tensor_elements(out);
    free(a->halves);
    a->halves = malloc(n * sizeof(*a->halves));
    assert_non_null(a->halves);
    tensor_to_f16(out, 0, n, a->halves);
    out->dtype = DTYPE_F16;
    out->data = a->halves;
    out->bytes = 2 * n;
    return ERR_OK;
}

static struct altered altered(const struct golden *g, enum pad_mode pad, bool f16)
{
    struct altered a = { .from = model_import_tensors(g->model), .f16 = f16 };
    a.tensors = *a.from;
    a.tensors.find = find;
    a.config = *a.from->config;
    a.config.codec.pad = pad;
    return a;
}

// Keep `a` where it is while the codec is opened.
static struct codec *opened(struct golden *g, struct altered *a, bool probed, uint32_t chunk)
{
    struct codec *c;
    a->tensors.config = &a->config;
    const struct codec_params params = {
        .device = g->device,
        .source = &a->tensors,
        .decode = true,
        .encode = true,
        .probe = probed ? &g->probe : NULL,
        .chunk_columns = chunk,
    };
    assert_int_equal(codec_open(&c, &params), ERR_OK);
    free(a->halves);
    return c;
}

static struct codec *opened_as(struct golden *g, enum pad_mode pad, bool f16, bool probed,
                               uint32_t chunk)
{
    struct altered a = altered(g, pad, f16);
    return opened(g, &a, probed, chunk);
}

static const struct codec_config *config_of(const struct golden *g)
{
    return &model_import_tensors(g->model)->config->codec;
}

static int32_t *golden_codes(const struct golden *g, const char *name, uint32_t *columns)
{
    const struct tensor_view t = golden_tensor(g, name);
    const uint64_t n = tensor_elements(&t);
    int32_t *codes = malloc(n * sizeof(*codes));
    assert_non_null(codes);
    for (uint64_t i = 0; i < n; i++)
        codes[i] = (int32_t) tensor_at(&t, i);
    *columns = (uint32_t) t.shape[1];
    return codes;
}

static float *decoded(const struct golden *g, struct codec *c, const int32_t *tokens,
                      uint32_t columns)
{
    float *pcm = malloc((size_t) columns * codec_hop(config_of(g)) * sizeof(*pcm));
    assert_non_null(pcm);
    assert_int_equal(codec_decode(c, &(struct codec_piece){ tokens, columns, pcm }, 1), ERR_OK);
    return pcm;
}

static void compare_decoded(struct golden *g, struct codec *c, const char *codes,
                            const char *wav)
{
    uint32_t columns;
    int32_t *tokens = golden_codes(g, codes, &columns);
    float *pcm = decoded(g, c, tokens, columns);
    golden_compare(g, wav, pcm, 2,
                   (const uint64_t[]){ 1, (uint64_t) columns * codec_hop(config_of(g)) });
    free(tokens), free(pcm);
}

// `codes` may be NULL: there are none to compare with.
static void compare_encoded(struct golden *g, struct codec *c, const char *wav,
                            const char *latent, const char *codes)
{
    const struct codec_config *config = config_of(g);
    const uint64_t samples = golden_tensor(g, wav).shape[1];
    const uint64_t columns = codec_encoded_columns(config, samples);
    float *pcm = golden_floats(g, wav),
          *got = malloc(columns * config->dimension * sizeof(*got));
    int32_t *found = malloc(columns * config->codebooks * sizeof(*found));
    assert_int_equal(codec_encode(c, pcm, samples, found, got), ERR_OK);
    golden_compare(g, latent, got, 2, (const uint64_t[]){ config->dimension, columns });
    if (codes && !g->loose) {
        uint32_t n;
        int32_t *want = golden_codes(g, codes, &n);
        assert_int_equal(n, columns);
        assert_memory_equal(found, want, columns * config->codebooks * sizeof(*found));
        free(want);
    }
    free(pcm), free(got), free(found);
}

static void compare_all(struct golden *g, bool f16)
{
    struct codec *c = opened_as(g, PAD_CONSTANT, f16, true, 0);
    g->loose = f16;
    g->compared = 0;
    compare_decoded(g, c, "codec.dec_codes", "codec.dec_wav");
    assert_int_equal(g->compared, 13); // latent, 11 layers, the samples
    compare_encoded(g, c, "codec.wav", "codec.enc_latent", "codec.enc_codes");
    assert_int_equal(g->compared, 13 + 12);
    codec_close(&c);

    c = opened_as(g, PAD_CONSTANT, f16, false, 0);
    compare_decoded(g, c, "codec.short_codes", "codec.short_dec_wav");
    compare_encoded(g, c, "codec.short_wav", "codec.short_enc_latent", NULL);
    compare_decoded(g, c, "e2e.tokens", "e2e.wav");
    codec_close(&c);

    c = opened_as(g, PAD_REFLECT, f16, false, 0);
    compare_decoded(g, c, "codec.dec_codes", "codec_reflect.dec_wav");
    compare_encoded(g, c, "codec.wav", "codec_reflect.enc_latent", "codec_reflect.enc_codes");
    compare_decoded(g, c, "codec.short_codes", "codec_reflect.short_dec_wav");
    compare_encoded(g, c, "codec.short_wav", "codec_reflect.short_enc_latent", NULL);
    codec_close(&c);
}

static void every_tensor_is_the_references(void **state)
{
    compare_all(*state, false);
}

static void every_tensor_is_near_with_half_weights(void **state)
{
    compare_all(*state, true);
}

// --- Chunks and batches ------------------------------------------------------

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u; // Numerical Recipes' LCG
    return (uint32_t) (((uint64_t) (random_state >> 8) * n) >> 24);
}

static int32_t *random_tokens(const struct codec_config *c, uint32_t columns)
{
    int32_t *t = malloc((size_t) c->codebooks * columns * sizeof(*t));
    assert_non_null(t);
    for (size_t i = 0; i < (size_t) c->codebooks * columns; i++)
        t[i] = (int32_t) random_below(c->bins);
    return t;
}

static float *random_wave(uint64_t samples)
{
    float *w = malloc(samples * sizeof(*w));
    assert_non_null(w);
    for (uint64_t i = 0; i < samples; i++)
        w[i] = (float) random_below(1 << 16) * 0x1p-16f - 0.5f;
    return w;
}

static void check_decode_in_chunks(struct golden *g, enum pad_mode pad, uint32_t columns,
                                   uint32_t chunk)
{
    const struct codec_config *config = config_of(g);
    int32_t *tokens = random_tokens(config, columns);
    struct codec *whole = opened_as(g, pad, false, false, 0);
    struct codec *cut = opened_as(g, pad, false, false, chunk);
    float *want = decoded(g, whole, tokens, columns), *got = decoded(g, cut, tokens, columns);
    assert_memory_equal(got, want, (size_t) columns * codec_hop(config) * sizeof(*want));
    codec_close(&whole), codec_close(&cut);
    free(tokens), free(want), free(got);
}

static void check_encode_in_chunks(struct golden *g, enum pad_mode pad, uint64_t samples,
                                   uint32_t chunk)
{
    const struct codec_config *config = config_of(g);
    const size_t columns = codec_encoded_columns(config, samples);
    float *wave = random_wave(samples);
    float *latent[2];
    int32_t *codes[2];
    for (int i = 0; i < 2; i++) {
        struct codec *c = opened_as(g, pad, false, false, i ? chunk : 0);
        latent[i] = malloc(columns * config->dimension * sizeof(float));
        codes[i] = malloc(columns * config->codebooks * sizeof(int32_t));
        assert_int_equal(codec_encode(c, wave, samples, codes[i], latent[i]), ERR_OK);
        codec_close(&c);
    }
    assert_memory_equal(latent[0], latent[1], columns * config->dimension * sizeof(float));
    assert_memory_equal(codes[0], codes[1], columns * config->codebooks * sizeof(int32_t));
    for (int i = 0; i < 2; i++)
        free(latent[i]), free(codes[i]);
    free(wave);
}

static void chunks_do_not_show(void **state)
{
    for (enum pad_mode pad = PAD_CONSTANT; pad <= PAD_REFLECT; pad++) {
        check_decode_in_chunks(*state, pad, 1, 1);
        check_decode_in_chunks(*state, pad, 2, 1);
        check_decode_in_chunks(*state, pad, 23, 1);
        check_decode_in_chunks(*state, pad, 40, 7);
        check_decode_in_chunks(*state, pad, 64, 16);
        check_encode_in_chunks(*state, pad, 1, 1);
        check_encode_in_chunks(*state, pad, 641, 1);
        check_encode_in_chunks(*state, pad, 9 * 640 + 1, 1);
        check_encode_in_chunks(*state, pad, 20 * 640 - 1, 3);
        check_encode_in_chunks(*state, pad, 33 * 640 + 17, 8);
    }
}

// More columns than the largest chunk has.
static void minutes_are_no_different(void **state)
{
    check_decode_in_chunks(*state, PAD_REFLECT, 1100, 300);
    check_encode_in_chunks(*state, PAD_REFLECT, 1050 * 640 + 5, 300);
}

static void pieces_sound_the_same_together(void **state)
{
    enum { PIECES = 7 };
    static const uint32_t columns[PIECES] = { 12, 1, 30, 30, 7, 19, 64 };
    struct golden *g = *state;
    const struct codec_config *config = config_of(g);
    struct codec *c = opened_as(g, PAD_CONSTANT, false, false, 16);
    struct codec_piece pieces[PIECES];
    float *alone[PIECES];
    for (int i = 0; i < PIECES; i++) {
        const int32_t *tokens = random_tokens(config, columns[i]);
        alone[i] = decoded(g, c, tokens, columns[i]);
        pieces[i] = (struct codec_piece){ tokens, columns[i],
                                          malloc((size_t) columns[i] * codec_hop(config) * 4) };
    }
    assert_int_equal(codec_decode(c, pieces, PIECES), ERR_OK);
    for (int i = 0; i < PIECES; i++) {
        assert_memory_equal(pieces[i].pcm, alone[i],
                            (size_t) columns[i] * codec_hop(config) * 4);
        free((void *) (uintptr_t) pieces[i].tokens), free(pieces[i].pcm), free(alone[i]);
    }
    codec_close(&c);
}

static void refuses_what_is_no_token(void **state)
{
    struct golden *g = *state;
    const struct codec_config *config = config_of(g);
    struct codec *c = opened_as(g, PAD_CONSTANT, false, false, 0);
    int32_t *tokens = random_tokens(config, 5);
    float *pcm = malloc(5ull * codec_hop(config) * sizeof(*pcm));
    const struct codec_piece piece = { tokens, 5, pcm };
    static const int32_t bad[] = { -1, INT32_MIN, INT32_MAX };
    for (size_t i = 0; i < 3; i++) {
        tokens[13] = bad[i];
        assert_int_equal(codec_decode(c, &piece, 1), ERR_INPUT);
    }
    tokens[13] = (int32_t) config->bins;
    assert_int_equal(codec_decode(c, &piece, 1), ERR_INPUT);
    tokens[13] = (int32_t) config->bins - 1;
    assert_int_equal(codec_decode(c, &piece, 1), ERR_OK);
    assert_int_equal(codec_decode(c, &(struct codec_piece){ tokens, 0, pcm }, 1), ERR_INPUT);
    assert_int_equal(codec_encode(c, pcm, 0, tokens, NULL), ERR_INPUT);
    pcm[7] = NAN; // is heard everywhere: no code is near
    assert_int_equal(codec_encode(c, pcm, 5ull * codec_hop(config), tokens, NULL), ERR_INPUT);
    pcm[7] = 0; // and is forgotten again
    assert_int_equal(codec_encode(c, pcm, 5ull * codec_hop(config), tokens, NULL), ERR_OK);
    codec_close(&c);
    free(tokens), free(pcm);
}

static void takes_the_memory_it_says(void **state)
{
    struct golden *g = *state;
    struct altered a = altered(g, PAD_CONSTANT, false);
    a.tensors.config = &a.config;
    for (int part = 0; part < 2; part++) {
        const uint64_t before = device_memory_used(g->device);
        struct codec *c;
        const struct codec_params params = { .device = g->device,
                                             .source = &a.tensors,
                                             .decode = part == 0,
                                             .encode = part == 1 };
        assert_int_equal(codec_open(&c, &params), ERR_OK);
        const uint64_t taken = device_memory_used(g->device) - before;
        const uint64_t said =
            codec_bytes(config_of(g), part ? PART_CODEC_ENCODER : PART_CODEC_DECODER, false);
        assert_true(taken <= said);
        codec_close(&c);
        assert_int_equal(device_memory_used(g->device), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_the_references),
        cmocka_unit_test(every_tensor_is_near_with_half_weights),
        cmocka_unit_test(chunks_do_not_show),
        cmocka_unit_test(minutes_are_no_different),
        cmocka_unit_test(pieces_sound_the_same_together),
        cmocka_unit_test(refuses_what_is_no_token),
        cmocka_unit_test(takes_the_memory_it_says),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
