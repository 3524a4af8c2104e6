// Tests of the composer: a segment's music depends on nothing but its inputs:
// not on what ran beside it, nor on how the memory was divided.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/composer/composer.h"
#include "worker/model/random_source.h"

#define SEGMENTS 5
#define FRAMES 3
#define COLUMNS 40

// A cue of two segments and three of one: number 1 continues number 0.
struct work {
    struct random_source *source;
    struct device *device;
    const struct model_config *config;
    uint8_t *frames;
    bool taken[SEGMENTS], done[SEGMENTS];
    int32_t *tokens[SEGMENTS];
    float *pcm[SEGMENTS];
    int32_t *prompt;
    uint32_t delivered, stop_after;
    uint64_t columns;
    bool give_up, gone[SEGMENTS];
    uint64_t unwanted;
    uint32_t asked;
};

static uint32_t columns_of(uint64_t segment)
{
    return COLUMNS - 3 * (uint32_t) segment;
}

static enum err take(void *user, struct composer_segment *out, bool *got)
{
    struct work *w = user;
    *got = false;
    for (uint64_t i = 0; i < SEGMENTS; i++) {
        if (w->taken[i] || (i == 1 && !w->done[0]))
            continue;
        const uint32_t prompt = i == 1 ? 11 : 0, k = w->config->lm.codebooks;
        for (uint32_t c = 0; c < k && prompt; c++)
            memcpy(w->prompt + c * prompt, w->tokens[0] + (c + 1) * columns_of(0) - prompt,
                   prompt * 4);
        const uint32_t side = w->config->vit.image;
        w->taken[i] = *got = true;
        *out = (struct composer_segment){
            .id = i,
            .frames = w->frames + i * FRAMES * 3 * side * side,
            .frame_count = FRAMES - i % 2,
            .columns = columns_of(i),
            .prompt_columns = prompt,
            .prompt = w->prompt,
            .seed = 100 + i,
        };
        return ERR_OK;
    }
    return ERR_OK;
}

static enum err deliver(void *user, const struct composed *c)
{
    struct work *w = user;
    assert_false(w->done[c->id]);
    assert_int_equal(c->columns, columns_of(c->id));
    assert_int_equal(c->samples, (uint64_t) c->columns * codec_hop(&w->config->codec));
    const size_t n = (size_t) c->codebooks * c->columns;
    w->tokens[c->id] = malloc(n * sizeof(int32_t));
    w->pcm[c->id] = malloc(c->samples * sizeof(float));
    memcpy(w->tokens[c->id], c->tokens, n * sizeof(int32_t));
    memcpy(w->pcm[c->id], c->pcm, c->samples * sizeof(float));
    w->done[c->id] = true;
    w->delivered++;
    return ERR_OK;
}

static void progress(void *user, uint64_t columns)
{
    ((struct work *) user)->columns += columns;
}

static bool cancelled(void *user)
{
    const struct work *w = user;
    return w->stop_after && w->delivered >= w->stop_after;
}

// One that is asked for again after it was given up would be a bug.
static bool unwanted(void *user, uint64_t id)
{
    struct work *w = user;
    if (!w->give_up)
        return false;
    assert_false(w->gone[id]);
    w->gone[id] = id == w->unwanted && ++w->asked > 2; // when it is in the decoder
    return w->gone[id];
}

static void work_setup(struct work *w, uint64_t memory)
{
    *w = (struct work){ 0 };
    struct model_config config;
    assert_int_equal(model_config_preset(&config, "tiny"), ERR_OK);
    assert_int_equal(random_source_create(&w->source, &config, 3, DTYPE_F32), ERR_OK);
    w->config = random_source_tensors(w->source)->config;
    const struct device_params params = { .memory_limit = memory };
    assert_int_equal(device_open(&w->device, &params), ERR_OK);
    const size_t n = (size_t) SEGMENTS * FRAMES * 3 * config.vit.image * config.vit.image;
    w->frames = malloc(n);
    for (size_t i = 0; i < n; i++)
        w->frames[i] = (uint8_t) ((i * 2654435761u) >> 13);
    w->prompt = calloc(16ull * config.lm.codebooks, sizeof(int32_t));
}

static void work_teardown(struct work *w)
{
    for (int i = 0; i < SEGMENTS; i++) {
        free(w->tokens[i]);
        free(w->pcm[i]);
    }
    free(w->frames);
    free(w->prompt);
    device_close(&w->device);
    random_source_destroy(&w->source);
}

static enum err compose(struct work *w, uint32_t batch, struct composer_timings *timings)
{
    struct composer *c = NULL;
    enum err e = composer_open(
        &c, &(struct composer_params){ .device = w->device,
                                       .tensors = random_source_tensors(w->source),
                                       .temperature = 1,
                                       .top_k = 50,
                                       .guidance = 3,
                                       .batch = batch,
                                       .max_columns = COLUMNS,
                                       .max_frames = FRAMES });
    if (!e)
        e = composer_run(c, &(struct composer_hooks){ .take = take,
                                                      .deliver = deliver,
                                                      .progress = progress,
                                                      .cancelled = cancelled,
                                                      .unwanted = unwanted,
                                                      .user = w });
    if (c && timings)
        *timings = composer_timings(c);
    composer_close(&c);
    return e;
}

static void assert_same_music(const struct work *a, const struct work *b)
{
    for (int i = 0; i < SEGMENTS; i++) {
        assert_memory_equal(a->tokens[i], b->tokens[i],
                            sizeof(int32_t) * a->config->lm.codebooks *
                                columns_of((uint64_t) i));
        assert_memory_equal(a->pcm[i], b->pcm[i],
                            sizeof(float) * columns_of((uint64_t) i) *
                                codec_hop(&a->config->codec));
    }
}

static void companions_change_nothing(void **state)
{
    (void) state;
    struct work alone, together;
    work_setup(&alone, 0);
    work_setup(&together, 0);
    assert_int_equal(compose(&alone, 1, NULL), ERR_OK);
    struct composer_timings t;
    assert_int_equal(compose(&together, 4, &t), ERR_OK);
    assert_int_equal(together.delivered, SEGMENTS);
    assert_int_equal(t.batch, 4);
    assert_false(t.turns);
    uint64_t columns = 0;
    for (uint64_t i = 0; i < SEGMENTS; i++)
        columns += columns_of(i) - (i == 1 ? 11 : 0);
    assert_int_equal(together.columns, columns);
    assert_same_music(&alone, &together);
    // The continuation begins with its prompt.
    for (uint32_t k = 0; k < alone.config->lm.codebooks; k++)
        assert_memory_equal(alone.tokens[1] + k * columns_of(1),
                            alone.tokens[0] + (k + 1) * columns_of(0) - 11,
                            11 * sizeof(int32_t));
    work_teardown(&alone);
    work_teardown(&together);
}

static void memory_changes_nothing(void **state)
{
    (void) state;
    struct work roomy;
    struct composer_timings t;
    work_setup(&roomy, 0);
    assert_int_equal(compose(&roomy, 2, &t), ERR_OK);
    bool took_turns = false, refused = false;
    // Less and less memory: turns first, in the end a refusal; never other music.
    for (uint64_t memory = 512u << 20; !refused; memory = memory * 3 / 4) {
        struct work tight;
        work_setup(&tight, memory);
        const enum err e = compose(&tight, 2, &t);
        if (!e) {
            took_turns |= t.turns;
            assert_true(t.device_peak_bytes <= memory);
            assert_same_music(&roomy, &tight);
        } else {
            assert_int_equal(e, ERR_DEVICE_MEM);
            refused = true;
        }
        work_teardown(&tight);
    }
    assert_true(took_turns);
    work_teardown(&roomy);
}

static void a_stop_keeps_what_is_delivered(void **state)
{
    (void) state;
    struct work w;
    work_setup(&w, 0);
    w.stop_after = 2;
    assert_int_equal(compose(&w, 1, NULL), ERR_STOP);
    assert_int_equal(w.delivered, 2);
    work_teardown(&w);
}

static void what_is_not_wanted_is_dropped(void **state)
{
    (void) state;
    struct work all, some;
    work_setup(&all, 0);
    work_setup(&some, 0);
    assert_int_equal(compose(&all, 4, NULL), ERR_OK);
    some.give_up = true;
    some.unwanted = SEGMENTS - 1; // nothing goes on from it
    assert_int_equal(compose(&some, 4, NULL), ERR_OK);
    assert_int_equal(some.delivered, SEGMENTS - 1);
    assert_true(some.gone[SEGMENTS - 1] && !some.done[SEGMENTS - 1]);
    for (int i = 0; i < SEGMENTS - 1; i++) // its companions do not notice
        assert_memory_equal(all.pcm[i], some.pcm[i],
                            sizeof(float) * columns_of((uint64_t) i) *
                                codec_hop(&all.config->codec));
    work_teardown(&all);
    work_teardown(&some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(companions_change_nothing),
        cmocka_unit_test(memory_changes_nothing),
        cmocka_unit_test(a_stop_keeps_what_is_delivered),
        cmocka_unit_test(what_is_not_wanted_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
