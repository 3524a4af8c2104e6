#include "worker/ops/attention_step.h"

#include "attention_step_f16.spv.h"
#include "attention_step_f16_buffer.spv.h"
#include "attention_step_f32.spv.h"
#include "attention_step_f32_buffer.spv.h"
#include "shaders/attention_step.h"

#define IMAGES 0x3c // bindings 2 to 5: queries, keys, values, output

#define KERNEL(variant, image_bindings)                                               \
    {                                                                                 \
        .name = #variant, .code = variant##_spv, .code_bytes = sizeof(variant##_spv), \
        .bindings = 6, .images = (image_bindings),                                    \
        .push_bytes = sizeof(struct attention_step_push), .full_subgroups = true      \
    }
static const struct kernel attention_step_kernels[2][2] = {
    // [f16][texels]
    { KERNEL(attention_step_f32_buffer, 0), KERNEL(attention_step_f32, IMAGES) },
    { KERNEL(attention_step_f16_buffer, 0), KERNEL(attention_step_f16, IMAGES) },
};

// Subgroups that share one row and head. A GPU has few workgroups to run at a
// small batch and wants more in each; on a CPU a barrier costs more than it gives.
static uint32_t subgroups(const struct device_facts *f, uint32_t width, uint32_t wanted)
{
    uint32_t n = wanted ? wanted : f->kind == DEVICE_CPU ? 1 : 8;
    while (n > 1 && (n * f->subgroup > f->max_group_invocations ||
                     (uint64_t) n * (width + 2) * sizeof(float) > f->max_shared))
        n /= 2;
    return n;
}

// Keys at a time. A condition has few frames: half a block wastes less.
static uint32_t keys(const struct device_facts *f, bool cross)
{
    const uint32_t n = cross ? DECODE_BLOCK / 2 : DECODE_BLOCK;
    return n > f->subgroup ? n : f->subgroup;
}

void op_attention_step(struct stream *s, const struct attention_step *a)
{
    const struct kv_block *from = a->from;
    const struct device_facts *f = device_facts(stream_device(s));
    const struct attention_step_push push = {
        .heads = from->heads,
        .blocks = from->blocks,
        .first_slot = from->first_slot,
        .group_slots = from->slots,
        .branches = from->branches,
        .q_offset = a->q_offset / 4,
        .q_stride = a->q_stride / 4,
        .y_offset = a->y_offset / 4,
        .y_stride = a->y_stride / 4,
        .first_row = a->first_row,
        .flags = a->cross ? ATTENTION_STEP_CROSS : 0u,
        .scale = a->scale,
    };
    const bool texels = a->q.view && a->y.view && from->keys.view && from->values.view;
    const uint32_t n = subgroups(f, from->width, a->subgroups);
    const bool cpu = f->kind == DEVICE_CPU;
    stream_dispatch(
        s, &attention_step_kernels[from->f16][texels],
        &(struct dispatch){
            .bind = { a->rows, a->slots, a->q, from->keys, from->values, a->y },
            .push = &push,
            .constants = { n * f->subgroup, f->subgroup, n, from->width / (from->f16 ? 8 : 4),
                           keys(f, a->cross), from->f16 && cpu, cpu && f->subgroup > 8 },
            .constant_count = 7,
            .groups = { a->row_count, from->heads, 1 },
            .flops = 4.0 * a->row_count * from->heads * from->width * a->reach,
        });
}
