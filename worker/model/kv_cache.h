// kv_cache: the keys and values of every layer, for a fixed number of slots.
//
// A slot has one or two cache rows a layer (its branches: with and without the
// condition). One binding holds as many slots as the device lets it: a group. The
// two calls that record go over the groups; rows find theirs by their slot.
// One thread, that of the device.
#pragma once

#include "worker/ops/attention_step.h"

struct kv_cache_params {
    uint32_t layers, slots;
    uint32_t branches; // rows of a slot: 1 or 2
    uint32_t heads;
    uint32_t width;     // of a head, a multiple of 8
    uint32_t positions; // the most a row holds
    bool f16;
    uint64_t most_bytes; // in one binding; 0: what the device allows
};

struct kv_cache {
    struct kv_block *blocks; // [layers][groups]
    uint32_t layers, groups;
};

// Zeroed device memory from `a`. ERR_DEVICE_MEM when one slot alone is more than
// the device can bind; logs. On failure *out is zeroed.
ERR_CHECKED enum err kv_cache_init(struct kv_cache *out, struct device *d, struct arena *a,
                                   const struct kv_cache_params *p);
void kv_cache_finish(struct kv_cache *c); // the arena keeps the device memory

// Device bytes of a cache.
uint64_t kv_cache_bytes(const struct kv_cache_params *p);

// Record: append to, or attend to, one layer. `to` and `from` of the arguments
// are filled in here.
void kv_cache_append(const struct kv_cache *c, struct stream *s, uint32_t layer,
                     const struct kv_append *a);
void kv_cache_attend(const struct kv_cache *c, struct stream *s, uint32_t layer,
                     const struct attention_step *a);
