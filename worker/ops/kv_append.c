#include "worker/ops/kv_append.h"

#include "shaders/kv_append.h"
#include "kv_append_f16.spv.h"
#include "kv_append_f32.spv.h"

static const struct kernel kv_append_kernels[] = {
    { .name = "kv_append_f32", .code = kv_append_f32_spv, .code_bytes = sizeof(kv_append_f32_spv),
      .bindings = 5, .push_bytes = sizeof(struct kv_append_push) },
    { .name = "kv_append_f16", .code = kv_append_f16_spv, .code_bytes = sizeof(kv_append_f16_spv),
      .bindings = 5, .push_bytes = sizeof(struct kv_append_push) },
};

uint64_t kv_row_bytes(bool f16, uint32_t heads, uint32_t width, uint32_t blocks)
{
    return (uint64_t) heads * width * blocks * DECODE_BLOCK * (f16 ? 2 : 4);
}

void op_kv_append(struct stream *s, const struct kv_append *a)
{
    const struct kv_block *to = a->to;
    const uint32_t texels = to->width / (to->f16 ? 8 : 4);
    const struct kv_append_push push = {
        .heads = to->heads,
        .texels = texels,
        .blocks = to->blocks,
        .group = to->group,
        .group_slots = to->group_slots,
        .branches = to->branches,
        .k_offset = a->k_offset,
        .v_offset = a->v_offset,
        .stride = a->stride,
        .first_row = a->first_row,
    };
    stream_dispatch(s, &kv_append_kernels[to->f16], &(struct dispatch){
        .bind = { a->rows, a->slots, a->source, to->keys, to->values },
        .push = &push,
        .groups = { (2 * to->heads * texels + 63) / 64, a->row_count, 1 },
        .flops = 2.0 * a->row_count * to->heads * to->width,
    });
}
