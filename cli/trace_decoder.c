#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/trace_parts.h"
#include "common/base/log.h"
#include "worker/model/decoder.h"

#define GUIDANCE 3.0f
#define STEPS 64 // in one call; any number is right

// What the decoder is asked for.
struct work {
    struct tensor_view codes, prompt;     // as read
    int32_t *code_tokens, *prompt_tokens; // NULL: not in the input
};

static enum err read_tokens(const struct trace *t, const char *name, struct tensor_view *v,
                            int32_t **out)
{
    const struct lm_config *c = &t->model->config->lm;
    bool found;
    const enum err e =
        trace_input(t, v, &found, name, 2, (const uint64_t[]){ c->codebooks, TRACE_ANY });
    return e || !found ? e : trace_tokens(v, name, c->card, out);
}

static enum err read_work(struct work *w, const struct trace *t)
{
    enum err e = read_tokens(t, "lm.codes", &w->codes, &w->code_tokens);
    if (!e)
        e = read_tokens(t, "gen.prompt", &w->prompt, &w->prompt_tokens);
    if (!e && w->prompt_tokens && w->prompt.shape[1] > t->steps) {
        log_error(
            "gen.prompt is longer than the %u columns of gen.continuation_tokens; raise --steps",
            t->steps);
        e = ERR_INPUT;
    }
    return e;
}

// Write t->steps columns, the first of them given, always the likeliest token.
static enum err generate(struct trace *t, struct decoder *d, const char *name,
                         const int32_t *prompt, uint32_t prompt_columns)
{
    const struct lm_config *c = &t->model->config->lm;
    uint32_t slot;
    enum err e = decoder_join(d,
                              &(struct sequence){
                                  .condition = t->condition,
                                  .frames = t->frames,
                                  .prompt = prompt,
                                  .prompt_columns = prompt_columns,
                                  .columns = t->steps,
                                  .guidance = GUIDANCE,
                              },
                              &slot);
    if (e)
        return e;
    while (!e && !decoder_progress(d, slot).finished)
        e = decoder_advance(d, STEPS);
    int32_t *tokens = malloc(sizeof(*tokens) * c->codebooks * t->steps);
    if (!e && !tokens)
        e = ERR_NOMEM;
    if (!e)
        e = decoder_tokens(d, slot, t->steps, tokens);
    decoder_leave(d, slot);
    if (!e)
        e = tensor_dump_tokens(&t->out, name, tokens, c->codebooks, t->steps);
    free(tokens);
    return e;
}

static enum err run(struct trace *t, const struct work *w)
{
    const uint32_t columns = w->code_tokens ? (uint32_t) w->codes.shape[1] : 0;
    struct decoder *d;
    enum err e = decoder_open(&d, t->device, t->model,
                              &(struct decoder_params){
                                  .slots = 1,
                                  .max_columns = columns > t->steps ? columns : t->steps,
                                  .max_frames = t->frames,
                              });
    if (e)
        return e;
    if (w->code_tokens)
        e = decoder_trace(d, w->code_tokens, columns, t->condition, t->frames, &t->out.probe);
    if (!e)
        e = generate(t, d, "gen.greedy_tokens", NULL, 0);
    if (!e && w->prompt_tokens)
        e = generate(t, d, "gen.continuation_tokens", w->prompt_tokens,
                     (uint32_t) w->prompt.shape[1]);
    decoder_close(&d);
    return e;
}

enum err trace_decoder(struct trace *t)
{
    struct work w = { 0 };
    enum err e = read_work(&w, t);
    if (!e && t->condition)
        e = run(t, &w);
    else if (!e && (w.code_tokens || w.prompt_tokens))
        log_warn("lm.codes and gen.prompt need vis.frames or vis.condition; left out");
    free(w.code_tokens);
    free(w.prompt_tokens);
    return e;
}

// "sample.topk10_temp0.8": false when the name is another kind of tensor.
static bool read_sampling(const char *name, struct sampling *out)
{
    static const char start[] = "sample.top?";
    int end = 0;
    uint64_t top_k;
    *out = (struct sampling){ 0 };
    if (strlen(name) < sizeof(start) || !strchr("0123456789.", name[sizeof(start) - 1]))
        return false; // no sign, no "nan"
    if (sscanf(name, "sample.topk%" SCNu64 "_temp%f%n", &top_k, &out->temperature, &end) == 2)
        out->top_k = top_k < UINT32_MAX ? (uint32_t) top_k : UINT32_MAX;
    else if (sscanf(name, "sample.topp%f_temp%f%n", &out->top_p, &out->temperature, &end) != 2)
        return false;
    else if (!(out->top_p > 0))
        out->top_p = FLT_MIN; // of no mass at all, the likeliest is left
    return name[end] == 0 && isfinite(out->temperature) && isfinite(out->top_p);
}

static enum err sample_each(struct trace *t, const struct tensor_view *v, const float *logits,
                            float *out)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < safetensors_count(t->in); i++) {
        struct sampling s;
        const char *name = safetensors_name(t->in, i);
        if (!read_sampling(name, &s))
            continue;
        e = sampler_distribution(t->device, logits, (uint32_t) v->shape[0],
                                 (uint32_t) v->shape[1], &s, out);
        if (!e)
            e = tensor_dump_add(&t->out, name, DTYPE_F32, out, 2, v->shape);
    }
    return e;
}

enum err trace_samples(struct trace *t)
{
    struct tensor_view v;
    bool found;
    enum err e = trace_input(t, &v, &found, "sample.logits", 2,
                             (const uint64_t[]){ TRACE_SOME, TRACE_SOME });
    if (e || !found)
        return e;
    if (v.shape[1] > MODEL_MAX_CARD) {
        log_error("sample.logits has %llu tokens in a row; a model has at most %u",
                  (unsigned long long) v.shape[1], MODEL_MAX_CARD);
        return ERR_INPUT;
    }
    float *logits, *out = malloc(tensor_elements(&v) * sizeof(*out));
    e = trace_floats(&v, "sample.logits", &logits);
    if (!e && !out) {
        log_error("out of memory for a distribution");
        e = ERR_NOMEM;
    }
    if (!e)
        e = sample_each(t, &v, logits, out);
    free(logits);
    free(out);
    return e;
}
