// matmul_internal: what matmul's own files share. Nobody else includes this.
#pragma once

#include "worker/ops/matmul.h"

// 16-byte blocks of K in a packed row.
uint32_t matrix_depth_blocks(uint32_t cols, bool f16);
