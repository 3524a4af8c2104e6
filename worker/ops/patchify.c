#include "worker/ops/patchify.h"

#include "patchify_f32.spv.h"
#include "patchify_u8.spv.h"
#include "shaders/patchify.h"

#define GROUP 64             // invocations, as patchify.comp says
#define GROUPS_ACROSS 32768u // below every device's limit

static const struct kernel u8_kernel = {
    .name = "patchify_u8",
    .code = patchify_u8_spv,
    .code_bytes = sizeof(patchify_u8_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct patchify_push),
};
static const struct kernel f32_kernel = {
    .name = "patchify_f32",
    .code = patchify_f32_spv,
    .code_bytes = sizeof(patchify_f32_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct patchify_push),
};

void op_patchify(struct stream *s, const struct patchify *p)
{
    const uint32_t grid = p->image / p->patch;
    const uint64_t count = (uint64_t) p->frames * (1 + grid * grid) * p->y_stride;
    const uint64_t groups = (count + GROUP - 1) / GROUP;
    // The shader counts on to the end of the last row of groups.
    if (count > UINT32_MAX - GROUPS_ACROSS * (uint64_t) GROUP) {
        stream_fail(s, ERR_BUG);
        return;
    }
    const struct patchify_push push = {
        .image = p->image,
        .side = p->patch,
        .grid = grid,
        .y_stride = p->y_stride,
        .count = (uint32_t) count,
    };
    const uint32_t rows = (uint32_t) ((groups + GROUPS_ACROSS - 1) / GROUPS_ACROSS);
    stream_dispatch(s, p->normalised ? &f32_kernel : &u8_kernel,
                    &(struct dispatch){
                        .bind = { p->frames_in, p->y },
                        .push = &push,
                        .groups = { rows > 1 ? GROUPS_ACROSS : (uint32_t) groups, rows, 1 },
                        .flops = 20.0 * (double) count,
                    });
}
