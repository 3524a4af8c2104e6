#include "worker/ops/pad_rows.h"

#include "pad_rows_any.spv.h"
#include "pad_rows_images.spv.h"
#include "pad_rows_quads.spv.h"
#include "shaders/pad_rows.h"

#define KERNEL(variant, image_bindings)                                        \
    {                                                                          \
        .name = "pad_rows_" #variant, .code = pad_rows_##variant##_spv,        \
        .code_bytes = sizeof(pad_rows_##variant##_spv), .bindings = 2,         \
        .images = (image_bindings), .push_bytes = sizeof(struct pad_rows_push) \
    }

static const struct kernel any = KERNEL(any, 0), quads = KERNEL(quads, 0),
                           images = KERNEL(images, 1);

#define GROUPS_ACROSS 32768u // below every device's limit

void op_pad_rows(struct stream *s, const struct pad_rows *p)
{
    const struct device_facts *facts = device_facts(stream_device(s));
    const uint32_t wide = p->channels % 4 == 0 && p->x_offset % 4 == 0 ? 4 : 1;
    const bool fetches = facts->kind == DEVICE_CPU && facts->int64 && p->x.view;
    const struct kernel *k = wide == 1 ? &any : fetches ? &images : &quads;
    const uint32_t lanes = facts->subgroup;
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
    };
    const uint32_t groups =
        (push.units + lanes * PAD_ROWS_STEPS - 1) / (lanes * PAD_ROWS_STEPS);
    stream_dispatch(s, k,
                    &(struct dispatch){
                        .bind = { p->x, p->y },
                        .push = &push,
                        .constants = { lanes, p->activation },
                        .constant_count = 2,
                        .groups = { groups < GROUPS_ACROSS ? groups : GROUPS_ACROSS,
                                    (groups + GROUPS_ACROSS - 1) / GROUPS_ACROSS, 1 },
                        .flops = 10.0 * p->rows * p->channels,
                    });
}
