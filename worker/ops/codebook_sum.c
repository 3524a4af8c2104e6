#include "worker/ops/codebook_sum.h"

#include "codebook_sum.spv.h"
#include "shaders/codebook_sum.h"

static const struct kernel sum_kernel = {
    .name = "codebook_sum",
    .code = codebook_sum_spv,
    .code_bytes = sizeof(codebook_sum_spv),
    .bindings = 3,
    .push_bytes = sizeof(struct codebook_sum_push),
};

void op_codebook_sum(struct stream *s, const struct codebook_sum *c)
{
    const struct codebook_sum_push push = {
        .codebooks = c->codebooks,
        .bins = c->bins,
        .width = c->width,
        .tokens_offset = c->tokens_offset,
        .tokens_stride = c->tokens_stride,
    };
    stream_dispatch(s, &sum_kernel,
                    &(struct dispatch){
                        .bind = { c->tokens, c->embed, c->y },
                        .push = &push,
                        .constants = { device_facts(stream_device(s))->subgroup },
                        .constant_count = 1,
                        .groups = { c->rows, 1, 1 },
                        .flops = 1.0 * c->rows * c->width * c->codebooks,
                    });
}
