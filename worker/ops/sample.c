#include "worker/ops/sample.h"

#include <string.h>

#include "sample_buffer.spv.h"
#include "sample_texel.spv.h"

static const struct kernel sample_kernels[] = {
    { .name = "sample_buffer",
      .code = sample_buffer_spv,
      .code_bytes = sizeof(sample_buffer_spv),
      .bindings = 5,
      .push_bytes = sizeof(struct sample_push),
      .full_subgroups = true },
    { .name = "sample_texel",
      .code = sample_texel_spv,
      .code_bytes = sizeof(sample_texel_spv),
      .bindings = 5,
      .texels = 1u << 3,
      .push_bytes = sizeof(struct sample_push),
      .full_subgroups = true },
};

void op_sample(struct stream *s, const struct sample *a)
{
    struct sample_push push = {
        .card = a->card,
        .codebooks = a->codebooks,
        .token_stride = a->token_stride,
        .row_texels = a->codebooks * a->codebook_stride / 4,
        .codebook_texels = a->codebook_stride / 4,
        .flags = a->distribution.bytes ? SAMPLE_DISTRIBUTION : 0u,
    };
    if (a->delays)
        memcpy(push.delays, a->delays, a->codebooks * sizeof(*a->delays));
    const bool texels = a->logits.view;
    stream_dispatch(
        s, &sample_kernels[texels],
        &(struct dispatch){
            // Without a distribution something else is bound in its place: not written.
            .bind = { a->draws, a->slots, a->tokens, a->logits,
                      a->distribution.bytes ? a->distribution : a->tokens },
            .push = &push,
            .constants = { device_facts(stream_device(s))->subgroup },
            .constant_count = 1,
            .groups = { a->draw_count, a->codebooks, 1 },
            .flops = 600.0 * a->draw_count * a->codebooks * a->card,
        });
}
