#include "worker/ops/kv_append.h"

#include "kv_append_f16.spv.h"
#include "kv_append_f16_buffer.spv.h"
#include "kv_append_f32.spv.h"
#include "kv_append_f32_buffer.spv.h"
#include "shaders/kv_append.h"

#define IMAGES 0x1c // bindings 2, 3, 4: source, keys, values
#define KERNEL(variant, image_bindings)                                                        \
    {                                                                                          \
        .name = #variant, .code = variant##_spv, .code_bytes = sizeof(variant##_spv),          \
        .bindings = 5, .images = (image_bindings), .push_bytes = sizeof(struct kv_append_push) \
    }
static const struct kernel kv_append_kernels[2][2] = {
    // [f16][texels]
    { KERNEL(kv_append_f32_buffer, 0), KERNEL(kv_append_f32, IMAGES) },
    { KERNEL(kv_append_f16_buffer, 0), KERNEL(kv_append_f16, IMAGES) },
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
        .blocks = to->blocks,
        .first_slot = to->first_slot,
        .group_slots = to->slots,
        .branches = to->branches,
        .k_offset = a->k_offset / 4,
        .v_offset = a->v_offset / 4,
        .stride = a->stride / 4,
        .first_row = a->first_row,
    };
    const bool in_texels = a->source.view && to->keys.view && to->values.view;
    stream_dispatch(s, &kv_append_kernels[to->f16][in_texels],
                    &(struct dispatch){
                        .bind = { a->rows, a->slots, a->source, to->keys, to->values },
                        .push = &push,
                        .constants = { texels },
                        .constant_count = 1,
                        .groups = { (to->heads * texels + 63) / 64, a->row_count, 1 },
                        .flops = 2.0 * a->row_count * to->heads * to->width,
                    });
}
