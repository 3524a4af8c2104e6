// Tests of op_sample: distributions against their definition in double, draws
// against a Philox of our own that is itself held against published vectors.
#include "worker/ops/sample.h"

#include <float.h>

#include "worker/ops/ops_fixture.h"

struct settings {
    float temperature;
    uint32_t top_k;
    float top_p;
};

static struct slot_state slot_with(const struct settings *s)
{
    return (struct slot_state){ .temperature = s->temperature,
                                .top_k = s->top_k,
                                .top_p = s->top_p,
                                .guidance = 1 };
}

static uint32_t padded(uint32_t card)
{
    return (card + 3) / 4 * 4;
}

// Logits [rows][card] as the kernel wants them: rows padded with what must not
// be looked at.
static struct span padded_span(struct ops_fixture *f, const float *logits, uint32_t rows,
                               uint32_t card)
{
    float *v = malloc((size_t) rows * padded(card) * sizeof(*v));
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = 0; i < padded(card); i++)
            v[r * padded(card) + i] = i < card ? logits[r * card + i] : 1e9f;
    const struct span s = span_of_floats(f, v, (size_t) rows * padded(card));
    free(v);
    return s;
}

static float *distribution(struct ops_fixture *f, const float *logits, uint32_t rows,
                           uint32_t card, const struct settings *s, bool buffers)
{
    struct sample_draw *draws = calloc(rows, sizeof(*draws));
    for (uint32_t r = 0; r < rows; r++)
        draws[r] = (struct sample_draw){ 0, r, r, 0 };
    const struct slot_state slot = slot_with(s);
    struct sample a = {
        .draws = span_with(f, draws, rows * sizeof(*draws)),
        .slots = span_with(f, &slot, sizeof(slot)),
        .tokens = span_with(f, NULL, 64),
        .logits = padded_span(f, logits, rows, card),
        .distribution = span_of_floats(f, NULL, (size_t) rows * padded(card)),
        .draw_count = rows,
        .card = card,
        .codebooks = 1,
        .codebook_stride = padded(card),
    };
    if (buffers)
        a.logits.view = VK_NULL_HANDLE;
    op_sample(f->stream, &a);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    float *wide = floats_of_span(f, a.distribution, (size_t) rows * padded(card));
    float *got = malloc((size_t) rows * card * sizeof(*got));
    for (uint32_t r = 0; r < rows; r++)
        memcpy(got + r * card, wide + r * padded(card), card * sizeof(*got));
    free(wide), free(draws);
    return got;
}

struct ranked {
    double p;
    uint32_t token;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

static void reference(double *p, const float *logits, uint32_t card, const struct settings *s)
{
    struct ranked *r = calloc(card, sizeof(*r));
    double top = -DBL_MAX, total = 0, kept = 0;
    for (uint32_t i = 0; i < card; i++)
        top = fmax(top, (double) logits[i] / (double) s->temperature);
    for (uint32_t i = 0; i < card; i++) {
        r[i] = (struct ranked){ exp((double) logits[i] / (double) s->temperature - top), i };
        total += r[i].p;
    }
    qsort(r, card, sizeof(*r), by_rank);
    const double least = s->top_k > 0 && s->top_k < card ? r[s->top_k - 1].p : 0;
    double before = 0;
    for (uint32_t i = 0; i < card; i++) {
        const bool keep = s->top_p > 0 ? before / total <= (double) s->top_p : r[i].p >= least;
        before += r[i].p;
        p[r[i].token] = keep ? r[i].p : 0;
        kept += p[r[i].token];
    }
    for (uint32_t i = 0; i < card; i++)
        p[i] /= kept;
    free(r);
}

static void check(struct ops_fixture *f, uint32_t card, const struct settings *s, bool buffers)
{
    const uint32_t rows = 3;
    float *logits = noise_array(f, rows * card, 8);
    float *got = distribution(f, logits, rows, card, s, buffers);
    double *want = malloc(card * sizeof(*want));
    for (uint32_t r = 0; r < rows; r++) {
        reference(want, logits + r * card, card, s);
        for (uint32_t i = 0; i < card; i++)
            if ((want[i] > 0) != (got[r * card + i] > 0))
                fail_msg("card %u, top_k %u, top_p %g: token %u is %s", card, s->top_k,
                         (double) s->top_p, i, want[i] > 0 ? "missing" : "not wanted");
        assert_close(got + r * card, want, card, 1e-6, 2e-5);
    }
    free(logits), free(got), free(want);
}

static void distributions_match_their_definition(void **state)
{
    static const uint32_t cards[] = { 2, 3, 31, 33, 64, 257, 2048 };
    static const struct settings settings[] = {
        { 1, 0, 0 },       { 1, 1, 0 },        { 1, 5, 0 },
        { 0.8f, 250, 0 },  { 2, 1000000, 0 },  { 1, 0, 0.5f },
        { 0.8f, 3, 0.9f }, { 1.3f, 0, 1e-6f }, { 1, 0, 0.999f },
    };
    for (size_t c = 0; c < sizeof(cards) / sizeof(*cards); c++)
        for (size_t i = 0; i < sizeof(settings) / sizeof(*settings); i++)
            check(*state, cards[c], &settings[i], (c + i) % 3 == 0);
}

static void a_nucleus_of_one_keeps_everything(void **state)
{
    float *logits = noise_array(*state, 100, 8);
    float *got = distribution(*state, logits, 1, 100, &(struct settings){ 1, 0, 1.5f }, false);
    double want[100];
    reference(want, logits, 100, &(struct settings){ 1, 0, 0 });
    assert_close(got, want, 100, 1e-6, 2e-5);
    free(logits), free(got);
}

static void equals_at_the_edge(void **state)
{
    // 3 3 2 2 2 1: the 3rd largest is 2, so all three 2s stay with top_k 3.
    static const float logits[] = { 2, 3, 1, 2, 3, 2 };
    const double e = exp(-1);
    float *got = distribution(*state, logits, 1, 6, &(struct settings){ 1, 3, 0 }, false);
    const double k = 2 + 3 * e;
    assert_close(got, (double[]){ e / k, 1 / k, 0, e / k, 1 / k, e / k }, 6, 1e-6, 0);
    free(got);
    // Mass before the 2s is 2 of 2 + 3e + e^2 = 3.24 (62 %), before the second
    // of them 73 %, before the third 84 %.
    got = distribution(*state, logits, 1, 6, &(struct settings){ 1, 0, 0.8f }, false);
    const double n = 2 + 2 * e;
    assert_close(got, (double[]){ e / n, 1 / n, 0, e / n, 1 / n, 0 }, 6, 1e-6, 0);
    free(got);
}

static void negative_and_zero_logits_are_ordered(void **state)
{
    static const float logits[] = { -0.0f, -5, 0.0f, -1e-30f, -80, 1e-30f };
    float *got = distribution(*state, logits, 1, 6, &(struct settings){ 1, 2, 0 }, false);
    // The largest is 1e-30, then both zeros.
    assert_close(got, (double[]){ 1.0 / 3, 0, 1.0 / 3, 0, 0, 1.0 / 3 }, 6, 1e-6, 0);
    free(got);
}

static void no_temperature_takes_the_first_largest(void **state)
{
    struct ops_fixture *f = *state;
    for (uint32_t card = 1; card < 70; card += 4) {
        float *logits = noise_array(f, card, 1);
        const uint32_t first = card / 3;
        logits[first] = logits[card - 1] = 2;
        for (int settings = 0; settings < 2; settings++) {
            float *got = distribution(f, logits, 1, card,
                                      &(struct settings){ (float) -settings, 0, 0 }, false);
            for (uint32_t i = 0; i < card; i++)
                assert_true((got[i] == 1) == (i == first) && (i == first || got[i] == 0));
            free(got);
        }
        free(logits);
    }
}

// Philox4x32-10 on the host.
static void philox(uint32_t c[4], uint32_t key0, uint32_t key1)
{
    for (int i = 0; i < 10; i++) {
        const uint64_t a = (uint64_t) 0xD2511F53u * c[0], b = (uint64_t) 0xCD9E8D57u * c[2];
        const uint32_t next[] = { (uint32_t) (b >> 32) ^ c[1] ^ key0, (uint32_t) b,
                                  (uint32_t) (a >> 32) ^ c[3] ^ key1, (uint32_t) a };
        memcpy(c, next, sizeof(next));
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

// The known answers that the Random123 distribution publishes (kat_vectors).
static void the_hosts_philox_gives_the_known_answers(void **state)
{
    (void) state;
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } known[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff },
          { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
          { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t c[4];
        memcpy(c, known[i].counter, sizeof(c));
        philox(c, known[i].key[0], known[i].key[1]);
        assert_memory_equal(c, known[i].want, sizeof(c));
    }
}

#define CODEBOOKS 3
static const uint32_t delays[CODEBOOKS] = { 0, 1, 4 };

// `steps` draws for one slot from the same logits every time: tokens
// [CODEBOOKS][steps + 1], 0 at step 0. The slot is as the draws left it.
static uint32_t *draw(struct ops_fixture *f, struct slot_state *slot, const float *logits,
                      uint32_t card, uint32_t steps)
{
    const uint32_t stride = steps + 1;
    uint32_t *tokens = malloc(CODEBOOKS * stride * sizeof(*tokens));
    for (uint32_t i = 0; i < CODEBOOKS * stride; i++)
        tokens[i] = i % stride ? DECODE_UNKNOWN : 0;
    const struct sample_draw draws = { 0, 0, 0, 0 };
    const struct sample a = {
        .draws = span_with(f, &draws, sizeof(draws)),
        .slots = span_with(f, slot, sizeof(*slot)),
        .tokens = span_with(f, tokens, CODEBOOKS * stride * sizeof(*tokens)),
        .logits = padded_span(f, logits, CODEBOOKS, card),
        .draw_count = 1,
        .card = card,
        .codebooks = CODEBOOKS,
        .codebook_stride = padded(card),
        .token_stride = stride,
        .delays = delays,
    };
    op_sample(f->stream, &a);
    assert_int_equal(stream_submit(f->stream, steps), ERR_OK);
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    stream_reset(f->stream);
    assert_int_equal(
        span_download(f->device, a.tokens, 0, tokens, CODEBOOKS * stride * sizeof(*tokens)),
        ERR_OK);
    assert_int_equal(span_download(f->device, a.slots, 0, slot, sizeof(*slot)), ERR_OK);
    return tokens;
}

// With `card` = 4096 equal logits the token is the top 12 bits of the number.
static void the_kernels_philox_is_the_hosts(void **state)
{
    enum { card = 4096, steps = 50 };
    static const uint32_t seeds[][2] = { { 0, 0 },
                                         { 1, 0 },
                                         { 0, 1 },
                                         { 0xdeadbeef, 0x80000001 } };
    float *logits = calloc(CODEBOOKS * card, sizeof(*logits));
    for (size_t i = 0; i < sizeof(seeds) / sizeof(*seeds); i++) {
        struct slot_state slot = { .temperature = 1,
                                   .guidance = 1,
                                   .seed_low = seeds[i][0],
                                   .seed_high = seeds[i][1] };
        uint32_t *tokens = draw(*state, &slot, logits, card, steps);
        for (uint32_t k = 0; k < CODEBOOKS; k++)
            for (uint32_t s = 1 + delays[k]; s <= steps; s++) {
                uint32_t c[4] = { s - 1 - delays[k], k, 0, 0 };
                philox(c, seeds[i][0], seeds[i][1]);
                assert_int_equal(tokens[k * (steps + 1) + s], c[0] >> 20);
            }
        if (i == 0)
            assert_int_equal(tokens[1], 0x6627e8d5 >> 20);
        free(tokens);
    }
    free(logits);
}

static void draws_follow_the_distribution(void **state)
{
    enum { card = 37, steps = 3000 };
    float *logits = noise_array(*state, CODEBOOKS * card, 2);
    const struct settings s = { 0.9f, 20, 0 };
    struct slot_state slot = slot_with(&s);
    slot.seed_low = 42;
    uint32_t *tokens = draw(*state, &slot, logits, card, steps);
    for (uint32_t k = 0; k < CODEBOOKS; k++) {
        double p[card], chi2 = 0;
        uint32_t seen[card] = { 0 }, kinds = 0;
        reference(p, logits + k * card, card, &s);
        for (uint32_t i = 1; i <= steps; i++)
            seen[tokens[k * (steps + 1) + i]]++;
        for (uint32_t i = 0; i < card; i++) {
            if (p[i] == 0) {
                assert_int_equal(seen[i], 0);
                continue;
            }
            kinds++;
            chi2 += (seen[i] - p[i] * steps) * (seen[i] - p[i] * steps) / (p[i] * steps);
        }
        assert_int_equal(kinds, 20);
        // 19 degrees of freedom: 0.1 % of fair draws exceed 43.8, or fall below 5.4.
        if (!(chi2 > 5.4 && chi2 < 43.8))
            fail_msg("codebook %u: chi square %g", k, chi2);
    }
    free(logits), free(tokens);
}

static void guidance_and_given_tokens(void **state)
{
    struct ops_fixture *f = *state;
    enum { card = 5 };
    // Rows: 0 conditional, 1 null. Guided by 3, token 2 wins: 0 + (1 - 0) * 3.
    static const float logits[2 * CODEBOOKS * card] = {
        [0] = 2,      [2] = 1,  [5] = 2,  [5 + 2] = 1, [10] = 2,
        [10 + 2] = 1, [15] = 2, [20] = 2, [25] = 2,
    };
    const struct slot_state slots[2] = { [1] = { .guidance = 3, .position = { 1, 1, 1 } } };
    uint32_t tokens[2 * CODEBOOKS * 4];
    memset(tokens, 0xff, sizeof(tokens));
    tokens[(CODEBOOKS + 1) * 4 + 2] = 4; // slot 1, codebook 1, step 2 is given
    const struct sample_draw draws = { 1, 0, 1, 0 };
    const struct sample a = {
        .draws = span_with(f, &draws, sizeof(draws)),
        .slots = span_with(f, slots, sizeof(slots)),
        .tokens = span_with(f, tokens, sizeof(tokens)),
        .logits = padded_span(f, logits, 2 * CODEBOOKS, card),
        .draw_count = 1,
        .card = card,
        .codebooks = CODEBOOKS,
        .codebook_stride = padded(card),
        .token_stride = 4,
        .delays = delays,
    };
    op_sample(f->stream, &a);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    uint32_t got[2 * CODEBOOKS * 4];
    assert_int_equal(span_download(f->device, a.tokens, 0, got, sizeof(got)), ERR_OK);
    tokens[(CODEBOOKS + 0) * 4 + 2] = 2;
    tokens[(CODEBOOKS + 2) * 4 + 2] = 2;
    assert_memory_equal(got, tokens, sizeof(got));
    struct slot_state moved[2];
    assert_int_equal(span_download(f->device, a.slots, 0, moved, sizeof(moved)), ERR_OK);
    assert_memory_equal(&moved[0], &slots[0], sizeof(moved[0]));
    for (uint32_t k = 0; k < CODEBOOKS; k++)
        assert_int_equal(moved[1].position[k], 2);
}

// Whether a slot is broken after a draw at that temperature from logits of which `odd` is one, or all.
static bool breaks(struct ops_fixture *f, float temperature, uint32_t top_k, float top_p,
                   float odd, bool all)
{
    enum { card = 7 };
    float logits[CODEBOOKS * card] = { 0 };
    for (uint32_t i = card; i < 2 * card; i++) // one codebook of three
        logits[i] = all || i == card + 4 ? odd : (float) i;
    struct slot_state slot = { .temperature = temperature,
                               .top_k = top_k,
                               .top_p = top_p,
                               .guidance = 1 };
    uint32_t *tokens = draw(f, &slot, logits, card, 1);
    for (uint32_t k = 0; k < CODEBOOKS; k++) {
        assert_int_equal(slot.position[k], 1);
        assert_in_range(tokens[2 * k + 1], 0, card - 1);
    }
    free(tokens);
    return slot.broken != 0;
}

static void what_is_no_number_is_told(void **state)
{
    struct ops_fixture *f = *state;
    static const struct {
        float temperature, top_p;
        uint32_t top_k;
    } kinds[] = { { 0, 0, 0 }, { 1, 0, 0 }, { 1, 0, 3 }, { 1, 0.9f, 0 } };
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const float t = kinds[i].temperature, p = kinds[i].top_p;
        const uint32_t k = kinds[i].top_k;
        assert_false(breaks(f, t, k, p, 0, false));
        assert_false(breaks(f, t, k, p, -1e30f, true)); // equals, however small
        assert_false(breaks(f, t, k, p, 3e38f, false));
        assert_true(breaks(f, t, k, p, NAN, true));
        assert_true(breaks(f, t, k, p, -NAN, true));
        assert_true(breaks(f, t, k, p, INFINITY, true));
        if (t > 0)
            assert_true(breaks(f, t, k, p, NAN, false));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_match_their_definition),
        cmocka_unit_test(a_nucleus_of_one_keeps_everything),
        cmocka_unit_test(equals_at_the_edge),
        cmocka_unit_test(negative_and_zero_logits_are_ordered),
        cmocka_unit_test(no_temperature_takes_the_first_largest),
        cmocka_unit_test(the_hosts_philox_gives_the_known_answers),
        cmocka_unit_test(the_kernels_philox_is_the_hosts),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(guidance_and_given_tokens),
        cmocka_unit_test(what_is_no_number_is_told),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
