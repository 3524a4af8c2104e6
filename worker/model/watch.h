// watch: shows a probe what stands in device memory between two recorded
// operations: runs what is recorded so far, fetches, calls. Does nothing without
// a probe. One thread, that of the device.
#pragma once

#include "worker/engine/stream.h"
#include "worker/model/probe.h"

struct watch {
    struct stream *stream;
    struct probe *probe; // NULL: nobody looks
};

// A tensor of f32 rows, dense or `stride` elements apart.
struct watched {
    struct span span;
    uint32_t rank;
    uint64_t shape[4];
    uint64_t stride; // from one row (the last extent) to the next; 0: dense
};

// Show `t` as NAME, made from the format. Failures go to the stream.
void watch_show(const struct watch *w, const struct watched *t, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The pieces, for what must be rearranged before it is shown. A copy of the
// first `count` floats of a span, once all that is recorded has run; the caller
// frees it. NULL without a probe, or after a failure.
float *watch_fetch(const struct watch *w, struct span from, uint64_t count);
void watch_see(const struct watch *w, const char *name, const float *data, uint32_t rank,
               const uint64_t *shape);
