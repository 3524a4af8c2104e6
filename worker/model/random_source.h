// random_source: a model of any configuration made of random numbers, for
// tests and benchmarks. Tensors are generated when asked for; the model is
// never held. Every element is a function of (seed, tensor name, index) alone.
// One thread per source.
//
// Scales keep activations sane at any size: matrices have a standard deviation
// of 1/sqrt(fan in), those that end a residual branch 1/sqrt(2 layers) of that,
// LayerNorm gains are near 1.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "worker/model/tensors.h"

struct random_source;

// `c` is checked and copied. `dtype` is that of matrices, DTYPE_F32 or
// DTYPE_F16; vectors and codebooks are always F32, as import writes them. The
// caller frees *out with random_source_destroy().
ERR_CHECKED enum err random_source_create(struct random_source **out,
                                          const struct model_config *c, uint64_t seed,
                                          enum dtype dtype);
void random_source_destroy(struct random_source **r); // NULL inside is fine

// Owned by `r`.
struct tensor_source *random_source_tensors(struct random_source *r);
