// matmul_internal: what matmul's own files and its test share. Nobody else
// includes this.
#pragma once

#include "shaders/matmul.h"
#include "worker/engine/choice.h"
#include "worker/ops/matmul.h"

enum matmul_form {
    MATMUL_PLAIN,  // one invocation, one output
    MATMUL_TEXEL,  // for drivers on a CPU
    MATMUL_SLICED, // for GPUs, few rows
    MATMUL_TILED,  // for GPUs, many rows; the same bits as MATMUL_SLICED
};

struct matmul_choice {
    enum matmul_form form;
    uint32_t rows, cols; // MR and NR, or TM and TN, of the shader; 0 where it has none
    uint32_t depth;      // DEPTH of MATMUL_TEXEL; 0: MATMUL_DEPTH
};

// What the depth of MATMUL_TEXEL's large tiles is remembered as, [f16]: the shallow ones
// are half as much code, which some processors run faster and others do not. While nobody has
// measured, it is MATMUL_DEPTH.
extern const char *const matmul_depth_choice[2];
#define MATMUL_SHALLOW (MATMUL_DEPTH / 2)
uint32_t matmul_best_depth(const struct device *d, bool f16);

// What MATMUL_TEXEL's most columns for a lane are remembered as, [f16]; while
// nobody has measured, it is the smaller number.
extern const char *const matmul_cols_choice[2];
#define MATMUL_FEW_COLS 4
#define MATMUL_MANY_COLS(f16) ((f16) ? 8u : 6u)

// The most rows for a subgroup where weights are f16 and no ELU comes after; elsewhere
// it is the larger number, which leaves a lane MATMUL_FEW_COLS columns.
extern const char *const matmul_rows_choice;
#define MATMUL_FEW_ROWS 8
#define MATMUL_MANY_ROWS 16

// 16-byte blocks of K in a packed row.
uint32_t matrix_depth_blocks(uint32_t cols, bool f16);

// And with the padding after them.
uint32_t matrix_tile_blocks(uint32_t cols, bool f16);

// Does MATMUL_TEXEL take this one? Every other form takes anything.
bool matmul_fits_texel(struct stream *s, const struct matmul *m);

// What op_matmul() would take.
struct matmul_choice matmul_choose(struct stream *s, const struct matmul *m);

void matmul_record(struct stream *s, const struct matmul *m, struct matmul_choice c);
