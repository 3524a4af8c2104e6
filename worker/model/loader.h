// loader: a stage's weights, from a tensor source to the device.
//
// The first failure sticks: after it every call does nothing and returns zeroed
// values, so that a stage lists its tensors and looks at `error` once at the
// end. No more than one tensor is held on the host at a time. One thread.
#pragma once

#include "worker/model/tensors.h"
#include "worker/ops/matmul.h"

struct loader {
    struct device *device;
    struct arena *arena; // where everything goes
    struct tensor_source *source;
    enum err error;
    char prefix[TENSOR_NAME_MAX]; // of the names that the calls below are given
};

// Set the prefix.
void loader_enter(struct loader *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// A vector of `count` floats.
struct span load_vector(struct loader *l, const char *name, uint32_t count);

// Rows `first` .. first + rows - 1 of a weight [all][cols], packed for
// op_matmul, with those of its bias [all] unless `bias` is NULL. Matrices keep
// the precision they have in the source.
struct matrix_rows {
    const char *weight, *bias;
    uint32_t all, first, rows, cols;
};
struct matrix load_rows(struct loader *l, const struct matrix_rows *m);

// All of a weight [rows][cols] and its bias.
struct matrix load_matrix(struct loader *l, const char *weight, const char *bias, uint32_t rows,
                          uint32_t cols);

// A weight kept as [cols][rows]: input first.
struct matrix load_transposed(struct loader *l, const char *weight, uint32_t rows,
                              uint32_t cols);

// The same for a weight of another shape that holds rows * cols elements.
struct matrix load_reshaped(struct loader *l, const char *weight, uint32_t rank,
                            const uint64_t *shape, uint32_t rows, uint32_t cols);

struct norm {
    struct span gain, bias;
};

// NAME.weight and NAME.bias of a LayerNorm.
struct norm load_norm(struct loader *l, const char *name, uint32_t count);

// A tensor as floats on the host; the caller frees it. NULL after a failure.
float *load_floats(struct loader *l, const char *name, uint32_t rank, const uint64_t *shape);
