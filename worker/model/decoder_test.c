// Tests of the decoder on random models: sizes that nothing was made for against
// the formula in double, and what a batch must not change.
#include "worker/model/decoder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/model/delay_pattern.h"
#include "worker/model/random_source.h"
#include "worker/model/sin_embedding.h"

struct fixture {
    struct device *device;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *validation = getenv("UNDERSCORE_TEST_VALIDATION");
    const struct device_params params = { .validation = validation && *validation == '1' };
    assert_int_equal(device_open(&f->device, &params), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    const uint32_t messages = device_validation_messages(f->device);
    device_close(&f->device);
    free(f);
    return messages ? -1 : 0;
}

static float noise_at(uint32_t i) // uniform in [-1, 1)
{
    i = (i ^ 61u ^ i >> 16) * 9u; // Thomas Wang's integer hash
    i = (i ^ i >> 4) * 0x27d4eb2du;
    return (float) ((i ^ i >> 15) >> 8) * 0x1p-23f - 1.0f;
}

static struct model_config tiny(void)
{
    struct model_config c;
    assert_int_equal(model_config_preset(&c, "tiny"), ERR_OK);
    return c;
}

// Heads 6 wide, a vocabulary and a hidden size that are multiples of nothing,
// uneven delays.
static struct model_config odd(void)
{
    struct model_config c = tiny();
    c.lm.dim = 42;
    c.lm.heads = 7;
    c.lm.layers = 2;
    c.lm.hidden = 51;
    c.lm.card = c.codec.bins = 37;
    c.lm.codebooks = c.codec.codebooks = 3;
    memcpy(c.lm.delays, (uint32_t[]){ 0, 2, 5 }, 3 * sizeof(uint32_t));
    return c;
}

static struct random_source *new_source(const struct model_config *c, enum dtype dtype)
{
    struct random_source *r;
    assert_int_equal(random_source_create(&r, c, 5, dtype), ERR_OK);
    return r;
}

static struct decoder *opened(struct fixture *f, struct random_source *r, uint32_t slots,
                              uint32_t columns, uint32_t frames)
{
    struct decoder *d;
    assert_int_equal(decoder_open(&d, f->device, random_source_tensors(r),
                                  &(struct decoder_params){ slots, columns, frames }),
                     ERR_OK);
    return d;
}

// ---- the language model in double

struct reference {
    const struct lm_config *c;
    struct tensor_source *source;
    uint32_t steps, frames;
    double *x; // [steps][dim]
};

// y[rows][n] = x[rows][k] w^T, w the rows first .. first + n - 1 of a tensor.
static void linear(struct reference *m, const char *name, uint32_t first, uint32_t n,
                   const double *x, uint32_t rows, uint32_t k, double *y)
{
    struct tensor_view v;
    assert_int_equal(m->source->find(m->source, name, &v), ERR_OK);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < n; i++) {
            double sum = 0;
            for (uint32_t j = 0; j < k; j++)
                sum += x[r * k + j] * (double) tensor_at(&v, (uint64_t) (first + i) * k + j);
            y[r * n + i] = sum;
        }
}

static void norm(struct reference *m, const char *prefix, const double *x, double *y)
{
    const uint32_t dim = m->c->dim;
    float gain[256], bias[256];
    char name[128];
    struct tensor_view v;
    snprintf(name, sizeof(name), "%s.weight", prefix);
    assert_int_equal(m->source->find(m->source, name, &v), ERR_OK);
    tensor_to_f32(&v, 0, dim, gain);
    snprintf(name, sizeof(name), "%s.bias", prefix);
    assert_int_equal(m->source->find(m->source, name, &v), ERR_OK);
    tensor_to_f32(&v, 0, dim, bias);
    for (uint32_t r = 0; r < m->steps; r++, x += dim, y += dim) {
        double mean = 0, var = 0;
        for (uint32_t i = 0; i < dim; i++)
            mean += x[i] / dim;
        for (uint32_t i = 0; i < dim; i++)
            var += (x[i] - mean) * (x[i] - mean) / dim;
        for (uint32_t i = 0; i < dim; i++)
            y[i] = (x[i] - mean) / sqrt(var + 1e-5) * (double) gain[i] + (double) bias[i];
    }
}

// y[steps][dim] += out_proj(attention(q from x, k and v from keys)).
static void attention(struct reference *m, const char *prefix, const double *x,
                      const double *keys, uint32_t key_count, bool causal)
{
    const uint32_t dim = m->c->dim, width = dim / m->c->heads, steps = m->steps;
    double *q = calloc(steps * dim, sizeof(*q)), *y = calloc(steps * dim, sizeof(*y));
    double *k = calloc(key_count * dim, sizeof(*k)), *v = calloc(key_count * dim, sizeof(*v));
    double *p = calloc(key_count, sizeof(*p));
    char name[128];
    snprintf(name, sizeof(name), "%s.in_proj_weight", prefix);
    linear(m, name, 0, dim, x, steps, dim, q);
    linear(m, name, dim, dim, keys, key_count, dim, k);
    linear(m, name, 2 * dim, dim, keys, key_count, dim, v);
    for (uint32_t s = 0; s < steps; s++)
        for (uint32_t h = 0; h < m->c->heads; h++) {
            const uint32_t reach = causal ? s + 1 : key_count;
            double mass = 0;
            for (uint32_t i = 0; i < reach; i++) {
                double score = 0;
                for (uint32_t j = h * width; j < (h + 1) * width; j++)
                    score += q[s * dim + j] * k[i * dim + j];
                mass += p[i] = exp(score / sqrt(width));
            }
            for (uint32_t i = 0; i < reach; i++)
                for (uint32_t j = h * width; j < (h + 1) * width; j++)
                    y[s * dim + j] += p[i] / mass * v[i * dim + j];
        }
    snprintf(name, sizeof(name), "%s.out_proj.weight", prefix);
    linear(m, name, 0, dim, y, steps, dim, q);
    for (uint32_t i = 0; i < steps * dim; i++)
        m->x[i] += q[i];
    free(q), free(k), free(v), free(y), free(p);
}

static void feed_forward(struct reference *m, uint32_t layer, const double *x)
{
    const uint32_t dim = m->c->dim, hidden = m->c->hidden;
    double *h = calloc(m->steps * hidden, sizeof(*h)), *y = calloc(m->steps * dim, sizeof(*y));
    char name[128];
    snprintf(name, sizeof(name), "transformer.layers.%u.linear1.weight", layer);
    linear(m, name, 0, hidden, x, m->steps, dim, h);
    for (uint32_t i = 0; i < m->steps * hidden; i++)
        h[i] *= 0.5 * (1 + erf(h[i] / sqrt(2)));
    snprintf(name, sizeof(name), "transformer.layers.%u.linear2.weight", layer);
    linear(m, name, 0, dim, h, m->steps, hidden, y);
    for (uint32_t i = 0; i < m->steps * dim; i++)
        m->x[i] += y[i];
    free(h), free(y);
}

static void embed(struct reference *m, const uint32_t *sequence)
{
    const uint32_t dim = m->c->dim;
    float *row = calloc(dim, sizeof(*row));
    for (uint32_t s = 0; s < m->steps; s++) {
        sin_embedding(s, dim, row);
        for (uint32_t i = 0; i < dim; i++)
            m->x[s * dim + i] = (double) row[i];
        for (uint32_t k = 0; k < m->c->codebooks; k++) {
            char name[32];
            snprintf(name, sizeof(name), "emb.%u.weight", k);
            struct tensor_view v;
            assert_int_equal(m->source->find(m->source, name, &v), ERR_OK);
            tensor_to_f32(&v, (uint64_t) sequence[k * m->steps + s] * dim, dim, row);
            for (uint32_t i = 0; i < dim; i++)
                m->x[s * dim + i] += (double) row[i];
        }
    }
    free(row);
}

// Logits [K][steps][card] for a sequence [K][steps] and a condition [frames][dim],
// NULL for none.
static double *reference_logits(struct random_source *r, const uint32_t *sequence,
                                uint32_t steps, const double *condition, uint32_t frames)
{
    struct tensor_source *source = random_source_tensors(r);
    const struct lm_config *c = &source->config->lm;
    struct reference m = { c, source, steps, frames, calloc(steps * c->dim, sizeof(double)) };
    double *n = calloc(steps * c->dim, sizeof(*n));
    double *logits = calloc(c->codebooks * steps * c->card, sizeof(*logits));
    embed(&m, sequence);
    for (uint32_t i = 0; i < c->layers; i++) {
        char name[96];
        snprintf(name, sizeof(name), "transformer.layers.%u.norm1", i);
        norm(&m, name, m.x, n);
        snprintf(name, sizeof(name), "transformer.layers.%u.self_attn", i);
        attention(&m, name, n, n, steps, true);
        if (condition) {
            snprintf(name, sizeof(name), "transformer.layers.%u.norm_cross", i);
            norm(&m, name, m.x, n);
            snprintf(name, sizeof(name), "transformer.layers.%u.cross_attention", i);
            attention(&m, name, n, condition, frames, false);
        }
        snprintf(name, sizeof(name), "transformer.layers.%u.norm2", i);
        norm(&m, name, m.x, n);
        feed_forward(&m, i, n);
    }
    norm(&m, "out_norm", m.x, n);
    for (uint32_t k = 0; k < c->codebooks; k++) {
        char name[32];
        snprintf(name, sizeof(name), "linears.%u.weight", k);
        linear(&m, name, 0, c->card, n, steps, c->dim, logits + (size_t) k * steps * c->card);
    }
    free(m.x), free(n);
    return logits;
}

// ---- the decoder against it

struct logits_probe {
    struct probe probe; // first
    float *cond, *null;
    uint64_t count;
};

static enum err keep_logits(struct probe *self, const char *name, const float *data,
                            uint32_t rank, const uint64_t *shape)
{
    struct logits_probe *p = (struct logits_probe *) self;
    float **to = !strcmp(name, "lm.seq_logits_cond")   ? &p->cond
                 : !strcmp(name, "lm.seq_logits_null") ? &p->null
                                                       : NULL;
    if (!to)
        return ERR_OK;
    p->count = shape[0] * shape[1] * shape[2];
    assert_int_equal(rank, 3);
    *to = malloc(p->count * sizeof(float));
    memcpy(*to, data, p->count * sizeof(float));
    return ERR_OK;
}

static void assert_near(const char *what, const float *got, const double *want, uint64_t n,
                        double most)
{
    for (uint64_t i = 0; i < n; i++)
        if (!(fabs((double) got[i] - want[i]) <= most))
            fail_msg("%s: element %u: got %g, want %g", what, (unsigned) i, (double) got[i],
                     want[i]);
}

static float *new_condition(uint32_t frames, uint32_t dim, uint32_t seed)
{
    float *v = malloc((size_t) frames * dim * sizeof(*v));
    for (uint32_t i = 0; i < frames * dim; i++)
        v[i] = noise_at(i + 100000 * seed);
    return v;
}

// The condition as the model sees it, in a branch.
static double *seen_condition(const struct lm_config *c, const float *condition,
                              uint32_t frames, bool null)
{
    double *v = calloc(frames * c->dim, sizeof(*v));
    float *position = calloc(c->dim, sizeof(*position));
    for (uint32_t f = 0; f < frames; f++) {
        sin_embedding(f, c->dim, position);
        for (uint32_t i = 0; i < c->dim; i++)
            v[f * c->dim + i] =
                (null ? 0 : (double) condition[f * c->dim + i]) +
                (c->cross_positions ? (double) c->cross_position_scale * (double) position[i]
                                    : 0);
    }
    free(position);
    return v;
}

static void check_logits(struct fixture *f, const struct model_config *c, enum dtype dtype,
                         uint32_t columns, uint32_t frames, double tolerance)
{
    struct random_source *r = new_source(c, dtype);
    struct decoder *d = opened(f, r, 1, columns, frames);
    const struct lm_config *lm = &c->lm;
    int32_t *codes = calloc(lm->codebooks * columns, sizeof(*codes));
    for (uint32_t i = 0; i < lm->codebooks * columns; i++)
        codes[i] = (int32_t) (i * 13 % lm->card);
    uint32_t *sequence = calloc(lm->codebooks * (columns + 1), sizeof(*sequence));
    delay_apply(lm, codes, columns, columns, columns + 1, sequence, columns + 1);
    float *condition = new_condition(frames, lm->dim, 1);
    struct logits_probe p = { .probe.see = keep_logits };
    assert_int_equal(decoder_trace(d, codes, columns, condition, frames, &p.probe), ERR_OK);

    double *seen = seen_condition(lm, condition, frames, false);
    double *seen_null = seen_condition(lm, condition, frames, true);
    double *cond = reference_logits(r, sequence, columns + 1, seen, frames);
    double *null = reference_logits(r, sequence, columns + 1, seen_null, frames);
    assert_near("cond", p.cond, cond, p.count, tolerance);
    assert_near("null", p.null, null, p.count, tolerance);
    decoder_close(&d);
    random_source_destroy(&r);
    free(codes), free(sequence), free(condition), free(p.cond), free(p.null);
    free(seen), free(seen_null), free(cond), free(null);
}

static void odd_sizes_match_the_formula(void **state)
{
    const struct model_config c = odd();
    check_logits(*state, &c, DTYPE_F32, 9, 3, 2e-5);
    check_logits(*state, &c, DTYPE_F16, 9, 3, 2e-2);
}

// The null condition then is not zero: it has positions.
static void positions_on_the_condition_match_the_formula(void **state)
{
    struct model_config c = odd();
    c.lm.cross_positions = true;
    c.lm.cross_position_scale = 0.7f;
    check_logits(*state, &c, DTYPE_F32, 5, 4, 2e-5);
}

// More rows than one pass takes: 2 * 81 of 128; a condition of as many.
static void long_inputs_match_the_formula(void **state)
{
    struct model_config c = odd();
    c.lm.layers = 1;
    check_logits(*state, &c, DTYPE_F32, 80, 131, 2e-5);
}

// ---- sequences

#define MOST_STEPS 110

struct music {
    int32_t *tokens;           // [K][columns]
    float *logits[MOST_STEPS]; // by steps left after them, [K][card]; NULL: not looked at
};

static void keep_step(struct decoder *d, uint32_t slot, const struct lm_config *c,
                      struct music *m)
{
    const uint32_t left = decoder_progress(d, slot).steps_left;
    assert_in_range(left, 0, MOST_STEPS - 1);
    if (m->logits[left])
        return; // no step since
    m->logits[left] = calloc(c->codebooks * c->card, sizeof(float));
    assert_int_equal(decoder_logits(d, slot, m->logits[left]), ERR_OK);
}

static void take(struct decoder *d, uint32_t slot, const struct lm_config *c, struct music *m)
{
    const uint32_t columns = decoder_progress(d, slot).columns;
    m->tokens = calloc(c->codebooks * columns, sizeof(*m->tokens));
    assert_int_equal(decoder_tokens(d, slot, columns, m->tokens), ERR_OK);
    for (uint32_t i = 0; i < c->codebooks * columns; i++)
        assert_in_range(m->tokens[i], 0, c->card - 1);
    decoder_leave(d, slot);
}

static void free_music(struct music *m)
{
    for (uint32_t i = 0; i < MOST_STEPS; i++)
        free(m->logits[i]);
    free(m->tokens);
}

static struct music alone(struct fixture *f, struct random_source *r, const struct sequence *s)
{
    const struct lm_config *c = &random_source_tensors(r)->config->lm;
    struct decoder *d = opened(f, r, 1, 100, 8);
    uint32_t slot;
    struct music m = { 0 };
    assert_int_equal(decoder_join(d, s, &slot), ERR_OK);
    while (decoder_progress(d, slot).reading_prompt)
        assert_int_equal(decoder_advance(d, 0), ERR_OK);
    while (!decoder_progress(d, slot).finished) {
        assert_int_equal(decoder_advance(d, 1), ERR_OK);
        keep_step(d, slot, c, &m);
    }
    take(d, slot, c, &m);
    decoder_close(&d);
    return m;
}

#define COMPANY 7

// Seven sequences unlike each other in everything.
static void fill_company(struct sequence *s, const float *condition, const int32_t *prompt)
{
    for (uint32_t i = 0; i < COMPANY; i++)
        s[i] = (struct sequence){
            .condition = condition + i,
            .frames = 1 + i % 5,
            .prompt = prompt + i,
            .prompt_columns = i == 2   ? 70
                              : i == 5 ? 3
                                       : 0,
            .columns = 12 + 5 * i,
            .seed = 1000 + i,
            .guidance = i == 3 ? 1 : 2 + 0.5f * (float) i,
            .sampling = { .temperature = i == 4 ? 0 : 0.7f + 0.1f * (float) i,
                          .top_k = i == 6 ? 0 : 20,
                          .top_p = i == 6 ? 0.9f : 0 },
        };
    s[2].columns = 90;
}

static void check_company(struct fixture *f, enum dtype dtype, uint32_t slots)
{
    const struct model_config c = tiny();
    struct random_source *r = new_source(&c, dtype);
    float *condition = new_condition(6, c.lm.dim, 2);
    int32_t prompt[4 * 70 + COMPANY];
    for (int i = 0; i < 4 * 70 + COMPANY; i++)
        prompt[i] = i * 31 % 64;
    struct sequence s[COMPANY];
    fill_company(s, condition, prompt);
    struct decoder *d = opened(f, r, slots, 100, 8);
    uint32_t slot[COMPANY], joined = 0, left = 0;
    bool gone[COMPANY] = { 0 };
    struct music together[COMPANY] = { 0 };
    uint32_t looks = 0;
    for (uint32_t turn = 0; left < COMPANY; turn++) {
        if (joined < COMPANY && decoder_free_slots(d) > 0 && turn % 2 == 0) {
            assert_int_equal(decoder_join(d, &s[joined], &slot[joined]), ERR_OK);
            joined++;
        }
        assert_int_equal(decoder_advance(d, 3), ERR_OK);
        for (uint32_t i = 0; i < joined; i++) {
            if (gone[i])
                continue;
            const struct decoder_progress p = decoder_progress(d, slot[i]);
            if (p.finished) {
                gone[i] = true;
                left++;
                take(d, slot[i], &c.lm, &together[i]);
            } else if (!p.reading_prompt) {
                keep_step(d, slot[i], &c.lm, &together[i]);
            }
        }
    }
    decoder_close(&d);
    for (uint32_t i = 0; i < COMPANY; i++) {
        struct music m = alone(f, r, &s[i]);
        assert_memory_equal(m.tokens, together[i].tokens,
                            c.lm.codebooks * s[i].columns * sizeof(int32_t));
        for (uint32_t j = 0; j < MOST_STEPS; j++)
            if (together[i].logits[j]) {
                looks++;
                assert_memory_equal(m.logits[j], together[i].logits[j],
                                    c.lm.codebooks * c.lm.card * sizeof(float));
            }
        free_music(&m), free_music(&together[i]);
    }
    assert_true(looks > 40);
    random_source_destroy(&r);
    free(condition);
}

static void company_changes_nothing(void **state)
{
    check_company(*state, DTYPE_F32, COMPANY);
}

static void company_changes_nothing_with_half_weights(void **state)
{
    check_company(*state, DTYPE_F16, COMPANY);
}

static void a_used_slot_is_as_good_as_new(void **state)
{
    check_company(*state, DTYPE_F16, 2);
}

static void a_seed_decides(void **state)
{
    const struct model_config c = tiny();
    struct random_source *r = new_source(&c, DTYPE_F32);
    float *condition = new_condition(2, c.lm.dim, 3);
    struct sequence s = { .condition = condition,
                          .frames = 2,
                          .columns = 20,
                          .seed = 1,
                          .guidance = 3,
                          .sampling = { 1, 250, 0 } };
    const size_t bytes = c.lm.codebooks * s.columns * sizeof(int32_t);
    struct music a = alone(*state, r, &s), b = alone(*state, r, &s);
    s.seed += 1ull << 32; // the upper half counts too
    struct music other = alone(*state, r, &s);
    assert_memory_equal(a.tokens, b.tokens, bytes);
    assert_memory_not_equal(a.tokens, other.tokens, bytes);
    free_music(&a), free_music(&b), free_music(&other);
    random_source_destroy(&r);
    free(condition);
}

// What is decoded token by token is what teacher forcing says, delays and all.
static void generation_agrees_with_teacher_forcing(void **state)
{
    const struct model_config c = odd();
    const struct lm_config *lm = &c.lm;
    enum { COLUMNS = 23, GIVEN = 4 };
    struct random_source *r = new_source(&c, DTYPE_F32);
    float *condition = new_condition(3, lm->dim, 4);
    int32_t prompt[3 * GIVEN];
    for (int i = 0; i < 3 * GIVEN; i++)
        prompt[i] = i * 5 % 37;
    const struct sequence s = { .condition = condition,
                                .frames = 3,
                                .columns = COLUMNS,
                                .guidance = 2,
                                .prompt = prompt,
                                .prompt_columns = GIVEN };
    struct music m = alone(*state, r, &s);
    struct decoder *d = opened(*state, r, 1, COLUMNS, 3);
    struct logits_probe p = { .probe.see = keep_logits };
    assert_int_equal(decoder_trace(d, m.tokens, COLUMNS, condition, 3, &p.probe), ERR_OK);
    for (uint32_t k = 0; k < lm->codebooks; k++)
        for (uint32_t t = 0; t + lm->delays[k] <= COLUMNS && t < COLUMNS; t++) {
            if (t < GIVEN) {
                assert_int_equal(m.tokens[k * COLUMNS + t], prompt[k * GIVEN + t]);
                continue;
            }
            const uint64_t at = (k * (COLUMNS + 1) + t + lm->delays[k]) * (uint64_t) lm->card;
            uint32_t best = 0;
            float top = -INFINITY;
            for (uint32_t i = 0; i < lm->card; i++) {
                const float x = p.null[at + i] + (p.cond[at + i] - p.null[at + i]) * 2;
                best = x > top ? i : best;
                top = x > top ? x : top;
            }
            assert_int_equal(m.tokens[k * COLUMNS + t], best);
        }
    decoder_close(&d);
    random_source_destroy(&r);
    free_music(&m);
    free(condition), free(p.cond), free(p.null);
}

static void progress_is_told(void **state)
{
    const struct model_config c = tiny();
    struct random_source *r = new_source(&c, DTYPE_F32);
    struct decoder *d = opened(*state, r, 2, 100, 8);
    float *condition = new_condition(1, c.lm.dim, 5);
    int32_t prompt[4 * 70] = { 0 }, tokens[4 * 100];
    struct sequence s = { .condition = condition,
                          .frames = 1,
                          .columns = 72,
                          .guidance = 1,
                          .prompt = prompt,
                          .prompt_columns = 70 };
    uint32_t slot;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_OK);
    assert_int_equal(decoder_free_slots(d), 1);
    struct decoder_progress p = decoder_progress(d, slot);
    assert_true(p.columns == 70 && p.steps_left == 5 && p.reading_prompt && !p.finished);
    assert_int_equal(decoder_advance(d, 9), ERR_OK); // 64 of the prompt
    p = decoder_progress(d, slot);
    assert_true(p.steps_left == 5 && p.reading_prompt);
    assert_int_equal(decoder_advance(d, 4), ERR_OK); // the rest, and 4 steps
    p = decoder_progress(d, slot);
    assert_true(p.columns == 71 && p.steps_left == 1 && !p.reading_prompt && !p.finished);
    assert_int_equal(decoder_tokens(d, slot, 72, tokens), ERR_USAGE);
    assert_int_equal(decoder_tokens(d, slot, 71, tokens), ERR_OK);
    assert_int_equal(decoder_advance(d, 100), ERR_OK);
    p = decoder_progress(d, slot);
    assert_true(p.columns == 72 && p.steps_left == 0 && p.finished);
    // Nothing but the prompt: there is nothing to do.
    s.columns = 70;
    uint32_t other;
    assert_int_equal(decoder_join(d, &s, &other), ERR_OK);
    p = decoder_progress(d, other);
    assert_true(p.columns == 70 && p.finished && !p.reading_prompt);
    decoder_close(&d);
    random_source_destroy(&r);
    free(condition);
}

// Its own music is none; who composes beside it is not touched.
static void a_condition_that_is_no_number_is_told(void **state)
{
    struct fixture *f = *state;
    const struct model_config c = tiny();
    struct random_source *r = new_source(&c, DTYPE_F32);
    float *condition = new_condition(2, c.lm.dim, 8), *broken = new_condition(2, c.lm.dim, 9);
    broken[c.lm.dim + 1] = NAN;
    struct sequence s = { .condition = condition,
                          .frames = 2,
                          .columns = 9,
                          .guidance = 3,
                          .sampling = { .temperature = 1, .top_k = 20 } };
    struct sequence of_broken = s;
    of_broken.condition = broken;
    struct decoder *d = opened(f, r, 2, 10, 2);
    uint32_t slot, slot_of_broken;
    assert_int_equal(decoder_join(d, &of_broken, &slot_of_broken), ERR_OK);
    assert_int_equal(decoder_join(d, &s, &slot), ERR_OK);
    assert_int_equal(decoder_advance(d, 100), ERR_OK);
    struct music m = { 0 }, by_itself = alone(f, r, &s);
    int32_t tokens[4 * 9];
    assert_int_equal(decoder_tokens(d, slot_of_broken, 9, tokens), ERR_DEVICE);
    take(d, slot, &c.lm, &m);
    assert_memory_equal(m.tokens, by_itself.tokens, sizeof(tokens));
    decoder_close(&d);
    free_music(&m), free_music(&by_itself);
    random_source_destroy(&r);
    free(condition), free(broken);
}

static void what_does_not_fit_is_refused(void **state)
{
    struct fixture *f = *state;
    const struct model_config c = tiny();
    struct random_source *r = new_source(&c, DTYPE_F32);
    struct decoder *d;
    assert_int_equal(decoder_open(&d, f->device, random_source_tensors(r),
                                  &(struct decoder_params){ 0, 10, 1 }),
                     ERR_USAGE);
    d = opened(f, r, 1, 10, 2);
    float *condition = new_condition(3, c.lm.dim, 6);
    int32_t prompt[4] = { 0, 63, 64, 0 };
    const struct sequence good = { .condition = condition,
                                   .frames = 2,
                                   .columns = 10,
                                   .guidance = 1,
                                   .prompt = prompt };
    struct sequence s = good;
    uint32_t slot;
    s.columns = 11;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_USAGE);
    s.columns = 0;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_USAGE);
    s = good, s.frames = 3;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_USAGE);
    s = good, s.prompt_columns = 1;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_INPUT);
    prompt[2] = -1;
    assert_int_equal(decoder_join(d, &s, &slot), ERR_INPUT);
    assert_int_equal(decoder_join(d, &good, &slot), ERR_OK);
    assert_int_equal(decoder_join(d, &good, &slot), ERR_USAGE);
    assert_int_equal(decoder_trace(d, prompt, 1, condition, 1, NULL), ERR_USAGE);
    decoder_close(&d);
    random_source_destroy(&r);
    free(condition);
}

static void memory_is_what_was_announced(void **state)
{
    struct fixture *f = *state;
    struct model_config c = tiny();
    c.lm.dim = 512, c.lm.hidden = 2048, c.lm.layers = 8; // some blocks of the arena
    for (int f16 = 0; f16 < 2; f16++) {
        struct random_source *r = new_source(&c, f16 ? DTYPE_F16 : DTYPE_F32);
        const uint64_t before = device_memory_used(f->device);
        const struct decoder_params p = { 6, 500, 30 };
        struct decoder *d = opened(f, r, p.slots, p.max_columns, p.max_frames);
        const uint64_t taken = device_memory_used(f->device) - before;
        assert_true(taken <= decoder_bytes(&c, f16, &p));
        assert_true(taken + (80ull << 20) > decoder_bytes(&c, f16, &p));
        assert_true(6 * decoder_slot_bytes(&c, f16, &p) < taken);
        float *condition = new_condition(1, c.lm.dim, 7);
        const struct sequence s = { .condition = condition,
                                    .frames = 1,
                                    .columns = 1,
                                    .guidance = 3 };
        uint32_t slot;
        assert_int_equal(decoder_join(d, &s, &slot), ERR_OK);
        assert_int_equal(decoder_advance(d, 10), ERR_OK);
        assert_true(decoder_progress(d, slot).finished);
        assert_int_equal(device_memory_used(f->device) - before, taken);
        decoder_close(&d);
        assert_int_equal(device_memory_used(f->device), before);
        random_source_destroy(&r);
        free(condition);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(odd_sizes_match_the_formula),
        cmocka_unit_test(positions_on_the_condition_match_the_formula),
        cmocka_unit_test(long_inputs_match_the_formula),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(company_changes_nothing_with_half_weights),
        cmocka_unit_test(a_used_slot_is_as_good_as_new),
        cmocka_unit_test(a_seed_decides),
        cmocka_unit_test(generation_agrees_with_teacher_forcing),
        cmocka_unit_test(progress_is_told),
        cmocka_unit_test(a_condition_that_is_no_number_is_told),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(memory_is_what_was_announced),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
