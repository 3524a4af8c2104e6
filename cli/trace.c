// trace: the tensors inside a model, for given inputs: what the tests compare
// with the published code's, and what one looks at when a port goes wrong.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/settings.h"
#include "cli/trace_parts.h"
#include "cli/verb.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/config/options.h"

struct trace_settings {
    const char *in, *out, *device;
    int64_t steps;
    bool validate;
};

static enum err parse(struct trace_settings *s, struct verb_arguments *a, int argc, char **argv)
{
    const struct option_spec specs[] = {
        { .name = "in",
          .letter = 'i',
          .kind = OPTION_STRING,
          .target = &s->in,
          .value = "FILE",
          .help = "the inputs, a safetensors file" },
        { .name = "output",
          .letter = 'o',
          .kind = OPTION_STRING,
          .target = &s->out,
          .value = "FILE",
          .help = "where to write what they become" },
        { .name = "device",
          .letter = 'd',
          .kind = OPTION_STRING,
          .target = &s->device,
          .value = "WHICH",
          .help = "an index, a UUID, or a part of a name" },
        { .name = "steps",
          .kind = OPTION_INT,
          .target = &s->steps,
          .value = "N",
          .min = 1,
          .max = 100000,
          .help = "columns of gen.greedy_tokens and gen.continuation_tokens (40)" },
        { .name = "validate",
          .kind = OPTION_FLAG,
          .target = &s->validate,
          .help = "with Vulkan's validation layers" },
        { .name = NULL },
    };
    const struct option_spec *const tables[] = { specs };
    const struct verb_page page = {
        .usage = "underscore trace MODEL.safetensors --in A.safetensors -o B.safetensors",
        .summary =
            "Writes the tensors inside the model for the inputs found in A:\n"
            "  vis.frames [T,3,R,R], normalised    vis.*, gen.greedy_tokens\n"
            "  vis.condition [T,dim], instead      gen.greedy_tokens\n"
            "  and lm.codes [K,columns]            lm.layer*, lm.seq_logits_*\n"
            "  and gen.prompt [K,columns]          gen.continuation_tokens\n"
            "  sample.logits [rows,card]           every sample.topkK_tempT and sample.toppP_tempT\n"
            "                                      that A names\n"
            "  codec.dec_codes [K,columns]         codec.dec_latent, codec.dec_model*, codec.dec_wav\n"
            "  codec.wav [1,samples]               codec.enc_model*, codec.enc_latent, codec.enc_codes\n"
            "  codec.short_codes, codec.short_wav  codec.short_dec_wav, codec.short_enc_latent\n"
            "Inputs of other names are ignored.",
        .tables = tables,
        .table_count = 1,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    *s = (struct trace_settings){ .steps = 40 };
    const enum err e = options_parse(&page, argc, argv, a);
    if (e || a->help_shown || (s->in && s->out))
        return e;
    log_error("trace needs --in and -o; see underscore trace --help");
    return ERR_USAGE;
}

static bool extent_fits(uint64_t is, uint64_t wanted)
{
    return wanted == TRACE_SOME ? is > 0 : wanted == TRACE_ANY || is == wanted;
}

// "2, 1 or more" into text; cut where it ends.
static void print_shape(char *text, size_t bytes, uint32_t rank, const uint64_t *shape)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < rank && used < bytes; i++) {
        const char *between = i ? ", " : "";
        if (shape[i] == TRACE_SOME || shape[i] == TRACE_ANY)
            used += (size_t) snprintf(text + used, bytes - used, "%s%s", between,
                                      shape[i] == TRACE_SOME ? "1 or more" : "any");
        else
            used += (size_t) snprintf(text + used, bytes - used, "%s%llu", between,
                                      (unsigned long long) shape[i]);
    }
}

enum err trace_input(const struct trace *t, struct tensor_view *out, bool *found,
                     const char *name, uint32_t rank, const uint64_t *shape)
{
    *found = safetensors_find(t->in, name, out);
    if (!*found)
        return ERR_OK;
    bool fits = out->rank == rank;
    for (uint32_t i = 0; fits && i < rank; i++)
        fits = extent_fits(out->shape[i], shape[i]);
    if (fits && tensor_elements(out) < 1ull << 31)
        return ERR_OK;
    char is[96], takes[96];
    print_shape(is, sizeof(is), out->rank, out->shape);
    print_shape(takes, sizeof(takes), rank, shape);
    log_error("%s is [%s]%s; this model takes [%s]", name, is, fits ? ", too large" : "",
              takes);
    return ERR_INPUT;
}

enum err trace_floats(const struct tensor_view *v, const char *name, float **out)
{
    *out = malloc(tensor_elements(v) * sizeof(**out));
    if (!*out) {
        log_error("out of memory for %s", name);
        return ERR_NOMEM;
    }
    tensor_to_f32(v, 0, tensor_elements(v), *out);
    return ERR_OK;
}

enum err trace_tokens(const struct tensor_view *v, const char *name, uint32_t card,
                      int32_t **out)
{
    *out = malloc((tensor_elements(v) + 1) * sizeof(**out));
    if (!*out) {
        log_error("out of memory for %s", name);
        return ERR_NOMEM;
    }
    for (uint64_t i = 0; i < tensor_elements(v); i++) {
        const float token = tensor_at(v, i); // card is far below 2^24
        if (!(token >= 0 && token < (float) card && token == floorf(token))) {
            log_error("%s: element %llu is not a token, 0 to %u", name, (unsigned long long) i,
                      card - 1);
            free(*out);
            *out = NULL;
            return ERR_INPUT;
        }
        (*out)[i] = (int32_t) token;
    }
    return ERR_OK;
}

static enum err compute(struct trace *t)
{
    enum err e = trace_visual(t);
    if (!e)
        e = trace_decoder(t);
    if (!e)
        e = trace_samples(t);
    if (!e)
        e = trace_codec(t);
    if (!e && t->out.count == 0) {
        log_error("nothing can be computed from this input; see underscore trace --help");
        e = ERR_INPUT;
    }
    return e;
}

static enum err run(const struct trace_settings *s, const char *model)
{
    struct trace t = { .steps = (uint32_t) s->steps };
    struct model_file *file = NULL;
    struct safetensors *in = NULL;
    tensor_dump_init(&t.out);
    enum err e = model_file_open(&file, model);
    if (!e)
        e = safetensors_open(&in, s->in);
    if (!e)
        e = device_open_for(
            &t.device, &(struct model_options){ .device = s->device, .validate = s->validate });
    if (!e) {
        t.model = model_file_tensors(file);
        t.in = in;
        e = compute(&t);
    }
    if (!e)
        e = tensor_dump_write(&t.out, s->out);
    free(t.condition);
    tensor_dump_finish(&t.out);
    device_close(&t.device);
    safetensors_close(&in);
    model_file_close(&file);
    return e;
}

enum err verb_trace(int argc, char **argv)
{
    struct trace_settings s;
    struct verb_arguments a;
    const enum err e = parse(&s, &a, argc, argv);
    if (e || a.help_shown)
        return e;
    if (file_is_same(s.out, a.values[0]) || file_is_same(s.out, s.in)) {
        log_error("%s: is one of the inputs; choose another output", s.out);
        return ERR_USAGE;
    }
    return run(&s, a.values[0]);
}
