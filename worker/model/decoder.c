// A slot's life: free -> (join) -> reading the prompt -> stepping -> finished -> (leave) -> free.
// The host knows where every slot stands without asking the GPU: each pass moves
// the slots in it by a known number of positions.
#include "worker/model/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/model/decoder_pass.h"
#include "worker/model/decoder_trace.h"
#include "worker/model/delay_pattern.h"
#include "worker/model/numbers.h"
#include "worker/model/sin_embedding.h"
#include "worker/ops/sample.h"

_Static_assert(MODEL_MAX_CODEBOOKS <= DECODE_MAX_CODEBOOKS, "slot_state holds every codebook");
_Static_assert(TOKEN_UNKNOWN == DECODE_UNKNOWN, "one sign for an unknown token");

#define BRANCHES 2          // with and without the condition
#define PROMPT_POSITIONS 64 // of a prompt, read in one pass

struct slot {
    bool taken;
    bool guided;      // has both branches
    uint64_t stepped; // decoder.stepped at its last step; 0: none
    uint32_t columns, prompt;
    uint32_t read;     // prompt positions whose keys and values are in the cache
    uint32_t position; // the last step whose tokens are known
    uint32_t end;      // the last step there is
};

struct decoder {
    struct device *device;
    struct arena *arena;
    struct decoder_params params;
    struct decoder_model model;
    struct slot *slots;
    struct stream *steps; // one step of the sequences in `draws`, replayed
    struct stream *once;  // what runs a single time: conditions, prompts
    struct span step_rows, once_rows, draws_span, logits;
    struct sample_draw *draws; // of the recorded step
    struct sample_draw *draw_room;
    uint32_t draw_count;
    uint64_t stepped;            // rounds of steps so far
    struct decode_row *row_room; // to build row tables in
    uint32_t *token_room;        // one slot's tokens, [K][token_stride]
    float *float_room;           // rows of conditions, or of logits
};

// ---- sizes

static uint32_t positions_of(const struct lm_config *c, const struct decoder_params *p)
{
    return p->max_columns + delay_most(c) + 1;
}

static uint32_t rows_of(const struct decoder_params *p)
{
    const uint32_t least = BRANCHES * PROMPT_POSITIONS;
    return BRANCHES * p->slots > least ? BRANCHES * p->slots : least;
}

static struct kv_cache_params self_cache(const struct lm_config *c, bool f16,
                                         const struct decoder_params *p)
{
    return (struct kv_cache_params){
        .layers = c->layers,
        .slots = p->slots,
        .branches = BRANCHES,
        .heads = c->heads,
        .width = decoder_shape(c).width,
        .positions = positions_of(c, p),
        .f16 = f16,
    };
}

// Only positions on the condition make the null branch see anything at all.
static struct kv_cache_params cross_cache(const struct lm_config *c, bool f16,
                                          const struct decoder_params *p)
{
    struct kv_cache_params cross = self_cache(c, f16, p);
    cross.branches = c->cross_positions ? BRANCHES : 1;
    cross.positions = p->max_frames;
    return cross;
}

// The scratch spans and their bytes.
struct scratch {
    uint64_t wide, mixed, attended, hidden, logits, slots, tokens, rows, draws;
};

static struct scratch scratch_of(const struct lm_config *c, const struct decoder_params *p)
{
    const struct decoder_shape shape = decoder_shape(c);
    const uint64_t row = rows_of(p) * sizeof(float);
    return (struct scratch){
        .wide = row * shape.dim_stride,
        .mixed = row * 3 * shape.inner,
        .attended = row * shape.inner,
        .hidden = row * shape.hidden_stride,
        .logits = (uint64_t) BRANCHES * p->slots * shape.logit_stride * sizeof(float),
        .slots = p->slots * sizeof(struct slot_state),
        .tokens = (uint64_t) p->slots * c->codebooks * positions_of(c, p) * sizeof(uint32_t),
        .rows = rows_of(p) * sizeof(struct decode_row),
        .draws = p->slots * sizeof(struct sample_draw),
    };
}

// What all spans take.
static uint64_t span_bytes(const struct model_config *c, bool f16,
                           const struct decoder_params *p)
{
    const struct kv_cache_params self = self_cache(&c->lm, f16, p),
                                 cross = cross_cache(&c->lm, f16, p);
    const struct scratch s = scratch_of(&c->lm, p);
    return decoder_weights_bytes(&c->lm, f16, positions_of(&c->lm, p)) + kv_cache_bytes(&self) +
           kv_cache_bytes(&cross) + 2 * s.wide + s.mixed + s.attended + s.hidden + s.logits +
           s.slots + s.tokens + 2 * s.rows + s.draws;
}

// The arena's blocks have ends that no span fits, and the last is not filled.
uint64_t decoder_bytes(const struct model_config *c, bool f16, const struct decoder_params *p)
{
    const uint64_t spans = span_bytes(c, f16, p);
    return spans + spans / 32 + (64ull << 20);
}

uint64_t decoder_slot_bytes(const struct model_config *c, bool f16,
                            const struct decoder_params *p)
{
    struct decoder_params one = *p, two = *p;
    one.slots = PROMPT_POSITIONS; // beyond which a slot also costs scratch
    two.slots = PROMPT_POSITIONS + 1;
    return decoder_bytes(c, f16, &two) - decoder_bytes(c, f16, &one);
}

// ---- opening

static enum err make_span(struct decoder *d, struct span *out, uint64_t bytes)
{
    const enum err e = arena_alloc_texels(d->arena, bytes, out);
    return e ? e : span_zero(d->device, *out);
}

static enum err make_scratch(struct decoder *d)
{
    struct decoder_model *m = &d->model;
    const struct scratch s = scratch_of(&m->config, &d->params);
    const struct {
        struct span *span;
        uint64_t bytes;
    } wanted[] = {
        { &m->x, s.wide },           { &m->normed, s.wide },
        { &m->mixed, s.mixed },      { &m->attended, s.attended },
        { &m->hidden, s.hidden },    { &d->logits, s.logits },
        { &m->slots, s.slots },      { &m->tokens, s.tokens },
        { &d->step_rows, s.rows },   { &d->once_rows, s.rows },
        { &d->draws_span, s.draws },
    };
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < sizeof(wanted) / sizeof(*wanted); i++)
        e = make_span(d, wanted[i].span, wanted[i].bytes);
    return e;
}

static enum err make_host_room(struct decoder *d)
{
    const struct decoder_model *m = &d->model;
    const uint64_t condition = (uint64_t) m->rows * m->shape.dim_stride;
    const uint64_t logits = (uint64_t) BRANCHES * m->shape.logit_stride;
    d->slots = calloc(d->params.slots, sizeof(*d->slots));
    d->draws = calloc(d->params.slots, sizeof(*d->draws));
    d->draw_room = calloc(d->params.slots, sizeof(*d->draw_room));
    d->row_room = calloc(m->rows, sizeof(*d->row_room));
    d->token_room =
        calloc((size_t) m->config.codebooks * m->token_stride, sizeof(*d->token_room));
    d->float_room = calloc(condition > logits ? condition : logits, sizeof(*d->float_room));
    return d->slots && d->draws && d->draw_room && d->row_room && d->token_room && d->float_room
               ? ERR_OK
               : ERR_NOMEM;
}

static enum err make_streams(struct decoder *d)
{
    enum err e = stream_create(&d->steps, d->device);
    if (!e)
        e = stream_create(&d->once, d->device);
    if (!e)
        stream_label(d->steps, "decoder step");
    return e;
}

static enum err make_caches(struct decoder *d)
{
    struct decoder_model *m = &d->model;
    const struct kv_cache_params self = self_cache(&m->config, m->weights.f16, &d->params);
    const struct kv_cache_params cross = cross_cache(&m->config, m->weights.f16, &d->params);
    const enum err e = kv_cache_init(&m->self, d->device, d->arena, &self);
    return e ? e : kv_cache_init(&m->cross, d->device, d->arena, &cross);
}

static enum err open_all(struct decoder *d, struct tensor_source *source)
{
    struct decoder_model *m = &d->model;
    const uint32_t positions = positions_of(&m->config, &d->params);
    enum err e = arena_create(&d->arena, d->device, MEMORY_DEVICE, "decoder");
    if (!e)
        e = decoder_weights_load(&m->weights, d->device, d->arena, source, positions);
    if (!e)
        e = make_caches(d);
    if (!e)
        e = make_scratch(d);
    if (!e)
        e = make_host_room(d);
    return e ? e : make_streams(d);
}

enum err decoder_open(struct decoder **out, struct device *device, struct tensor_source *source,
                      const struct decoder_params *p)
{
    *out = NULL;
    if (p->slots == 0 || p->max_columns == 0 || p->max_frames == 0) {
        log_error("a decoder needs at least one slot, column and frame");
        return ERR_USAGE;
    }
    struct decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    d->device = device;
    d->params = *p;
    d->model.config = source->config->lm;
    d->model.shape = decoder_shape(&d->model.config);
    d->model.token_stride = positions_of(&d->model.config, p);
    d->model.rows = rows_of(p);
    const enum err e = open_all(d, source);
    if (e) {
        decoder_close(&d);
        return e;
    }
    *out = d;
    return ERR_OK;
}

void decoder_close(struct decoder **dp)
{
    struct decoder *d = *dp;
    if (!d)
        return;
    stream_destroy(&d->steps);
    stream_destroy(&d->once);
    kv_cache_finish(&d->model.self);
    kv_cache_finish(&d->model.cross);
    decoder_weights_finish(&d->model.weights);
    arena_destroy(&d->arena);
    free(d->slots);
    free(d->draws);
    free(d->draw_room);
    free(d->row_room);
    free(d->token_room);
    free(d->float_room);
    free(d);
    *dp = NULL;
}

// ---- joining

static enum err refuse(const char *what, uint32_t got, uint32_t most)
{
    log_error("decoder: a sequence of %u %s in a decoder opened for 1 to %u", got, what, most);
    return ERR_USAGE;
}

static enum err check(const struct decoder *d, const struct sequence *s)
{
    const struct lm_config *c = &d->model.config;
    if (s->columns == 0 || s->columns > d->params.max_columns)
        return refuse("columns", s->columns, d->params.max_columns);
    if (s->frames == 0 || s->frames > d->params.max_frames)
        return refuse("frames", s->frames, d->params.max_frames);
    if (s->prompt_columns > s->columns)
        return refuse("prompt columns", s->prompt_columns, s->columns);
    for (uint64_t i = 0; i < (uint64_t) c->codebooks * s->prompt_columns; i++)
        if (s->prompt[i] < 0 || (uint32_t) s->prompt[i] >= c->card) {
            log_error("decoder: the prompt has token %d; the model knows 0 to %u",
                      (int) s->prompt[i], c->card - 1);
            return ERR_INPUT;
        }
    return ERR_OK;
}

// Condition rows first .. first + count - 1 of a branch, as the model's input:
// the null branch's condition is zero, and positions are added where the model
// wants them.
static void fill_condition(const struct decoder *d, const struct sequence *s, uint32_t branch,
                           uint32_t first, uint32_t count)
{
    const struct lm_config *c = &d->model.config;
    for (uint32_t i = 0; i < count; i++) {
        float *row = d->float_room + (uint64_t) i * d->model.shape.dim_stride;
        memset(row, 0, d->model.shape.dim_stride * sizeof(*row));
        if (c->cross_positions)
            sin_embedding(first + i, c->dim, row);
        for (uint32_t j = 0; j < c->dim; j++)
            row[j] = (branch == 0 ? s->condition[(uint64_t) (first + i) * c->dim + j] : 0) +
                     row[j] * c->cross_position_scale;
        d->row_room[i] = (struct decode_row){ .branch = branch, .position = first + i };
    }
}

// Run what `once` holds, with a row table of `count` rows.
static enum err run_once(struct decoder *d, uint32_t count, const char *label)
{
    stream_label(d->once, label);
    enum err e =
        span_upload(d->device, d->once_rows, 0, d->row_room, count * sizeof(*d->row_room));
    if (!e)
        return stream_run(d->once);
    stream_reset(d->once);
    return e;
}

static enum err load_condition_rows(struct decoder *d, const struct sequence *s, uint32_t slot,
                                    uint32_t branch, uint32_t first, uint32_t count)
{
    const struct decoder_model *m = &d->model;
    fill_condition(d, s, branch, first, count);
    for (uint32_t i = 0; i < count; i++)
        d->row_room[i].slot = slot;
    const enum err e = span_upload(d->device, m->x, 0, d->float_room,
                                   (uint64_t) count * m->shape.dim_stride * sizeof(float));
    if (e)
        return e;
    const struct decoder_pass p = { .rows = d->once_rows, .row_count = count, .x = m->x };
    for (uint32_t i = 0; i < m->config.layers; i++)
        pass_condition(m, d->once, &p, i);
    return run_once(d, count, "decoder condition");
}

static enum err load_condition(struct decoder *d, const struct sequence *s, uint32_t slot)
{
    const uint32_t branches = d->model.config.cross_positions ? BRANCHES : 1,
                   most = d->model.rows;
    enum err e = ERR_OK;
    for (uint32_t b = 0; b < branches; b++)
        for (uint32_t first = 0; !e && first < s->frames; first += most) {
            const uint32_t left = s->frames - first;
            e = load_condition_rows(d, s, slot, b, first, left < most ? left : most);
        }
    return e;
}

static enum err load_tokens(struct decoder *d, const int32_t *codes, uint32_t known,
                            uint32_t columns, uint32_t steps, uint32_t slot)
{
    const struct decoder_model *m = &d->model;
    const uint64_t bytes = (uint64_t) m->config.codebooks * m->token_stride * sizeof(uint32_t);
    delay_apply(&m->config, codes, known, columns, steps, d->token_room, m->token_stride);
    return span_upload(d->device, m->tokens, slot * bytes, d->token_room, bytes);
}

static enum err load_state(struct decoder *d, const struct sequence *s, uint32_t slot)
{
    struct slot_state state = {
        .frames = s->frames,
        .seed_low = (uint32_t) s->seed,
        .seed_high = (uint32_t) (s->seed >> 32),
        .top_k = s->sampling.top_k,
        .top_p = s->sampling.top_p,
        .temperature = s->sampling.temperature,
        .guidance = s->guidance,
    };
    for (uint32_t k = 0; k < d->model.config.codebooks; k++)
        state.position[k] = s->prompt_columns;
    return span_upload(d->device, d->model.slots, slot * sizeof(state), &state, sizeof(state));
}

static struct slot new_slot(const struct decoder *d, const struct sequence *s)
{
    const uint32_t end = delay_steps(&d->model.config, s->columns) - 1;
    const bool given = s->prompt_columns == s->columns; // nothing is left to do
    return (struct slot){
        .taken = true,
        .guided = s->guidance != 1.0f,
        .columns = s->columns,
        .prompt = s->prompt_columns,
        .read = given ? s->prompt_columns : 0,
        .position = given ? end : s->prompt_columns,
        .end = end,
    };
}

static bool find_free(const struct decoder *d, uint32_t *slot)
{
    for (uint32_t i = 0; i < d->params.slots; i++)
        if (!d->slots[i].taken) {
            *slot = i;
            return true;
        }
    return false;
}

enum err decoder_join(struct decoder *d, const struct sequence *s, uint32_t *slot)
{
    uint32_t i;
    if (!find_free(d, &i)) {
        log_error("decoder: all %u slots are taken", d->params.slots);
        return ERR_USAGE;
    }
    const uint32_t steps = delay_steps(&d->model.config, s->columns);
    enum err e = check(d, s);
    if (!e)
        e = load_tokens(d, s->prompt, s->prompt_columns, s->columns, steps, i);
    if (!e)
        e = load_state(d, s, i);
    if (!e)
        e = load_condition(d, s, i);
    if (e)
        return e;
    d->slots[i] = new_slot(d, s);
    *slot = i;
    return ERR_OK;
}

void decoder_assume_prompt(struct decoder *d, uint32_t slot)
{
    d->slots[slot].read = d->slots[slot].prompt;
}

void decoder_leave(struct decoder *d, uint32_t slot)
{
    d->slots[slot].taken = false;
}

uint32_t decoder_free_slots(const struct decoder *d)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->params.slots; i++)
        n += !d->slots[i].taken;
    return n;
}

// ---- stepping

static bool reading(const struct slot *s)
{
    return s->taken && s->read < s->prompt;
}

static bool stepping(const struct slot *s)
{
    return s->taken && s->read == s->prompt && s->position < s->end;
}

// The next positions of a prompt through all layers: their keys and values are
// all that is wanted.
static enum err read_prompt(struct decoder *d, uint32_t slot)
{
    const struct decoder_model *m = &d->model;
    struct slot *s = &d->slots[slot];
    const uint32_t left = s->prompt - s->read;
    const uint32_t count = left < PROMPT_POSITIONS ? left : PROMPT_POSITIONS;
    const uint32_t branches = s->guided ? BRANCHES : 1;
    for (uint32_t i = 0; i < branches * count; i++)
        d->row_room[i] = (struct decode_row){ slot, i / count, s->read + i % count, 0 };
    const struct decoder_pass p = {
        .rows = d->once_rows,
        .row_count = branches * count,
        .x = m->x,
        .reach = s->read + count,
        .cross_count = m->config.cross_positions ? branches * count : count,
    };
    pass_embed(m, d->once, &p);
    for (uint32_t i = 0; i + 1 < m->config.layers; i++)
        pass_layer(m, d->once, &p, i);
    pass_keys(m, d->once, &p, m->config.layers - 1);
    const enum err e = run_once(d, branches * count, "decoder prompt");
    if (!e)
        s->read += count;
    return e;
}

// The draws of every slot that steps: conditional rows come first, then the null
// rows of those that are guided. Returns how many slots, and in *rows how many
// rows.
static uint32_t collect_draws(const struct decoder *d, struct sample_draw *draws,
                              uint32_t *rows)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < d->params.slots; i++)
        if (stepping(&d->slots[i])) {
            draws[count] = (struct sample_draw){ .slot = i, .cond = count, .null = count };
            count++;
        }
    *rows = count;
    for (uint32_t i = 0; i < count; i++)
        if (d->slots[draws[i].slot].guided)
            draws[i].null = (*rows)++;
    return count;
}

static enum err upload_step(struct decoder *d, uint32_t rows)
{
    for (uint32_t i = 0; i < d->draw_count; i++) {
        const struct sample_draw *draw = &d->draws[i];
        d->row_room[draw->null] = (struct decode_row){ draw->slot, 1, DECODE_AT_STEP, 0 };
        d->row_room[draw->cond] = (struct decode_row){ draw->slot, 0, DECODE_AT_STEP, 0 };
    }
    enum err e =
        span_upload(d->device, d->step_rows, 0, d->row_room, rows * sizeof(*d->row_room));
    if (!e)
        e = span_upload(d->device, d->draws_span, 0, d->draws,
                        d->draw_count * sizeof(*d->draws));
    return e;
}

static enum err record_step(struct decoder *d, uint32_t rows)
{
    const struct decoder_model *m = &d->model;
    const struct decoder_pass p = {
        .rows = d->step_rows,
        .row_count = rows,
        .x = m->x,
        .reach = m->token_stride,
        .cross_count = m->config.cross_positions ? rows : d->draw_count,
    };
    stream_reset(d->steps);
    pass_embed(m, d->steps, &p);
    for (uint32_t i = 0; i < m->config.layers; i++)
        pass_layer(m, d->steps, &p, i);
    pass_logits(m, d->steps, &p, d->logits);
    op_sample(d->steps, &(struct sample){
                            .draws = d->draws_span,
                            .slots = m->slots,
                            .tokens = m->tokens,
                            .logits = d->logits,
                            .draw_count = d->draw_count,
                            .card = m->config.card,
                            .codebooks = m->config.codebooks,
                            .codebook_stride = m->shape.codebook_stride,
                            .token_stride = m->token_stride,
                            .delays = m->config.delays,
                        });
    return upload_step(d, rows);
}

// Record a step of all that step, unless it is the one that is recorded; in
// *any, whether there is any. The draws of the last step are kept until the next.
static enum err prepare_step(struct decoder *d, bool *any)
{
    uint32_t rows;
    const uint32_t count = collect_draws(d, d->draw_room, &rows);
    const size_t bytes = count * sizeof(*d->draws);
    *any = count > 0;
    if (!*any || (count == d->draw_count && !memcmp(d->draws, d->draw_room, bytes)))
        return ERR_OK;
    memcpy(d->draws, d->draw_room, bytes);
    d->draw_count = count;
    const enum err e = record_step(d, rows);
    if (e)
        d->draw_count = 0; // nothing that could be replayed
    return e;
}

// How many steps the sequences can take together: none of them beyond its end.
static uint32_t steps_together(const struct decoder *d, uint32_t most)
{
    for (uint32_t i = 0; i < d->draw_count; i++) {
        const struct slot *s = &d->slots[d->draws[i].slot];
        if (s->end - s->position < most)
            most = s->end - s->position;
    }
    return most;
}

static enum err take_steps(struct decoder *d, uint32_t count)
{
    enum err e = stream_submit(d->steps, count);
    if (!e)
        e = stream_wait(d->steps);
    d->stepped++;
    for (uint32_t i = 0; !e && i < d->draw_count; i++) {
        struct slot *s = &d->slots[d->draws[i].slot];
        s->position += count;
        s->stepped = d->stepped;
    }
    return e;
}

enum err decoder_advance(struct decoder *d, uint32_t steps)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < d->params.slots; i++)
        if (reading(&d->slots[i]))
            e = read_prompt(d, i);
    while (!e && steps > 0) {
        bool any;
        e = prepare_step(d, &any);
        if (e || !any)
            break;
        const uint32_t count = steps_together(d, steps);
        e = take_steps(d, count);
        steps -= count;
    }
    return e;
}

// ---- looking

struct decoder_progress decoder_progress(const struct decoder *d, uint32_t slot)
{
    const struct slot *s = &d->slots[slot];
    const uint32_t columns = delay_columns(&d->model.config, s->columns, s->position);
    return (struct decoder_progress){
        .columns = columns > s->prompt ? columns : s->prompt,
        .steps_left = s->end - s->position,
        .reading_prompt = reading(s),
        .finished = s->position == s->end,
    };
}

static enum err read_state(struct decoder *d, uint32_t slot, struct slot_state *out)
{
    return span_download(d->device, d->model.slots, slot * sizeof(*out), out, sizeof(*out));
}

// Tokens look like any others whatever they were drawn from.
static enum err check_sound(struct decoder *d, uint32_t slot)
{
    struct slot_state state;
    const enum err e = read_state(d, slot, &state);
    if (e || !state.broken)
        return e;
    return numbers_are_none(d->device, "decoder");
}

enum err decoder_tokens(struct decoder *d, uint32_t slot, uint32_t columns, int32_t *out)
{
    const struct decoder_model *m = &d->model;
    const uint64_t bytes = (uint64_t) m->config.codebooks * m->token_stride * sizeof(uint32_t);
    if (columns > decoder_progress(d, slot).columns)
        return refuse("complete columns", columns, decoder_progress(d, slot).columns);
    enum err e = check_sound(d, slot);
    if (!e)
        e = span_download(d->device, m->tokens, slot * bytes, d->token_room, bytes);
    if (!e)
        delay_revert(&m->config, d->token_room, m->token_stride, columns, out);
    return e;
}

static const struct sample_draw *find_draw(const struct decoder *d, uint32_t slot)
{
    if (d->slots[slot].stepped == 0 || d->slots[slot].stepped != d->stepped)
        return NULL; // its logits are not those that stand there
    for (uint32_t i = 0; i < d->draw_count; i++)
        if (d->draws[i].slot == slot)
            return &d->draws[i];
    return NULL;
}

enum err decoder_logits(struct decoder *d, uint32_t slot, float *out)
{
    const struct decoder_shape *shape = &d->model.shape;
    const struct lm_config *c = &d->model.config;
    const struct sample_draw *draw = find_draw(d, slot);
    if (!draw) {
        log_error("decoder: slot %u has made no step whose logits are still there", slot);
        return ERR_USAGE;
    }
    struct slot_state state;
    const uint64_t bytes = shape->logit_stride * sizeof(float);
    float *cond = d->float_room, *null = cond + shape->logit_stride;
    enum err e = read_state(d, slot, &state);
    if (!e)
        e = span_download(d->device, d->logits, draw->cond * bytes, cond, bytes);
    if (!e)
        e = span_download(d->device, d->logits, draw->null * bytes, null, bytes);
    for (uint32_t i = 0; !e && i < c->codebooks * c->card; i++) {
        const uint32_t at = i / c->card * shape->codebook_stride + i % c->card;
        out[i] = null[at] + (cond[at] - null[at]) * state.guidance;
    }
    return e;
}

enum err decoder_trace(struct decoder *d, const int32_t *codes, uint32_t columns,
                       const float *condition, uint32_t frames, struct probe *probe)
{
    const struct sequence s = {
        .condition = condition,
        .frames = frames,
        .prompt = codes,
        .prompt_columns = columns,
        .columns = columns ? columns : 1,
        .guidance = 0, // checked, no more
    };
    if (decoder_free_slots(d) < d->params.slots) {
        log_error("decoder: a trace needs all slots free");
        return ERR_USAGE;
    }
    enum err e = check(d, &s);
    if (!e)
        e = load_tokens(d, codes, columns, columns, columns + 1, 0);
    if (!e)
        e = load_state(d, &s, 0);
    if (!e)
        e = load_condition(d, &s, 0);
    return e ? e : decoder_model_trace(&d->model, d->device, columns + 1, probe);
}
