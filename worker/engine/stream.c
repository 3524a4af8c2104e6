#include "worker/engine/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/engine/internal.h"

#define POOL_SETS 256

// The most estimated work in one submission: well below 200 ms on a slow card
// of the kind. The CPU driver has no watchdog; there the cut only bounds how
// long Ctrl-C waits.
static const double flops_per_submission[] = {
    [DEVICE_DISCRETE] = 2e11, [DEVICE_INTEGRATED] = 2e10, [DEVICE_VIRTUAL] = 2e10,
    [DEVICE_CPU] = 4e10,      [DEVICE_OTHER] = 1e10,
};
#define DISPATCHES_PER_SUBMISSION 4096

#define ORDERS_MOST DISPATCHES_PER_SUBMISSION // that wait to be written down

#define TIMED_MOST 8192 // dispatches of a recording that are timed, when any are

// What was asked for, until it is written into a command buffer: by then all new kernels
// of a recording are known.
struct order {
    const struct kernel *kernel; // NULL: a copy from bind[0] to bind[1]
    struct dispatch dispatch;    // without its `push`
    uint8_t push[KERNEL_MAX_PUSH];
    bool waits; // for all that stands before it
};

struct stream {
    struct device *device;
    const char *label;
    enum err failed;
    struct order *orders;
    uint32_t order_count, order_room;
    VkCommandPool commands;
    VkCommandBuffer *buffers; // recorded, in order; the last may be open
    uint32_t buffer_count, buffer_room;
    uint32_t buffers_made; // allocated so far; those beyond buffer_count are spare
    VkDescriptorPool *pools;
    uint32_t pool_count, pools_used, sets_used; // in the pool being filled
    VkFence fence;
    bool open, pending;
    bool together, barrier_due;
    double flops;        // in the open buffer
    uint32_t dispatches; // likewise
    uint32_t length;
    // Where the device keeps a profile: a pair of timestamps a dispatch.
    VkQueryPool times;
    struct timed *timed;
    uint32_t timed_count;
};

enum err stream_create(struct stream **out, struct device *d)
{
    *out = NULL;
    struct stream *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->device = d;
    s->label = "work";
    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = d->queue_family,
    };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    VkResult r = vkCreateCommandPool(d->handle, &pool, NULL, &s->commands);
    if (!r)
        r = vkCreateFence(d->handle, &fence, NULL, &s->fence);
    if (r) {
        stream_destroy(&s);
        return vk_failed(d, "creating a command pool", r);
    }
    *out = s;
    return ERR_OK;
}

void stream_destroy(struct stream **sp)
{
    struct stream *s = *sp;
    if (!s)
        return;
    VkDevice d = s->device->handle;
    vkDeviceWaitIdle(d);
    for (uint32_t i = 0; i < s->pool_count; i++)
        vkDestroyDescriptorPool(d, s->pools[i], NULL);
    vkDestroyQueryPool(d, s->times, NULL);
    vkDestroyFence(d, s->fence, NULL);
    vkDestroyCommandPool(d, s->commands, NULL);
    free(s->orders);
    free(s->timed);
    free(s->pools);
    free(s->buffers);
    free(s);
    *sp = NULL;
}

void stream_reset(struct stream *s)
{
    if (s->pending && stream_wait(s))
        log_debug("%s: reset after a failure", s->label);
    for (uint32_t i = 0; i < s->pool_count; i++)
        vkResetDescriptorPool(s->device->handle, s->pools[i], 0);
    vkResetCommandPool(s->device->handle, s->commands, 0);
    s->order_count = 0;
    s->buffer_count = 0;
    s->pools_used = 0;
    s->sets_used = 0;
    s->length = 0;
    s->timed_count = 0;
    s->open = s->together = s->barrier_due = false;
    s->failed = ERR_OK;
}

void stream_label(struct stream *s, const char *label)
{
    s->label = label;
}

void stream_fail(struct stream *s, enum err e)
{
    if (!s->failed)
        s->failed = e;
}

static void fail_vk(struct stream *s, const char *what, VkResult r)
{
    char text[160];
    snprintf(text, sizeof(text), "%s: %s", s->label, what);
    const enum err e = vk_failed(s->device, text, r);
    stream_fail(s, e);
}

static bool grow_buffers(struct stream *s)
{
    if (s->buffer_count == s->buffer_room) {
        const uint32_t room = s->buffer_room ? 2 * s->buffer_room : 8;
        VkCommandBuffer *b = realloc(s->buffers, room * sizeof(*b));
        if (!b) {
            stream_fail(s, ERR_NOMEM);
            return false;
        }
        s->buffers = b;
        s->buffer_room = room;
    }
    if (s->buffer_count < s->buffers_made)
        return true;
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = s->commands,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    const VkResult r =
        vkAllocateCommandBuffers(s->device->handle, &info, &s->buffers[s->buffers_made]);
    if (r) {
        fail_vk(s, "vkAllocateCommandBuffers", r);
        return false;
    }
    s->buffers_made++;
    return true;
}

static VkCommandBuffer current(struct stream *s)
{
    return s->buffers[s->buffer_count - 1];
}

static void barrier(struct stream *s, VkPipelineStageFlags after, VkAccessFlags visible)
{
    const VkMemoryBarrier b = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = visible,
    };
    vkCmdPipelineBarrier(current(s),
                         VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                         after, 0, 1, &b, 0, NULL, 0, NULL);
}

static void barrier_for_work(struct stream *s)
{
    barrier(s, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
            VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
}

static void close_buffer(struct stream *s)
{
    if (!s->open)
        return;
    barrier(s, VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    s->open = false;
    const VkResult r = vkEndCommandBuffer(current(s));
    if (r)
        fail_vk(s, "vkEndCommandBuffer", r);
}

// A buffer to write into; begins a new one when the open one holds enough.
static bool ready(struct stream *s, double flops, bool waits)
{
    if (s->failed)
        return false;
    const double most = flops_per_submission[s->device->facts.kind];
    if (s->open && ((s->dispatches > 0 && s->flops + flops > most) ||
                    s->dispatches >= DISPATCHES_PER_SUBMISSION))
        close_buffer(s);
    if (!s->open) {
        if (s->failed || !grow_buffers(s))
            return false;
        const VkCommandBufferBeginInfo info = {
            .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
            .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
        };
        const VkResult r = vkBeginCommandBuffer(s->buffers[s->buffer_count], &info);
        if (r) {
            fail_vk(s, "vkBeginCommandBuffer", r);
            return false;
        }
        s->buffer_count++;
        s->open = true;
        s->flops = 0;
        s->dispatches = 0;
        waits = true;
    }
    if (waits)
        barrier_for_work(s);
    s->flops += flops;
    s->dispatches++;
    return true;
}

void stream_together(struct stream *s)
{
    s->together = true;
}

void stream_apart(struct stream *s)
{
    s->together = false;
    s->barrier_due = true;
}

static bool next_pool(struct stream *s)
{
    s->sets_used = 0;
    if (s->pools_used < s->pool_count) {
        s->pools_used++;
        return true;
    }
    VkDescriptorPool *pools = realloc(s->pools, (s->pool_count + 1) * sizeof(*pools));
    if (!pools) {
        stream_fail(s, ERR_NOMEM);
        return false;
    }
    s->pools = pools;
    const VkDescriptorPoolSize sizes[] = {
        { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, POOL_SETS * KERNEL_MAX_BINDINGS },
        { VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER, POOL_SETS * 4 }, // on average
        { VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER, POOL_SETS * 4 },
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = POOL_SETS,
        .poolSizeCount = sizeof(sizes) / sizeof(*sizes),
        .pPoolSizes = sizes,
    };
    const VkResult r =
        vkCreateDescriptorPool(s->device->handle, &info, NULL, &s->pools[s->pool_count]);
    if (r) {
        fail_vk(s, "vkCreateDescriptorPool", r);
        return false;
    }
    s->pool_count++;
    s->pools_used++;
    return true;
}

static VkResult set_from_pool(struct stream *s, const struct pipeline *p, VkDescriptorSet *out)
{
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = s->pools[s->pools_used - 1],
        .descriptorSetCount = 1,
        .pSetLayouts = &p->set_layout,
    };
    s->sets_used++;
    return vkAllocateDescriptorSets(s->device->handle, &info, out);
}

static VkDescriptorSet new_set(struct stream *s, const struct pipeline *p)
{
    if ((s->pools_used == 0 || s->sets_used == POOL_SETS) && !next_pool(s))
        return VK_NULL_HANDLE;
    VkDescriptorSet set = VK_NULL_HANDLE;
    VkResult r = set_from_pool(s, p, &set);
    // Kernels with many texel bindings use a pool up before its sets.
    if ((r == VK_ERROR_OUT_OF_POOL_MEMORY || r == VK_ERROR_FRAGMENTED_POOL) &&
        s->sets_used > 1) {
        if (!next_pool(s))
            return VK_NULL_HANDLE;
        r = set_from_pool(s, p, &set);
    }
    if (r)
        fail_vk(s, "vkAllocateDescriptorSets", r);
    return set;
}

// False when a span cannot be bound as the kernel wants it: our bug.
static bool write_set(struct stream *s, VkDescriptorSet set, const struct kernel *k,
                      const struct span *bind)
{
    VkDescriptorBufferInfo buffers[KERNEL_MAX_BINDINGS];
    VkWriteDescriptorSet writes[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < k->bindings; i++) {
        const VkDescriptorType type = kernel_binding_type(k, i);
        const bool texels = type != VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        const bool fits = bind[i].bytes <= s->device->facts.max_storage_range;
        if (!bind[i].buffer || (texels && !bind[i].view) || (!texels && !fits)) {
            log_error("%s: %s: binding %u cannot be bound (%llu bytes)", s->label, k->name, i,
                      (unsigned long long) bind[i].bytes);
            return false;
        }
        buffers[i] = (VkDescriptorBufferInfo){ bind[i].buffer, bind[i].offset, bind[i].bytes };
        writes[i] = (VkWriteDescriptorSet){
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = set,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = type,
            .pBufferInfo = &buffers[i],
            .pTexelBufferView = &bind[i].view,
        };
    }
    vkUpdateDescriptorSets(s->device->handle, k->bindings, writes, 0, NULL);
    return true;
}

static bool make_times(struct stream *s)
{
    const VkQueryPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO,
        .queryType = VK_QUERY_TYPE_TIMESTAMP,
        .queryCount = 2 * TIMED_MOST,
    };
    s->timed = calloc(TIMED_MOST, sizeof(*s->timed));
    if (!s->timed) {
        stream_fail(s, ERR_NOMEM);
        return false;
    }
    const VkResult r = vkCreateQueryPool(s->device->handle, &info, NULL, &s->times);
    if (r)
        fail_vk(s, "vkCreateQueryPool", r);
    return !r;
}

// Is the dispatch that comes next to be timed? Then its first timestamp is recorded.
static bool time_from(struct stream *s, const struct kernel *k, double flops)
{
    if (!s->device->profile || s->timed_count == TIMED_MOST || (!s->times && !make_times(s)))
        return false;
    s->timed[s->timed_count] = (struct timed){ k, flops };
    vkCmdResetQueryPool(current(s), s->times, 2 * s->timed_count, 2);
    vkCmdWriteTimestamp(current(s), VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, s->times,
                        2 * s->timed_count);
    return true;
}

static void time_to(struct stream *s)
{
    vkCmdWriteTimestamp(current(s), VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, s->times,
                        2 * s->timed_count + 1);
    s->timed_count++;
}

static void add_times(struct stream *s)
{
    for (uint32_t i = 0; i < s->timed_count; i++) {
        uint64_t at[2];
        const VkResult r =
            vkGetQueryPoolResults(s->device->handle, s->times, 2 * i, 2, sizeof(at), at,
                                  sizeof(*at), VK_QUERY_RESULT_64_BIT);
        if (!r)
            profile_add(s->device, s->label, &s->timed[i], at[0], at[1]);
    }
}

static void write_copy(struct stream *s, const struct order *o)
{
    const struct span from = o->dispatch.bind[0], to = o->dispatch.bind[1];
    if (!ready(s, 0, o->waits))
        return;
    const VkBufferCopy region = { from.offset, to.offset, to.bytes };
    vkCmdCopyBuffer(current(s), from.buffer, to.buffer, 1, &region);
}

static void write_dispatch(struct stream *s, const struct order *o)
{
    const struct kernel *k = o->kernel;
    const struct dispatch *d = &o->dispatch;
    struct pipeline *p;
    const enum err e = pipeline_get(s->device, k, d->constants, d->constant_count, &p);
    if (e) {
        stream_fail(s, e);
        return;
    }
    if (!ready(s, d->flops, o->waits))
        return;
    VkDescriptorSet set = new_set(s, p);
    if (!set)
        return;
    if (!write_set(s, set, k, d->bind)) {
        stream_fail(s, ERR_BUG);
        return;
    }
    VkCommandBuffer c = current(s);
    vkCmdBindPipeline(c, VK_PIPELINE_BIND_POINT_COMPUTE, p->handle);
    vkCmdBindDescriptorSets(c, VK_PIPELINE_BIND_POINT_COMPUTE, p->layout, 0, 1, &set, 0, NULL);
    if (k->push_bytes)
        vkCmdPushConstants(c, p->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, k->push_bytes,
                           o->push);
    const bool timed = time_from(s, k, d->flops);
    vkCmdDispatch(c, d->groups[0], d->groups[1], d->groups[2]);
    if (timed)
        time_to(s);
}

static enum err make_pipelines(struct stream *s)
{
    struct pipeline_want *wants = calloc(s->order_count, sizeof(*wants));
    if (!wants)
        return ERR_NOMEM;
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->order_count; i++) {
        const struct order *o = &s->orders[i];
        if (o->kernel)
            wants[count++] = (struct pipeline_want){ o->kernel, o->dispatch.constants,
                                                     o->dispatch.constant_count };
    }
    const enum err e = pipelines_make(s->device, wants, count);
    free(wants);
    return e;
}

static void write_down(struct stream *s)
{
    const enum err e = s->order_count && !s->failed ? make_pipelines(s) : ERR_OK;
    if (e)
        stream_fail(s, e);
    for (uint32_t i = 0; i < s->order_count && !s->failed; i++)
        if (s->orders[i].kernel)
            write_dispatch(s, &s->orders[i]);
        else
            write_copy(s, &s->orders[i]);
    s->order_count = 0;
}

static struct order *new_order(struct stream *s)
{
    if (s->order_count == ORDERS_MOST)
        write_down(s);
    if (s->failed)
        return NULL;
    if (s->order_count == s->order_room) {
        const uint32_t room = s->order_room ? 2 * s->order_room : 16;
        struct order *o = realloc(s->orders, room * sizeof(*o));
        if (!o) {
            stream_fail(s, ERR_NOMEM);
            return NULL;
        }
        s->orders = o;
        s->order_room = room;
    }
    struct order *o = &s->orders[s->order_count++];
    *o = (struct order){ .waits = s->barrier_due };
    s->barrier_due = !s->together;
    s->length++;
    return o;
}

void stream_dispatch(struct stream *s, const struct kernel *k, const struct dispatch *d)
{
    if (s->failed || !d->groups[0] || !d->groups[1] || !d->groups[2])
        return;
    const uint32_t *most = s->device->facts.max_groups;
    if (d->groups[0] > most[0] || d->groups[1] > most[1] || d->groups[2] > most[2]) {
        log_error("%s: %s: %u x %u x %u workgroups are more than the device allows", s->label,
                  k->name, d->groups[0], d->groups[1], d->groups[2]);
        stream_fail(s, ERR_BUG);
        return;
    }
    if (k->push_bytes > KERNEL_MAX_PUSH || d->constant_count > KERNEL_MAX_CONSTANTS) {
        stream_fail(s, ERR_BUG);
        return;
    }
    struct order *o = new_order(s);
    if (!o)
        return;
    o->kernel = k;
    o->dispatch = *d;
    o->dispatch.push = NULL;
    if (k->push_bytes)
        memcpy(o->push, d->push, k->push_bytes);
}

void stream_copy(struct stream *s, struct span from, struct span to)
{
    struct order *o = s->failed ? NULL : new_order(s);
    if (o) {
        o->dispatch.bind[0] = from;
        o->dispatch.bind[1] = to;
    }
}

static VkResult submit_one(struct stream *s, VkCommandBuffer *buffer, VkFence fence)
{
    const VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = buffer,
    };
    return vkQueueSubmit(s->device->queue, 1, &info, fence);
}

enum err stream_submit(struct stream *s, uint32_t times)
{
    write_down(s);
    close_buffer(s);
    if (s->failed)
        return s->failed;
    const uint32_t total = s->buffer_count * times;
    if (total == 0)
        return ERR_OK;
    if (s != s->device->transfer) { // what was uploaded before is there
        const enum err e = staging_flush(s->device);
        if (e)
            return e;
    }
    if (s->pending) { // one fence: earlier work ends first
        const enum err e = stream_wait(s);
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < total; i++) {
        const VkFence fence = i + 1 == total ? s->fence : VK_NULL_HANDLE;
        const VkResult r = submit_one(s, &s->buffers[i % s->buffer_count], fence);
        if (r) {
            fail_vk(s, "submitting", r);
            vkDeviceWaitIdle(s->device->handle);
            return s->failed;
        }
    }
    s->pending = true;
    return ERR_OK;
}

enum err stream_wait(struct stream *s)
{
    if (!s->pending)
        return s->failed;
    s->pending = false;
    VkResult r = vkWaitForFences(s->device->handle, 1, &s->fence, VK_TRUE, UINT64_MAX);
    if (!r)
        r = vkResetFences(s->device->handle, 1, &s->fence);
    if (r)
        fail_vk(s, "waiting", r);
    else
        add_times(s);
    return s->failed;
}

enum err stream_run(struct stream *s)
{
    enum err e = stream_submit(s, 1);
    if (!e)
        e = stream_wait(s);
    stream_reset(s);
    return e;
}

struct device *stream_device(struct stream *s)
{
    return s->device;
}

uint32_t stream_length(const struct stream *s)
{
    return s->length;
}
