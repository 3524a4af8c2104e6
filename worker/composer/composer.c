#include "worker/composer/composer.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "worker/model/codec.h"
#include "worker/model/decoder.h"
#include "worker/model/visual.h"
#include "worker/ops/matmul.h"

// How long the decoder may run before the composer looks at the world again.
#define ADVANCE_S 0.3
#define ADVANCE_MAX_STEPS 256

// One segment between take() and deliver().
struct entry {
    uint64_t id;
    struct entry *next;
    float *condition; // [frames][dim]
    int32_t *prompt;  // [K][prompt_columns]
    int32_t *tokens;  // [K][columns], once finished
    uint32_t frames, columns, prompt_columns;
    uint64_t seed;
    struct composer_sampling sampling;
    uint32_t slot, columns_seen;
    bool unwanted;
};

struct composer {
    struct composer_params p;
    const struct model_config *config;
    uint32_t batch;
    // Who must leave the device's memory for whom. Never while sequences run:
    // the decoder's cache would be lost.
    bool visual_alone, codec_alone;
    struct visual *visual;
    struct decoder *decoder;
    struct codec *codec;
    struct entry *waiting, *running, *finished;
    uint32_t held;  // in the three lists
    uint32_t steps; // of the next decoder_advance()
    struct composer_timings timings;
};

static bool is_f16(struct tensor_source *s)
{
    struct tensor_view v;
    return !s->find(s, "transformer.layers.0.linear1.weight", &v) && v.dtype == DTYPE_F16;
}

static struct decoder_params decoder_params(const struct composer *c, uint32_t slots)
{
    return (struct decoder_params){ slots, c->p.max_columns, c->p.max_frames };
}

struct needs {
    uint64_t visual, codec, decoder_fixed, slot;
};

static struct needs measure(const struct composer *c)
{
    const bool f16 = is_f16(c->p.tensors);
    const struct decoder_params one = decoder_params(c, 1);
    struct needs n = {
        .visual = visual_bytes(c->config, f16, c->p.max_frames),
        .codec = codec_bytes(&c->config->codec, PART_CODEC_DECODER, f16),
        .slot = decoder_slot_bytes(c->config, f16, &one),
    };
    n.decoder_fixed = decoder_bytes(c->config, f16, &one) - n.slot;
    return n;
}

// How many slots fit beside `others`.
static uint32_t slots_beside(const struct needs *n, uint64_t others, uint64_t room,
                             uint32_t wanted)
{
    if (others + n->decoder_fixed + n->slot > room)
        return 0;
    const uint64_t fit = (room - others - n->decoder_fixed) / n->slot;
    return fit < wanted ? (uint32_t) fit : wanted;
}

// All at once if that leaves at least half of the slots wanted; else the pictures
// by themselves; else each by itself.
static enum err divide_memory(struct composer *c)
{
    const struct needs n = measure(c);
    const uint64_t room = device_memory_left(c->p.device);
    const bool cpu = device_facts(c->p.device)->kind == DEVICE_CPU;
    uint32_t wanted = c->p.batch ? c->p.batch : cpu ? COMPOSER_BATCH_CPU : COMPOSER_BATCH_GPU;
    if (c->p.parallel && c->p.parallel < wanted)
        wanted = c->p.parallel;
    const uint32_t together = slots_beside(&n, n.visual + n.codec, room, wanted);
    const uint32_t with_codec = n.visual <= room ? slots_beside(&n, n.codec, room, wanted) : 0;
    const uint32_t alone =
        n.visual <= room && n.codec <= room ? slots_beside(&n, 0, room, wanted) : 0;
    if (together > 0 && 2 * together >= with_codec) {
        c->batch = together;
    } else if (with_codec > 0) {
        c->batch = with_codec;
        c->visual_alone = true;
    } else if (alone > 0) {
        c->batch = alone;
        c->visual_alone = c->codec_alone = true;
    } else {
        log_error(
            "%s: the model needs %.0f MiB of device memory at a time (pictures %.0f, one segment of "
            "music %.0f, sound %.0f) and %.0f MiB are free; use a smaller or an f16 model, or raise --memory",
            device_facts(c->p.device)->name,
            (double) (n.decoder_fixed + n.slot > n.visual ? n.decoder_fixed + n.slot
                                                          : n.visual) /
                0x1p20,
            (double) n.visual / 0x1p20, (double) (n.decoder_fixed + n.slot) / 0x1p20,
            (double) n.codec / 0x1p20, (double) room / 0x1p20);
        return ERR_DEVICE_MEM;
    }
    c->timings.batch = c->batch;
    c->timings.turns = c->visual_alone;
    log_debug("%u segments side by side%s", c->batch,
              c->visual_alone ? ", stages take turns" : "");
    return ERR_OK;
}

enum err composer_open(struct composer **out, const struct composer_params *p)
{
    *out = NULL;
    struct composer *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    c->p = *p;
    c->config = p->tensors->config;
    c->steps = 8;
    enum err e = divide_memory(c);
    if (!e)
        e = matmul_tune(p->device);
    if (e) {
        composer_close(&c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

static void entry_free(struct entry *n)
{
    free(n->condition);
    free(n->prompt);
    free(n->tokens);
    free(n);
}

static void list_free(struct entry **list)
{
    while (*list) {
        struct entry *n = *list;
        *list = n->next;
        entry_free(n);
    }
}

static void drop_work(struct composer *c)
{
    for (struct entry *n = c->running; n; n = n->next)
        decoder_leave(c->decoder, n->slot);
    list_free(&c->waiting);
    list_free(&c->running);
    list_free(&c->finished);
    c->held = 0;
}

void composer_close(struct composer **cp)
{
    struct composer *c = *cp;
    if (!c)
        return;
    drop_work(c);
    visual_close(&c->visual);
    decoder_close(&c->decoder);
    codec_close(&c->codec);
    free(c);
    *cp = NULL;
}

// Each makes sure that its stage is on the device, after sending off those it
// cannot share the memory with.
static enum err need_visual(struct composer *c)
{
    if (c->visual)
        return ERR_OK;
    if (c->visual_alone) {
        decoder_close(&c->decoder);
        codec_close(&c->codec);
    }
    const double start = clock_seconds();
    const enum err e = visual_open(&c->visual, c->p.device, c->p.tensors,
                                   &(struct visual_params){ .max_frames = c->p.max_frames });
    c->timings.load_s += clock_seconds() - start;
    return e;
}

static enum err need_decoder(struct composer *c)
{
    if (c->decoder)
        return ERR_OK;
    if (c->visual_alone)
        visual_close(&c->visual);
    if (c->codec_alone)
        codec_close(&c->codec);
    const double start = clock_seconds();
    const struct decoder_params params = decoder_params(c, c->batch);
    const enum err e = decoder_open(&c->decoder, c->p.device, c->p.tensors, &params);
    c->timings.load_s += clock_seconds() - start;
    return e;
}

static enum err need_codec(struct composer *c)
{
    if (c->codec)
        return ERR_OK;
    if (c->visual_alone)
        visual_close(&c->visual);
    if (c->codec_alone)
        decoder_close(&c->decoder);
    const double start = clock_seconds();
    const enum err e = codec_open(&c->codec, &(struct codec_params){ .device = c->p.device,
                                                                     .source = c->p.tensors,
                                                                     .decode = true });
    c->timings.load_s += clock_seconds() - start;
    return e;
}

static bool stopped(const struct composer_hooks *h)
{
    return h->cancelled && h->cancelled(h->user);
}

// Asked once more after a yes, its owner would not know it.
static bool is_unwanted(const struct composer_hooks *h, struct entry *n)
{
    n->unwanted = n->unwanted || (h->unwanted && h->unwanted(h->user, n->id));
    return n->unwanted;
}

// The frames in as many calls as the encoder works them off, so that a stop is
// heeded in between.
static enum err look(struct composer *c, const struct composer_hooks *h,
                     const struct composer_segment *s, struct entry *n)
{
    enum err e = need_visual(c);
    if (e)
        return e;
    const double start = clock_seconds();
    const uint32_t side = c->config->vit.image, most = visual_batch(c->visual);
    for (uint32_t first = 0; !e && first < s->frame_count && !is_unwanted(h, n);
         first += most) {
        const uint32_t left = s->frame_count - first;
        e = stopped(h) ? ERR_STOP
                       : visual_run(c->visual, s->frames + 3ull * side * side * first,
                                    left < most ? left : most,
                                    n->condition + (size_t) first * c->config->lm.dim);
    }
    c->timings.visual_s += clock_seconds() - start;
    c->timings.frames += s->frame_count;
    return e;
}

// A segment just taken: its pictures become a condition, the rest is copied.
static enum err accept(struct composer *c, const struct composer_hooks *h,
                       const struct composer_segment *s)
{
    const struct lm_config *lm = &c->config->lm;
    if (s->frame_count > c->p.max_frames || s->columns > c->p.max_columns ||
        s->frame_count == 0)
        return ERR_BUG;
    struct entry *n = calloc(1, sizeof(*n));
    if (!n)
        return ERR_NOMEM;
    *n = (struct entry){
        .id = s->id,
        .frames = s->frame_count,
        .columns = s->columns,
        .prompt_columns = s->prompt_columns,
        .columns_seen = s->prompt_columns,
        .seed = s->seed,
        .sampling = s->sampling ? *s->sampling
                                : (struct composer_sampling){ c->p.temperature, c->p.top_k,
                                                              c->p.top_p, c->p.guidance },
        .condition = calloc((size_t) s->frame_count * lm->dim, sizeof(float)),
        .prompt = calloc((size_t) s->prompt_columns * lm->codebooks + 1, sizeof(int32_t)),
    };
    enum err e = n->condition && n->prompt ? ERR_OK : ERR_NOMEM;
    if (!e) {
        if (s->prompt_columns)
            memcpy(n->prompt, s->prompt, sizeof(int32_t) * s->prompt_columns * lm->codebooks);
        e = look(c, h, s, n);
    }
    if (e || n->unwanted) {
        entry_free(n);
        return e;
    }
    struct entry **end = &c->waiting;
    while (*end)
        end = &(*end)->next;
    *end = n;
    c->held++;
    return ERR_OK;
}

static enum err fill(struct composer *c, const struct composer_hooks *h)
{
    while (c->held < c->batch) {
        struct composer_segment s;
        bool got;
        if (stopped(h))
            return ERR_STOP;
        enum err e = h->take(h->user, &s, &got);
        if (!e && !got)
            return ERR_OK;
        if (!e)
            e = accept(c, h, &s);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err join(struct composer *c)
{
    while (c->waiting && decoder_free_slots(c->decoder) > 0) {
        struct entry *n = c->waiting;
        const enum err e =
            decoder_join(c->decoder,
                         &(struct sequence){
                             .condition = n->condition,
                             .frames = n->frames,
                             .prompt = n->prompt_columns ? n->prompt : NULL,
                             .prompt_columns = n->prompt_columns,
                             .columns = n->columns,
                             .seed = n->seed,
                             .guidance = (float) n->sampling.guidance,
                             .sampling = { (float) n->sampling.temperature, n->sampling.top_k,
                                           (float) n->sampling.top_p },
                         },
                         &n->slot);
        if (e)
            return e;
        c->waiting = n->next;
        n->next = c->running;
        c->running = n;
    }
    return ERR_OK;
}

// What the running sequences have got to; those that are whole go to `finished`.
static enum err collect(struct composer *c, const struct composer_hooks *h)
{
    uint64_t columns = 0;
    for (struct entry **at = &c->running; *at;) {
        struct entry *n = *at;
        const struct decoder_progress now = decoder_progress(c->decoder, n->slot);
        if (now.columns > n->columns_seen) {
            columns += now.columns - n->columns_seen;
            n->columns_seen = now.columns;
        }
        if (!now.finished) {
            at = &n->next;
            continue;
        }
        n->tokens = malloc(sizeof(int32_t) * n->columns * c->config->lm.codebooks);
        if (!n->tokens)
            return ERR_NOMEM;
        const enum err e = decoder_tokens(c->decoder, n->slot, n->columns, n->tokens);
        if (e)
            return e;
        decoder_leave(c->decoder, n->slot);
        *at = n->next;
        n->next = c->finished;
        c->finished = n;
    }
    c->timings.columns += columns;
    if (h->progress && columns)
        h->progress(h->user, columns);
    return ERR_OK;
}

static enum err advance(struct composer *c, const struct composer_hooks *h)
{
    enum err e = need_decoder(c);
    const double start = clock_seconds();
    if (!e)
        e = join(c);
    if (!e)
        e = decoder_advance(c->decoder, c->steps);
    if (!e)
        e = collect(c, h);
    const double took = clock_seconds() - start;
    c->timings.decoder_s += took;
    if (took < ADVANCE_S / 2 && c->steps < ADVANCE_MAX_STEPS)
        c->steps *= 2;
    else if (took > ADVANCE_S * 2 && c->steps > 1)
        c->steps /= 2;
    return e;
}

static enum err sound(struct composer *c, const struct codec_piece *pieces, uint32_t count)
{
    enum err e = need_codec(c);
    if (e)
        return e;
    const double start = clock_seconds();
    e = codec_decode(c->codec, pieces, count);
    c->timings.codec_s += clock_seconds() - start;
    for (uint32_t i = 0; i < count; i++)
        c->timings.samples += (uint64_t) pieces[i].columns * codec_hop(&c->config->codec);
    return e;
}

// What nobody wants any more makes room at once.
static void drop_unwanted(struct composer *c, const struct composer_hooks *h)
{
    struct entry **const lists[] = { &c->waiting, &c->running, &c->finished };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (struct entry **at = lists[i]; *at;) {
            struct entry *n = *at;
            if (!is_unwanted(h, n)) {
                at = &n->next;
                continue;
            }
            if (lists[i] == &c->running)
                decoder_leave(c->decoder, n->slot);
            *at = n->next;
            entry_free(n);
            c->held--;
        }
}

// One finished segment becomes sound and goes back to the caller. Several
// together would read the LSTM's weights once for all; that pays only when they
// end at the same moment, and each is delivered the sooner alone.
static enum err finish_one(struct composer *c, const struct composer_hooks *h)
{
    struct entry *n = c->finished;
    const uint64_t samples = (uint64_t) n->columns * codec_hop(&c->config->codec);
    float *pcm = malloc(samples * sizeof(*pcm));
    enum err e =
        pcm ? sound(c, &(struct codec_piece){ n->tokens, n->columns, pcm }, 1) : ERR_NOMEM;
    if (!e)
        e = h->deliver(h->user, &(struct composed){
                                    .id = n->id,
                                    .codebooks = c->config->lm.codebooks,
                                    .columns = n->columns,
                                    .tokens = n->tokens,
                                    .pcm = pcm,
                                    .samples = samples,
                                });
    free(pcm);
    c->finished = n->next;
    c->held--;
    entry_free(n);
    return e;
}

static enum err deliver_finished(struct composer *c, const struct composer_hooks *h)
{
    if (c->codec_alone && c->running)
        return ERR_OK; // the codec's turn comes when the decoder is empty
    enum err e = ERR_OK;
    while (!e && c->finished)
        e = stopped(h) ? ERR_STOP : finish_one(c, h);
    return e;
}

static enum err run(struct composer *c, const struct composer_hooks *h)
{
    for (;;) {
        enum err e = stopped(h) ? ERR_STOP : ERR_OK;
        drop_unwanted(c, h);
        if (!e && (!c->visual_alone || !c->running))
            e = fill(c, h);
        if (e || c->held == 0)
            return e;
        if (c->waiting || c->running)
            e = advance(c, h);
        if (!e)
            e = deliver_finished(c, h);
        if (e)
            return e;
    }
}

enum err composer_run(struct composer *c, const struct composer_hooks *h)
{
    const enum err e = run(c, h);
    drop_work(c);
    return e;
}

enum err composer_render(struct composer *c, const int32_t *tokens, uint32_t columns,
                         float *pcm)
{
    return sound(c, &(struct codec_piece){ tokens, columns, pcm }, 1);
}

struct composer_timings composer_timings(const struct composer *c)
{
    struct composer_timings t = c->timings;
    t.device_peak_bytes = device_memory_peak(c->p.device);
    return t;
}
