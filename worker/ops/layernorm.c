#include "worker/ops/layernorm.h"

#include "shaders/layernorm.h"
#include "layernorm.spv.h"

static const struct kernel layernorm_kernel = {
    .name = "layernorm", .code = layernorm_spv, .code_bytes = sizeof(layernorm_spv),
    .bindings = 5, .push_bytes = sizeof(struct layernorm_push), .full_subgroups = true,
};

void op_layernorm(struct stream *s, const struct layernorm *l)
{
    const struct layernorm_push push = {
        .cols = l->cols,
        .x_stride = l->x_stride ? l->x_stride : l->cols,
        .y_stride = l->y_stride ? l->y_stride : l->cols,
        .x_offset = l->x_offset,
        .y_offset = l->y_offset,
        .flags = l->residual.bytes ? LAYERNORM_RESIDUAL : 0u,
        .epsilon = l->epsilon,
    };
    stream_dispatch(s, &layernorm_kernel, &(struct dispatch){
        .bind = { l->x, l->gain, l->bias, l->residual.bytes ? l->residual : l->y, l->y },
        .push = &push,
        .constants = { device_facts(stream_device(s))->subgroup },
        .constant_count = 1,
        .groups = { l->rows, 1, 1 },
        .flops = 8.0 * l->rows * l->cols,
    });
}
