#include "worker/engine/memory.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "worker/engine/internal.h"

// Spans start on this: covers every alignment limit the specification allows
// (storage and texel offsets: at most 256).
#define SPAN_ALIGNMENT 256
#define BLOCK_BYTES (64ull << 20)    // the usual block
#define BLOCK_MAX_BYTES (1ull << 30) // some drivers fail on larger ones

struct block {
    VkDeviceMemory memory;
    VkBuffer buffer;
    uint64_t bytes, used;
    uint8_t *host;
    struct block *next;
};

struct view {
    VkBufferView handle;
    struct view *next;
};

struct arena {
    struct device *device;
    enum memory_kind kind;
    const char *name;
    struct block *blocks; // the newest first
    struct view *views;
    uint64_t bytes;
};

enum err arena_create(struct arena **out, struct device *d, enum memory_kind kind,
                      const char *name)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    **out = (struct arena){ .device = d, .kind = kind, .name = name };
    return ERR_OK;
}

static void block_free(struct device *d, struct block *b)
{
    if (b->buffer)
        vkDestroyBuffer(d->handle, b->buffer, NULL);
    if (b->memory)
        vkFreeMemory(d->handle, b->memory, NULL);
    free(b);
}

void arena_destroy(struct arena **ap)
{
    struct arena *a = *ap;
    if (!a)
        return;
    if (a != a->device->staging_arena && staging_flush(a->device))
        log_debug("%s: freed while uploads to it failed", a->name);
    vkDeviceWaitIdle(a->device->handle);
    for (struct view *v = a->views, *next; v; v = next) {
        next = v->next;
        vkDestroyBufferView(a->device->handle, v->handle, NULL);
        free(v);
    }
    for (struct block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        a->device->used -= b->bytes;
        block_free(a->device, b);
    }
    free(a);
    *ap = NULL;
}

uint64_t arena_bytes(const struct arena *a)
{
    return a->bytes;
}

// The memory types to try, best first, as a list of wanted property flags.
static bool find_type(const struct device *d, uint32_t allowed, VkMemoryPropertyFlags wanted,
                      VkMemoryPropertyFlags unwanted, uint32_t *out)
{
    for (uint32_t i = 0; i < d->memory.memoryTypeCount; i++) {
        const VkMemoryPropertyFlags flags = d->memory.memoryTypes[i].propertyFlags;
        if (allowed >> i & 1 && (flags & wanted) == wanted && !(flags & unwanted)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool choose_type(const struct device *d, enum memory_kind kind, uint32_t allowed,
                        uint32_t *out)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkMemoryPropertyFlags never =
        VK_MEMORY_PROPERTY_PROTECTED_BIT | VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
        VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;
    if (kind == MEMORY_SHARED)
        return find_type(d, allowed, mapped | cached, never, out) ||
               find_type(d, allowed, mapped, never, out);
    // On a CPU or an integrated GPU all memory is one: map it and skip staging.
    // On a discrete card the mapped part may be a 256 MiB window: leave it alone.
    const bool unified = d->facts.kind == DEVICE_CPU || d->facts.kind == DEVICE_INTEGRATED;
    return (unified && find_type(d, allowed, local | mapped, never, out)) ||
           find_type(d, allowed, local, never, out) || find_type(d, allowed, 0, never, out);
}

static enum err block_bind(struct arena *a, struct block *b)
{
    struct device *d = a->device;
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = b->bytes,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_UNIFORM_TEXEL_BUFFER_BIT |
                 VK_BUFFER_USAGE_STORAGE_TEXEL_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
                 VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkResult r = vkCreateBuffer(d->handle, &info, NULL, &b->buffer);
    if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return ERR_DEVICE_MEM; // the caller tries a smaller one, then complains
    if (r)
        return vk_failed(d, "vkCreateBuffer", r);
    VkMemoryRequirements need;
    vkGetBufferMemoryRequirements(d->handle, b->buffer, &need);
    uint32_t type;
    if (!choose_type(d, a->kind, need.memoryTypeBits, &type))
        return vk_failed(d, "no fitting memory type", VK_ERROR_FEATURE_NOT_PRESENT);
    const VkMemoryAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = need.size,
        .memoryTypeIndex = type,
    };
    r = vkAllocateMemory(d->handle, &allocate, NULL, &b->memory);
    if (r)
        return ERR_DEVICE_MEM;
    r = vkBindBufferMemory(d->handle, b->buffer, b->memory, 0);
    if (r)
        return vk_failed(d, "vkBindBufferMemory", r);
    const VkMemoryPropertyFlags mapped =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const bool hidden = d->map_nothing && a->kind == MEMORY_DEVICE;
    if (!hidden && (d->memory.memoryTypes[type].propertyFlags & mapped) == mapped) {
        r = vkMapMemory(d->handle, b->memory, 0, VK_WHOLE_SIZE, 0, (void **) &b->host);
        if (r)
            return vk_failed(d, "vkMapMemory", r);
    }
    return ERR_OK;
}

static enum err block_add(struct arena *a, uint64_t bytes)
{
    struct block *b = calloc(1, sizeof(*b));
    if (!b)
        return ERR_NOMEM;
    b->bytes = bytes;
    const enum err e = block_bind(a, b);
    if (e) {
        block_free(a->device, b);
        return e;
    }
    b->next = a->blocks;
    a->blocks = b;
    a->bytes += bytes;
    a->device->used += bytes;
    if (a->device->used > a->device->peak)
        a->device->peak = a->device->used;
    return ERR_OK;
}

static enum err no_room(const struct arena *a, uint64_t bytes, const char *why)
{
    const struct device *d = a->device;
    log_error("%s: no room for %.1f MiB of %s (%s; %.1f MiB in use of %.1f MiB); use a smaller "
              "model or --batch, close other programs, or raise --memory",
              d->facts.name, (double) bytes / 0x1p20, a->name, why, (double) d->used / 0x1p20,
              (double) d->limit / 0x1p20);
    return ERR_DEVICE_MEM;
}

static enum err grow(struct arena *a, uint64_t bytes)
{
    const struct device *d = a->device;
    const uint64_t left = device_memory_left(d);
    const uint64_t most = d->facts.max_allocation ? d->facts.max_allocation : BLOCK_MAX_BYTES;
    if (bytes > most)
        return no_room(a, bytes, "more than the driver allows in one piece");
    if (bytes > left)
        return no_room(a, bytes, "over the memory budget");
    // A roomy block first, so that most spans share one, and that spans of one
    // size leave no hole at its end; then a tight one.
    const uint64_t growth =
        a->bytes < BLOCK_BYTES ? round_up(bytes, 1 << 20) : round_up(BLOCK_BYTES, bytes);
    const uint64_t roomy = growth < left ? growth : left;
    enum err e = ERR_DEVICE_MEM;
    if (roomy > bytes)
        e = block_add(a, roomy);
    if (e == ERR_DEVICE_MEM)
        e = block_add(a, bytes);
    if (e == ERR_DEVICE_MEM)
        return no_room(a, bytes, "the driver refused");
    return e;
}

enum err arena_alloc(struct arena *a, uint64_t bytes, struct span *out)
{
    *out = (struct span){ 0 };
    if (bytes == 0)
        return ERR_BUG;
    if (bytes > UINT64_MAX - SPAN_ALIGNMENT)
        return no_room(a, bytes, "no machine has so much");
    bytes = round_up(bytes, SPAN_ALIGNMENT);
    for (struct block *b = a->blocks;; b = b ? b->next : NULL) {
        if (!b) {
            const enum err e = grow(a, bytes);
            if (e)
                return e;
            b = a->blocks;
        }
        if (b->bytes - b->used < bytes)
            continue;
        *out = (struct span){
            .buffer = b->buffer,
            .offset = b->used,
            .bytes = bytes,
            .host = b->host ? b->host + b->used : NULL,
        };
        b->used += bytes;
        return ERR_OK;
    }
}

enum err arena_alloc_texels(struct arena *a, uint64_t bytes, struct span *out)
{
    const enum err e = arena_alloc(a, bytes, out);
    if (e || out->bytes / 16 > a->device->facts.max_texel_elements)
        return e;
    struct view *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    const VkBufferViewCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_VIEW_CREATE_INFO,
        .buffer = out->buffer,
        .format = VK_FORMAT_R32G32B32A32_UINT,
        .offset = out->offset,
        .range = out->bytes,
    };
    const VkResult r = vkCreateBufferView(a->device->handle, &info, NULL, &v->handle);
    if (r) {
        free(v);
        return vk_failed(a->device, "vkCreateBufferView", r);
    }
    v->next = a->views;
    a->views = v;
    out->view = v->handle;
    return ERR_OK;
}

struct span span_slice(struct span s, uint64_t offset, uint64_t bytes)
{
    return (struct span){
        .buffer = s.buffer,
        .offset = s.offset + offset,
        .bytes = bytes,
        .host = s.host ? s.host + offset : NULL,
    };
}

static enum err staging_ready(struct device *d)
{
    if (d->staging.host)
        return ERR_OK;
    enum err e = ERR_OK;
    if (!d->staging_arena)
        e = arena_create(&d->staging_arena, d, MEMORY_SHARED, "staging");
    if (!e && !d->transfer)
        e = stream_create(&d->transfer, d);
    if (!e)
        e = arena_alloc(d->staging_arena, SPAN_WRITE_MOST, &d->staging);
    if (!e && !d->staging.host)
        e = ERR_BUG; // MEMORY_SHARED is always mapped
    if (!e)
        stream_label(d->transfer, "transfer");
    return e;
}

enum err staging_flush(struct device *d)
{
    if (d->staged == 0)
        return ERR_OK;
    d->staged = 0;
    return stream_run(d->transfer);
}

static bool inside(struct span s, uint64_t offset, uint64_t bytes)
{
    return offset <= s.bytes && bytes <= s.bytes - offset;
}

enum err span_write_begin(struct device *d, struct span to, uint64_t offset, uint64_t bytes,
                          void **out)
{
    *out = NULL;
    if (!inside(to, offset, bytes) || bytes == 0 || bytes > SPAN_WRITE_MOST)
        return ERR_BUG;
    d->write_to = to;
    d->write_offset = offset;
    d->write_bytes = bytes;
    if (to.host) {
        *out = to.host + offset;
        return ERR_OK;
    }
    enum err e = staging_ready(d);
    if (!e && bytes > d->staging.bytes - d->staged)
        e = staging_flush(d);
    if (e)
        return e;
    *out = d->staging.host + d->staged;
    return ERR_OK;
}

enum err span_write_end(struct device *d)
{
    if (d->write_to.host)
        return ERR_OK;
    stream_copy(d->transfer, span_slice(d->staging, d->staged, d->write_bytes),
                span_slice(d->write_to, d->write_offset, d->write_bytes));
    d->staged += d->write_bytes;
    return ERR_OK;
}

enum err span_upload(struct device *d, struct span to, uint64_t offset, const void *data,
                     uint64_t bytes)
{
    const uint8_t *from = data;
    while (bytes > 0) {
        const uint64_t piece = bytes < SPAN_WRITE_MOST ? bytes : SPAN_WRITE_MOST;
        void *p;
        enum err e = span_write_begin(d, to, offset, piece, &p);
        if (e)
            return e;
        memcpy(p, from, piece);
        e = span_write_end(d);
        if (e)
            return e;
        from += piece;
        offset += piece;
        bytes -= piece;
    }
    return ERR_OK;
}

static enum err download_piece(struct device *d, struct span from, void *to)
{
    stream_copy(d->transfer, from, span_slice(d->staging, 0, from.bytes));
    const enum err e = stream_run(d->transfer);
    if (!e)
        memcpy(to, d->staging.host, from.bytes);
    return e;
}

enum err span_download(struct device *d, struct span from, uint64_t offset, void *data,
                       uint64_t bytes)
{
    if (!inside(from, offset, bytes))
        return ERR_BUG;
    if (from.host) {
        memcpy(data, from.host + offset, bytes);
        return ERR_OK;
    }
    enum err e = staging_ready(d);
    if (!e)
        e = staging_flush(d);
    uint8_t *to = data;
    while (!e && bytes > 0) {
        const uint64_t piece = bytes < SPAN_WRITE_MOST ? bytes : SPAN_WRITE_MOST;
        e = download_piece(d, span_slice(from, offset, piece), to);
        to += piece;
        offset += piece;
        bytes -= piece;
    }
    return e;
}

enum err span_zero(struct device *d, struct span s)
{
    for (uint64_t offset = 0; offset < s.bytes; offset += SPAN_WRITE_MOST) {
        const uint64_t left = s.bytes - offset;
        const uint64_t piece = left < SPAN_WRITE_MOST ? left : SPAN_WRITE_MOST;
        void *p;
        enum err e = span_write_begin(d, s, offset, piece, &p);
        if (e)
            return e;
        memset(p, 0, piece);
        e = span_write_end(d);
        if (e)
            return e;
    }
    return ERR_OK;
}
