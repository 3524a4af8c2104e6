#include "worker/ops/embed_tokens.h"

#include "embed_tokens_f16.spv.h"
#include "embed_tokens_f32.spv.h"
#include "shaders/embed_tokens.h"

static const struct kernel embed_tokens_kernels[] = {
    { .name = "embed_tokens_f32",
      .code = embed_tokens_f32_spv,
      .code_bytes = sizeof(embed_tokens_f32_spv),
      .bindings = 6,
      .push_bytes = sizeof(struct embed_tokens_push) },
    { .name = "embed_tokens_f16",
      .code = embed_tokens_f16_spv,
      .code_bytes = sizeof(embed_tokens_f16_spv),
      .bindings = 6,
      .push_bytes = sizeof(struct embed_tokens_push) },
};

void op_embed_tokens(struct stream *s, const struct embed_tokens *e)
{
    const struct embed_tokens_push push = {
        .cols = e->cols,
        .vocabulary = e->vocabulary,
        .first = e->first,
        .count = e->count,
        .codebooks = e->codebooks,
        .token_stride = e->token_stride,
        .x_offset = e->x_offset,
        .x_stride = e->x_stride,
        .first_row = e->first_row,
        .flags = (e->starts ? EMBED_FIRST : 0u) | (e->ends ? EMBED_LAST : 0u),
    };
    stream_dispatch(s, &embed_tokens_kernels[e->f16],
                    &(struct dispatch){
                        .bind = { e->rows, e->slots, e->tokens, e->table, e->positions, e->x },
                        .push = &push,
                        .groups = { (e->cols / 2 + 63) / 64, e->row_count, 1 },
                        .flops = 1.0 * e->row_count * e->cols * e->count,
                    });
}
