#include "worker/ops/layernorm.h"

#include <stdbool.h>

#include "layernorm_storage.spv.h"
#include "layernorm_texels.spv.h"
#include "shaders/layernorm.h"

static const struct kernel storage_kernel = {
    .name = "layernorm_storage",
    .code = layernorm_storage_spv,
    .code_bytes = sizeof(layernorm_storage_spv),
    .bindings = 5,
    .push_bytes = sizeof(struct layernorm_push),
    .full_subgroups = true,
};
static const struct kernel texels_kernel = {
    .name = "layernorm_texels",
    .code = layernorm_texels_spv,
    .code_bytes = sizeof(layernorm_texels_spv),
    .bindings = 5,
    .images = 15,
    .push_bytes = sizeof(struct layernorm_push),
    .full_subgroups = true,
};

// Where accesses of texels are the fast ones, and everything lies in them.
static bool in_texels(struct stream *s, const struct layernorm *l,
                      const struct layernorm_push *p)
{
    const struct device_facts *f = device_facts(stream_device(s));
    return f->kind == DEVICE_CPU && f->int64 && l->x.view && l->gain.view && l->bias.view &&
           (!l->residual.bytes || l->residual.view) &&
           (p->cols | p->x_stride | p->y_stride | p->x_offset | p->y_offset) % 4 == 0;
}

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
    stream_dispatch(
        s, in_texels(s, l, &push) ? &texels_kernel : &storage_kernel,
        &(struct dispatch){
            .bind = { l->x, l->gain, l->bias, l->residual.bytes ? l->residual : l->x, l->y },
            .push = &push,
            .constants = { device_facts(stream_device(s))->subgroup },
            .constant_count = 1,
            .groups = { l->rows, 1, 1 },
            .flops = 8.0 * l->rows * l->cols,
        });
}
