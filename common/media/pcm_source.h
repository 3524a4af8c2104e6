// pcm_source: a stream of mono samples that can be read more than once, because
// a loudness is known only after the last sample. Whoever makes one embeds this
// struct first in its own and casts back in the calls.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct pcm_source {
    // Up to `capacity` samples, nominally within -1..1, into out[]; *got is 0 at
    // the end and nowhere else. Failures are logged by the source.
    enum err (*read)(struct pcm_source *self, float *out, size_t capacity, size_t *got);
    // Back to the first sample.
    enum err (*rewind)(struct pcm_source *self);
    uint64_t samples;     // exactly how many read() gives in all
    uint32_t sample_rate; // Hz
};
