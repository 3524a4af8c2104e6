#include "worker/ops/attention.h"

#include <math.h>

#include "attention_pack_storage.spv.h"
#include "attention_pack_texels.spv.h"
#include "attention_storage.spv.h"
#include "attention_texels.spv.h"
#include "common/base/bytes.h"
#include "shaders/attention.h"

static const struct kernel pack_texels_kernel = {
    .name = "attention_pack_texels",
    .code = attention_pack_texels_spv,
    .code_bytes = sizeof(attention_pack_texels_spv),
    .bindings = 2,
    .texels = 1,
    .push_bytes = sizeof(struct attention_pack_push),
};
static const struct kernel pack_storage_kernel = {
    .name = "attention_pack_storage",
    .code = attention_pack_storage_spv,
    .code_bytes = sizeof(attention_pack_storage_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct attention_pack_push),
};
static const struct kernel texels_kernel = {
    .name = "attention_texels",
    .code = attention_texels_spv,
    .code_bytes = sizeof(attention_texels_spv),
    .bindings = 2,
    .images = 1,
    .push_bytes = sizeof(struct attention_push),
    .full_subgroups = true,
};
static const struct kernel storage_kernel = {
    .name = "attention_storage",
    .code = attention_storage_spv,
    .code_bytes = sizeof(attention_storage_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct attention_push),
    .full_subgroups = true,
};

// How the work is laid out on a device, and the packed operands in scratch:
// first q, then k, then v. Counted in blocks of 16 bytes.
struct layout {
    uint32_t lanes, rows, keys; // a workgroup's, attention.comp's constants
    uint32_t v_lanes, v_blocks; // likewise
    bool passed_on;             // likewise
    uint32_t qk_blocks;         // of a row
    uint32_t query_padded, key_padded;
    uint64_t k_from, v_from, end;
};

static struct layout lay_out(const struct device *d, const struct attention *a)
{
    struct layout l = { .lanes = device_facts(d)->subgroup };
    const uint32_t blocks = (a->dims + 3) / 4;
    // A CPU has more to gain from keeping what it fetched than to lose from
    // spilling: measured on lavapipe.
    const bool cpu = device_facts(d)->kind == DEVICE_CPU;
    l.rows = cpu ? 16 : 8;
    l.keys = cpu ? 4 : l.lanes > 32 ? 1 : 2;
    l.v_lanes = 1;
    while (l.v_lanes < blocks && l.v_lanes < l.lanes)
        l.v_lanes *= 2;
    l.v_blocks = (blocks + l.v_lanes - 1) / l.v_lanes;
    // Only for 8 lanes has lavapipe an instruction for a shuffle by what is not constant.
    l.passed_on = cpu && l.lanes != 8;
    l.qk_blocks = (uint32_t) round_up(blocks, l.lanes > l.rows ? l.lanes / l.rows : 1);
    l.query_padded = (uint32_t) round_up(a->queries, l.rows);
    l.key_padded =
        (uint32_t) round_up(a->keys, round_up((uint64_t) l.lanes * l.keys, ATTENTION_TILE));
    const uint64_t heads = (uint64_t) a->batches * a->heads;
    l.k_from = heads * l.query_padded * l.qk_blocks;
    l.v_from = l.k_from + heads * l.key_padded * l.qk_blocks;
    l.end = l.v_from + heads * l.key_padded * l.v_lanes * l.v_blocks;
    return l;
}

uint64_t attention_scratch_bytes(const struct device *d, const struct attention *a)
{
    return lay_out(d, a).end * 16;
}

// Where loads of texels are the fast ones. A GPU prefers plain buffers.
static bool on_cpu(struct stream *s)
{
    return device_facts(stream_device(s))->kind == DEVICE_CPU;
}

static bool whole_texels(const struct attention_rows *x, const struct attention_pack_push *push)
{
    return x->span.view &&
           (push->dims | push->x_offset | push->x_stride | push->x_batch) % 4 == 0;
}

static void pack(struct stream *s, const struct attention *a, const struct attention_rows *x,
                 uint32_t padded, const struct attention_pack_push *as)
{
    struct attention_pack_push push = *as;
    push.dims = a->dims;
    push.x_offset = x->offset;
    push.x_stride = x->stride ? x->stride : a->heads * a->dims;
    push.x_batch = x->batch ? x->batch : push.rows * push.x_stride;
    const bool texels =
        on_cpu(s) && device_facts(stream_device(s))->int64 && whole_texels(x, &push);
    stream_dispatch(s, texels ? &pack_texels_kernel : &pack_storage_kernel,
                    &(struct dispatch){
                        .bind = { x->span, a->scratch },
                        .push = &push,
                        .groups = { padded / ATTENTION_TILE, a->heads, a->batches },
                        .flops = 4.0 * padded * push.blocks * a->heads * a->batches,
                    });
}

static void pack_all(struct stream *s, const struct attention *a, const struct layout *l)
{
    stream_together(s);
    pack(s, a, &a->q, l->query_padded,
         &(struct attention_pack_push){
             .rows = a->queries,
             .blocks = l->qk_blocks,
             .tiled = 1,
             .scale = (float) (1.4426950408889634 / sqrt(a->dims)), // log2(e): for exp2
         });
    pack(s, a, &a->k, l->key_padded,
         &(struct attention_pack_push){
             .rows = a->keys,
             .blocks = l->qk_blocks,
             .to = (uint32_t) l->k_from,
             .tiled = 1,
             .scale = 1,
         });
    pack(s, a, &a->v, l->key_padded,
         &(struct attention_pack_push){
             .rows = a->keys,
             .blocks = l->v_lanes * l->v_blocks,
             .to = (uint32_t) l->v_from,
             .scale = 1,
         });
    stream_apart(s);
}

void op_attention(struct stream *s, const struct attention *a)
{
    const struct layout l = lay_out(stream_device(s), a);
    if (a->scratch.bytes < l.end * 16 || a->keys == 0) {
        stream_fail(s, ERR_BUG);
        return;
    }
    pack_all(s, a, &l);
    const uint32_t stride = a->y.stride ? a->y.stride : a->heads * a->dims;
    const struct attention_push push = {
        .queries = a->queries,
        .keys = a->keys,
        .dims = a->dims,
        .qk_blocks = l.qk_blocks,
        .query_padded = l.query_padded,
        .key_padded = l.key_padded,
        .k_from = (uint32_t) l.k_from,
        .v_from = (uint32_t) l.v_from,
        .y_offset = a->y.offset,
        .y_stride = stride,
        .y_batch = a->y.batch ? a->y.batch : a->queries * stride,
    };
    const bool texels = on_cpu(s) && a->scratch.view;
    stream_dispatch(
        s, texels ? &texels_kernel : &storage_kernel,
        &(struct dispatch){
            .bind = { a->scratch, a->y.span },
            .push = &push,
            .constants = { l.lanes, l.rows, l.keys, l.v_lanes, l.v_blocks, l.passed_on },
            .constant_count = 6,
            .groups = { l.query_padded / l.rows, a->heads, a->batches },
            .flops = 4.0 * a->queries * a->keys * a->dims * a->heads * a->batches,
        });
}
