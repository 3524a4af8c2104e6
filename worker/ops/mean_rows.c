#include "worker/ops/mean_rows.h"

#include "mean_rows.spv.h"
#include "shaders/mean_rows.h"

static const struct kernel mean_rows_kernel = {
    .name = "mean_rows",
    .code = mean_rows_spv,
    .code_bytes = sizeof(mean_rows_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct mean_rows_push),
};

void op_mean_rows(struct stream *s, const struct mean_rows *m)
{
    const struct mean_rows_push push = { .rows = m->rows, .cols = m->cols };
    stream_dispatch(s, &mean_rows_kernel,
                    &(struct dispatch){
                        .bind = { m->x, m->y },
                        .push = &push,
                        .groups = { (m->cols + 63) / 64, m->batches, 1 },
                        .flops = (double) m->batches * m->rows * m->cols,
                    });
}
