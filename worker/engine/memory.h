// memory: device memory in arenas.
//
// An arena owns blocks of device memory and hands out spans by bumping an
// offset; everything in it is freed at once. A stage of the model keeps its
// weights in one arena and drops it when another stage needs the room.
// One thread, that of the device.
#pragma once

#include <vulkan/vulkan_core.h>

#include "worker/engine/device.h"

enum memory_kind {
    MEMORY_DEVICE, // fast for the GPU; also mapped where host and device share memory
    MEMORY_SHARED, // always mapped: small tables and results
};

// A piece of an arena. A value: copy it freely; it dies with its arena.
struct span {
    VkBuffer buffer;
    VkBufferView view; // RGBA32 unsigned texels over the whole span, or NULL
    uint64_t offset, bytes;
    uint8_t *host; // where it is mapped, or NULL
};

struct arena;

ERR_CHECKED enum err arena_create(struct arena **out, struct device *d, enum memory_kind kind,
                                  const char *name);
void arena_destroy(struct arena **a); // waits for the device; NULL inside is fine

// `bytes` > 0, rounded up to 256. Not zeroed. ERR_DEVICE_MEM logs the device,
// the size asked for and what would help.
ERR_CHECKED enum err arena_alloc(struct arena *a, uint64_t bytes, struct span *out);

// The same with a texel view: the span can then also be bound as a
// `uniform utextureBuffer` (or samplerBuffer-like fetch of 16-byte texels).
// Falls back to no view (out->view NULL) when the device's texel limit is too
// small; kernels then use their storage-buffer form.
ERR_CHECKED enum err arena_alloc_texels(struct arena *a, uint64_t bytes, struct span *out);

// Bytes of device memory the arena holds.
uint64_t arena_bytes(const struct arena *a);

// Part of a span, for binding as a storage buffer. `offset` a multiple of the
// device's storage_alignment (256 always works); no view.
struct span span_slice(struct span s, uint64_t offset, uint64_t bytes);

// Copy host memory into a span, or back. Go through a mapped pointer where there
// is one, else through a staging buffer, whose uploads are carried out before
// anything that is submitted or downloaded later. `data` is free again on return.
ERR_CHECKED enum err span_upload(struct device *d, struct span to, uint64_t offset,
                                 const void *data, uint64_t bytes);
ERR_CHECKED enum err span_download(struct device *d, struct span from, uint64_t offset,
                                   void *data, uint64_t bytes);
ERR_CHECKED enum err span_zero(struct device *d, struct span s);

// Uploads that write straight into place where memory is shared: the caller
// fills all `bytes`, at most SPAN_WRITE_MOST, at the returned pointer, then calls
// span_write_end(). The pointer is the mapped span or a staging buffer. One at
// a time.
#define SPAN_WRITE_MOST (16u << 20)
ERR_CHECKED enum err span_write_begin(struct device *d, struct span to, uint64_t offset,
                                      uint64_t bytes, void **out);
ERR_CHECKED enum err span_write_end(struct device *d);
