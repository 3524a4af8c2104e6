// stream: dispatches recorded once and run as often as one likes.
//
// Recording calls return nothing: the first failure is kept and comes back from
// stream_submit(), which first compiles, side by side, the kernels that are new.
// Every dispatch waits for those before it, except inside stream_together() ...
// stream_apart(). Work is cut into several submissions by its estimated cost, so
// that no driver's watchdog sees a long one.
// One thread, that of the device.
#pragma once

#include <stddef.h>

#include "worker/engine/memory.h"

#define KERNEL_MAX_BINDINGS 12
#define KERNEL_MAX_CONSTANTS 12
#define KERNEL_MAX_PUSH 128 // bytes: what every device has

// A compute shader. Static: the device remembers the pipelines made from it by
// its address and the specialization constants.
struct kernel {
    const char *name;
    const uint32_t *code; // SPIR-V
    size_t code_bytes;
    uint32_t bindings; // 0..bindings-1, in set 0
    // Bit i: binding i is a uniform texel buffer (usamplerBuffer/utextureBuffer).
    uint32_t texels;
    uint32_t images; // bit i: binding i is a storage texel buffer (uimageBuffer, rgba32ui)
    uint32_t push_bytes;
    bool full_subgroups; // workgroups must be made of full subgroups
};

struct dispatch {
    struct span bind[KERNEL_MAX_BINDINGS];
    const void *push;                         // push_bytes of it
    uint32_t constants[KERNEL_MAX_CONSTANTS]; // specialization constants 0, 1, ...
    uint32_t constant_count;
    uint32_t groups[3]; // a zero among them: nothing is done
    double flops;       // estimate, for cutting the work
};

struct stream;

ERR_CHECKED enum err stream_create(struct stream **out, struct device *d);
void stream_destroy(struct stream **s); // waits; NULL inside is fine

// Forget everything recorded, and any failure. Waits for work under way.
void stream_reset(struct stream *s);

// What the work is called in messages ("decoder step"). Static storage.
void stream_label(struct stream *s, const char *label);

void stream_dispatch(struct stream *s, const struct kernel *k, const struct dispatch *d);
void stream_copy(struct stream *s, struct span from, struct span to); // to.bytes of it
void stream_together(struct stream *s); // what follows is independent of each other ...
void stream_apart(struct stream *s);    // ... until here

// Note a failure seen by the code that records. The first one is kept.
void stream_fail(struct stream *s, enum err e);

// Submit what is recorded, `times` over, in order. Does not wait. What is
// recorded stays and can be submitted again.
ERR_CHECKED enum err stream_submit(struct stream *s, uint32_t times);

// Wait for all that was submitted. ERR_DEVICE names the device and the label.
ERR_CHECKED enum err stream_wait(struct stream *s);

// submit once, wait, reset.
ERR_CHECKED enum err stream_run(struct stream *s);

struct device *stream_device(struct stream *s);

// How many dispatches are recorded.
uint32_t stream_length(const struct stream *s);

// Compile a kernel now, so that no later recording waits for it.
ERR_CHECKED enum err kernel_prepare(struct device *d, const struct kernel *k,
                                    const uint32_t *constants, uint32_t constant_count);
