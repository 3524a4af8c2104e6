#include "worker/ops/pad_rows.h"

#include "shaders/pad_rows.h"
#include "pad_rows_plain.spv.h"
#include "pad_rows_texels.spv.h"

static const struct kernel texels_kernel = {
    .name = "pad_rows_texels", .code = pad_rows_texels_spv, .code_bytes = sizeof(pad_rows_texels_spv),
    .bindings = 2, .texels = 1, .push_bytes = sizeof(struct pad_rows_push),
};
static const struct kernel plain_kernel = {
    .name = "pad_rows_plain", .code = pad_rows_plain_spv, .code_bytes = sizeof(pad_rows_plain_spv),
    .bindings = 2, .push_bytes = sizeof(struct pad_rows_push),
};

#define GROUPS_ACROSS 32768u // below every device's limit

void op_pad_rows(struct stream *s, const struct pad_rows *p)
{
    const bool texels = p->x.view && p->channels % 4 == 0 && p->x_offset % 4 == 0;
    const uint32_t wide = texels ? 4 : 1;
    const uint32_t lanes = device_facts(stream_device(s))->subgroup;
    const uint32_t row_units = p->channels / wide;
    const struct pad_rows_push push = {
        .units = p->rows * row_units,
        .row_units = row_units,
        .skip_rows = lanes / row_units,
        .skip_units = lanes % row_units,
        .first = p->first,
        .total = p->length,
        .mirror = p->reflect ? p->length + p->zeros - 1 : -1,
        .x_first = p->x_first,
        .x_offset = p->x_offset / wide,
        .activation = p->activation,
    };
    const uint32_t groups = (push.units + lanes * PAD_ROWS_STEPS - 1) / (lanes * PAD_ROWS_STEPS);
    stream_dispatch(s, texels ? &texels_kernel : &plain_kernel, &(struct dispatch){
        .bind = { p->x, p->y },
        .push = &push,
        .constants = { lanes },
        .constant_count = 1,
        .groups = { groups < GROUPS_ACROSS ? groups : GROUPS_ACROSS,
                    (groups + GROUPS_ACROSS - 1) / GROUPS_ACROSS, 1 },
        .flops = 10.0 * p->rows * p->channels,
    });
}
