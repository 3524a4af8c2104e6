#include "worker/model/random_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"

#define LEVELS 4096 // different numbers in a tensor

struct random_source {
    struct tensor_source tensors; // first: `find` gets a pointer to it
    struct model_config config;
    uint64_t seed;
    enum dtype dtype;
    struct tensor_spec *specs; // sorted by name
    size_t count, room;
    float levels[LEVELS]; // of a standard normal distribution
    void *data;           // of the tensor last asked for
    uint64_t data_room;
};

struct distribution {
    float mean, deviation;
};

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static bool starts_with(const char *name, const char *start)
{
    return !strncmp(name, start, strlen(start));
}

// How many products are summed into one element of the output.
static float fan_in(const struct tensor_spec *s)
{
    if (ends_with(s->name, ".proj")) // [in, out]
        return (float) s->shape[0];
    if (strstr(s->name, ".convtr.")) // [in, out, 2 * stride]: every output sees two taps
        return 2 * (float) s->shape[0];
    uint64_t n = 1;
    for (uint32_t i = 1; i < s->rank; i++)
        n *= s->shape[i];
    return (float) n;
}

// What the last matrix of a residual branch is scaled by, so that the sum of
// all branches stays near 1 however deep the model is.
static float residual_scale(const struct model_config *c, const char *name)
{
    if (strstr(name, ".block.3."))
        return 0.5f;
    if (strstr(name, ".resblocks.") && (strstr(name, ".out_proj.") || strstr(name, ".c_proj.")))
        return 1 / sqrtf(2 * (float) c->vit.layers);
    if (starts_with(name, "transformer.layers.") &&
        (strstr(name, ".out_proj.") || strstr(name, ".linear2.")))
        return 1 / sqrtf(3 * (float) c->lm.layers);
    return 1;
}

static struct distribution distribution_of(const struct model_config *c,
                                           const struct tensor_spec *s)
{
    if (s->rank == 1 && ends_with(s->name, "weight")) // a LayerNorm's gains
        return (struct distribution){ 1, 0.1f };
    if (s->rank == 1)
        return (struct distribution){ 0, 0.02f };
    if (starts_with(s->name, "emb.")) // one of each codebook are summed
        return (struct distribution){ 0, 1 / sqrtf((float) c->lm.codebooks) };
    if (ends_with(s->name, "positional_embedding"))
        return (struct distribution){ 0, 0.1f };
    if (ends_with(s->name, "query_tokens"))
        return (struct distribution){ 0, 1 };
    if (starts_with(s->name, "codec.quantizer.")) // each corrects what the one before left
        return (struct distribution){ 0, powf(0.6f, (float) strtoul(s->name + 16, NULL, 10)) };
    if (starts_with(s->name, "codec.decoder.") && s->shape[0] == c->codec.channels) // sound
        return (struct distribution){ 0, 0.2f / sqrtf(fan_in(s)) };
    if (starts_with(s->name, "linears.")) // decided enough that sampling shows
        return (struct distribution){ 0, 2 / sqrtf(fan_in(s)) };
    return (struct distribution){ 0, residual_scale(c, s->name) / sqrtf(fan_in(s)) };
}

// LEVELS numbers as if drawn from a normal distribution (each the sum of four
// uniform ones), with their negatives: mean 0 and variance 1 exactly.
static void draw_levels(float levels[LEVELS])
{
    double squares = 0;
    for (int i = 0; i < LEVELS / 2; i++) {
        const uint64_t bits = mix64(0, (uint64_t) i);
        const uint64_t sum =
            (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        levels[i] = (float) sum - 2 * 65535;
        squares += (double) levels[i] * (double) levels[i];
    }
    const float scale = (float) (1 / sqrt(squares / (0.5 * LEVELS)));
    for (int i = 0; i < LEVELS / 2; i++) {
        levels[i] *= scale;
        levels[LEVELS - 1 - i] = -levels[i];
    }
}

static uint64_t key_of(uint64_t seed, const char *name)
{
    for (; *name; name++)
        seed = mix64(seed, (unsigned char) *name);
    return seed;
}

// A hash picks four levels, so that a model of a billion numbers takes seconds.
static void pick_f32(float *out, uint64_t elements, const float table[LEVELS], uint64_t key)
{
    for (uint64_t i = 0; i < elements; i += 4) {
        const uint64_t bits = mix64(key, i);
        for (uint64_t j = 0; j < 4 && i + j < elements; j++)
            out[i + j] = table[bits >> 16 * j & (LEVELS - 1)];
    }
}

static void pick_f16(uint16_t *out, uint64_t elements, const float table[LEVELS], uint64_t key)
{
    uint16_t halves[LEVELS];
    for (int i = 0; i < LEVELS; i++)
        halves[i] = half_from_float(table[i]);
    for (uint64_t i = 0; i < elements; i += 4) {
        const uint64_t bits = mix64(key, i);
        for (uint64_t j = 0; j < 4 && i + j < elements; j++)
            out[i + j] = halves[bits >> 16 * j & (LEVELS - 1)];
    }
}

static void generate(struct random_source *r, const struct tensor_spec *s, uint64_t elements,
                     enum dtype dtype)
{
    const struct distribution d = distribution_of(&r->config, s);
    const uint64_t key = key_of(r->seed, s->name);
    float table[LEVELS];
    for (int i = 0; i < LEVELS; i++)
        table[i] = d.mean + d.deviation * r->levels[i];
    if (dtype == DTYPE_F16)
        pick_f16(r->data, elements, table, key);
    else
        pick_f32(r->data, elements, table, key);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct tensor_spec *) a)->name,
                  ((const struct tensor_spec *) b)->name);
}

static int compare_name_to_spec(const void *name, const void *spec)
{
    return strcmp(name, ((const struct tensor_spec *) spec)->name);
}

static enum err reserve(struct random_source *r, uint64_t bytes)
{
    if (bytes <= r->data_room)
        return ERR_OK;
    free(r->data);
    r->data = malloc(bytes);
    r->data_room = r->data ? bytes : 0;
    if (r->data)
        return ERR_OK;
    log_error("out of memory for a random tensor of %llu bytes", (unsigned long long) bytes);
    return ERR_NOMEM;
}

static enum err find(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    struct random_source *r = (struct random_source *) self;
    const struct tensor_spec *s =
        bsearch(name, r->specs, r->count, sizeof(*r->specs), compare_name_to_spec);
    if (!s)
        return ERR_MISSING;

    *out = (struct tensor_view){ .rank = s->rank };
    memcpy(out->shape, s->shape, sizeof(out->shape));
    out->dtype = tensor_spec_keeps_f32(s) ? DTYPE_F32 : r->dtype;
    const uint64_t elements = tensor_elements(out);
    out->bytes = elements * dtype_bytes(out->dtype);
    const enum err e = reserve(r, out->bytes);
    if (e)
        return e;
    generate(r, s, elements, out->dtype);
    out->data = r->data;
    return ERR_OK;
}

static enum err remember(void *context, const struct tensor_spec *spec)
{
    struct random_source *r = context;
    if (r->count == r->room) {
        const size_t room = r->room ? 2 * r->room : 256;
        struct tensor_spec *specs = realloc(r->specs, room * sizeof(*specs));
        if (!specs)
            return ERR_NOMEM;
        r->specs = specs;
        r->room = room;
    }
    r->specs[r->count++] = *spec;
    return ERR_OK;
}

enum err random_source_create(struct random_source **out, const struct model_config *c,
                              uint64_t seed, enum dtype dtype)
{
    *out = NULL;
    enum err e = model_config_check(c);
    if (e)
        return e;
    struct random_source *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->config = *c;
    r->seed = seed;
    r->dtype = dtype;
    r->tensors = (struct tensor_source){ find, &r->config, "the random model" };
    draw_levels(r->levels);
    e = model_tensors_each(c, remember, r);
    if (e) {
        log_error("out of memory for the list of a model's tensors");
        random_source_destroy(&r);
        return e;
    }
    qsort(r->specs, r->count, sizeof(*r->specs), compare_names);
    *out = r;
    return ERR_OK;
}

void random_source_destroy(struct random_source **r)
{
    if (!*r)
        return;
    free((*r)->specs);
    free((*r)->data);
    free(*r);
    *r = NULL;
}

struct tensor_source *random_source_tensors(struct random_source *r)
{
    return &r->tensors;
}
