#include "worker/model/kv_cache.h"

#include <stdlib.h>

#include "common/base/log.h"

#define SPAN_MAX_BYTES (1ull << 30) // some drivers fail on larger allocations

static uint32_t blocks_of(const struct kv_cache_params *p)
{
    return (p->positions + DECODE_BLOCK - 1) / DECODE_BLOCK;
}

// Keys, and again values, of one slot in one layer.
static uint64_t slot_bytes(const struct kv_cache_params *p)
{
    return p->branches * kv_row_bytes(p->f16, p->heads, p->width, blocks_of(p));
}

uint64_t kv_cache_bytes(const struct kv_cache_params *p)
{
    return 2 * slot_bytes(p) * p->slots * p->layers;
}

static uint32_t slots_in_a_group(const struct device *d, const struct kv_cache_params *p)
{
    const struct device_facts *f = device_facts(d);
    uint64_t most = p->most_bytes ? p->most_bytes : f->max_storage_range;
    if (most > SPAN_MAX_BYTES)
        most = SPAN_MAX_BYTES;
    const uint64_t n = most / slot_bytes(p);
    return n < p->slots ? (uint32_t) n : p->slots;
}

static enum err block_init(struct kv_block *b, struct device *d, struct arena *a,
                           uint64_t bytes)
{
    enum err e = arena_alloc_texels(a, bytes, &b->keys);
    if (!e)
        e = arena_alloc_texels(a, bytes, &b->values);
    if (!e)
        e = span_zero(d, b->keys);
    if (!e)
        e = span_zero(d, b->values);
    return e;
}

enum err kv_cache_init(struct kv_cache *out, struct device *d, struct arena *a,
                       const struct kv_cache_params *p)
{
    *out = (struct kv_cache){ 0 };
    const uint32_t group_slots = slots_in_a_group(d, p);
    if (group_slots == 0) {
        log_error("%s: the cache of %u positions needs %.1f MiB in one piece, more than the "
                  "device can bind; use shorter segments or f16 weights",
                  device_facts(d)->name, p->positions, (double) slot_bytes(p) / 0x1p20);
        return ERR_DEVICE_MEM;
    }
    struct kv_cache c = { .layers = p->layers,
                          .groups = (p->slots + group_slots - 1) / group_slots };
    c.blocks = calloc((size_t) c.layers * c.groups, sizeof(*c.blocks));
    enum err e = c.blocks ? ERR_OK : ERR_NOMEM;
    for (uint32_t i = 0; !e && i < c.layers * c.groups; i++) {
        const uint32_t first = i % c.groups * group_slots;
        const uint32_t held = p->slots - first < group_slots ? p->slots - first : group_slots;
        c.blocks[i] = (struct kv_block){
            .f16 = p->f16,
            .first_slot = first,
            .slots = held,
            .branches = p->branches,
            .heads = p->heads,
            .width = p->width,
            .blocks = blocks_of(p),
        };
        e = block_init(&c.blocks[i], d, a, slot_bytes(p) * held);
    }
    if (e) {
        kv_cache_finish(&c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void kv_cache_finish(struct kv_cache *c)
{
    free(c->blocks);
    *c = (struct kv_cache){ 0 };
}

void kv_cache_append(const struct kv_cache *c, struct stream *s, uint32_t layer,
                     const struct kv_append *a)
{
    struct kv_append one = *a;
    stream_together(s);
    for (uint32_t g = 0; g < c->groups; g++) {
        one.to = &c->blocks[layer * c->groups + g];
        op_kv_append(s, &one);
    }
    stream_apart(s);
}

void kv_cache_attend(const struct kv_cache *c, struct stream *s, uint32_t layer,
                     const struct attention_step *a)
{
    struct attention_step one = *a;
    stream_together(s);
    for (uint32_t g = 0; g < c->groups; g++) {
        one.from = &c->blocks[layer * c->groups + g];
        op_attention_step(s, &one);
    }
    stream_apart(s);
}
