// attention: every query of a batch looks at every key of it, head by head:
//
//   y[i, h, :] = sum_j softmax_j(q[i, h, :] . k[j, h, :] / sqrt(dims)) v[j, h, :]
//
// Nothing is masked. A row's bits depend on its own query and on its batch's
// keys and values only. Records; never blocks.
#pragma once

#include "worker/engine/stream.h"

// Rows of heads * dims numbers: row r of batch b starts at offset + b * batch +
// r * stride, all in elements. They may lie inside wider rows.
struct attention_rows {
    struct span span; // f32
    uint32_t offset;
    uint32_t stride; // 0: dense
    uint32_t batch;  // 0: as many rows as there are, end to end
};

struct attention {
    struct attention_rows q, k, v;
    struct attention_rows y; // may be q's own
    struct span scratch;     // attention_scratch_bytes() from arena_alloc_texels()
    uint32_t batches, heads;
    uint32_t dims;          // of a head
    uint32_t queries, keys; // keys > 0
};

// What scratch must hold; `a` needs no spans yet.
uint64_t attention_scratch_bytes(const struct device *d, const struct attention *a);

void op_attention(struct stream *s, const struct attention *a);
