// kernel: compute pipelines, made when asked for, side by side, and their cache on disk.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "worker/engine/internal.h"

// The file: this magic, the length and a sum of the driver's data, the data. A
// damaged cache crashes some drivers, so it is never handed to one.
static const char magic[8] = "uscpipe1";
#define HEADER_BYTES 24

#define KERNEL_MAX_THREADS 8u // that compile at a time

static uint64_t sum_of(const uint8_t *p, size_t n)
{
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u; // FNV-1a
    return h;
}

static char *cache_path(const struct device *d)
{
    char *path = NULL;
    if (!d->cache_dir || asprintf(&path, "%s/pipelines-%s.bin", d->cache_dir, d->cache_key) < 0)
        return NULL;
    return path;
}

static bool cache_file_sound(const struct file_map *m)
{
    return m->bytes > HEADER_BYTES && !memcmp(m->data, magic, 8) &&
           read_le64(m->data + 8) == m->bytes - HEADER_BYTES &&
           read_le64(m->data + 16) == sum_of(m->data + HEADER_BYTES, m->bytes - HEADER_BYTES);
}

enum err pipeline_cache_open(struct device *d)
{
    struct file_map m = { 0 };
    char *path = cache_path(d);
    bool sound = false;
    if (path && access(path, R_OK) == 0 && !file_map(&m, path)) {
        sound = cache_file_sound(&m);
        if (!sound)
            log_warn("%s: damaged, made anew", path);
    }
    free(path);
    VkPipelineCacheCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = sound ? m.bytes - HEADER_BYTES : 0,
        .pInitialData = sound ? m.data + HEADER_BYTES : NULL,
    };
    VkResult r = vkCreatePipelineCache(d->handle, &info, NULL, &d->pipeline_cache);
    file_unmap(&m);
    if (r && sound) { // one that refuses what is not its own, instead of leaving it
        sound = false;
        info.initialDataSize = 0;
        r = vkCreatePipelineCache(d->handle, &info, NULL, &d->pipeline_cache);
    }
    // A driver takes nothing from another's file: what counts is what it took.
    if (!r && sound &&
        vkGetPipelineCacheData(d->handle, d->pipeline_cache, &d->pipeline_cache_bytes, NULL))
        d->pipeline_cache_bytes = 0;
    return r ? vk_failed(d, "vkCreatePipelineCache", r) : ERR_OK;
}

static enum err cache_write(const char *path, const uint8_t *data, size_t n)
{
    struct out_file f;
    const enum err e = out_file_open(&f, path);
    if (e)
        return e;
    const uint64_t header[2] = { n, sum_of(data, n) };
    fwrite(magic, 1, sizeof(magic), f.stream);
    fwrite(header, 1, sizeof(header), f.stream);
    fwrite(data, 1, n, f.stream);
    return out_file_commit(&f);
}

void cache_give_up(struct device *d)
{
    log_warn("compiled kernels are not cached: the next start takes as long as this one");
    free(d->cache_dir);
    d->cache_dir = NULL;
}

bool cache_is_there(struct device *d)
{
    if (d->cache_dir && file_make_directory(d->cache_dir))
        cache_give_up(d);
    return d->cache_dir;
}

static void cache_save(struct device *d)
{
    size_t n = 0;
    if (!d->cache_dir || vkGetPipelineCacheData(d->handle, d->pipeline_cache, &n, NULL) ||
        n == d->pipeline_cache_bytes || !cache_is_there(d))
        return;
    uint8_t *data = malloc(n);
    char *path = cache_path(d);
    if (data && path && !vkGetPipelineCacheData(d->handle, d->pipeline_cache, &n, data) &&
        cache_write(path, data, n))
        cache_give_up(d);
    free(path);
    free(data);
}

static void pipeline_destroy(struct device *d, struct pipeline *p)
{
    vkDestroyPipeline(d->handle, p->handle, NULL);
    vkDestroyPipelineLayout(d->handle, p->layout, NULL);
    vkDestroyDescriptorSetLayout(d->handle, p->set_layout, NULL);
    vkDestroyShaderModule(d->handle, p->module, NULL);
    *p = (struct pipeline){ 0 };
}

void pipeline_cache_close(struct device *d)
{
    if (d->pipeline_cache)
        cache_save(d);
    for (uint32_t i = 0; i < d->pipeline_count; i++)
        pipeline_destroy(d, &d->pipelines[i]);
    free(d->pipelines);
    vkDestroyPipelineCache(d->handle, d->pipeline_cache, NULL);
    d->pipelines = NULL;
    d->pipeline_count = 0;
    d->pipeline_cache = VK_NULL_HANDLE;
}

VkDescriptorType kernel_binding_type(const struct kernel *k, uint32_t i)
{
    if (k->images >> i & 1)
        return VK_DESCRIPTOR_TYPE_STORAGE_TEXEL_BUFFER;
    return k->texels >> i & 1 ? VK_DESCRIPTOR_TYPE_UNIFORM_TEXEL_BUFFER
                              : VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
}

static uint32_t storage_buffers(const struct kernel *k)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->bindings; i++)
        n += kernel_binding_type(k, i) == VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
    return n;
}

static VkResult make_layouts(struct device *d, struct pipeline *p)
{
    VkDescriptorSetLayoutBinding bindings[KERNEL_MAX_BINDINGS];
    for (uint32_t i = 0; i < p->kernel->bindings; i++)
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = kernel_binding_type(p->kernel, i),
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = p->kernel->bindings,
        .pBindings = bindings,
    };
    VkResult r = vkCreateDescriptorSetLayout(d->handle, &set, NULL, &p->set_layout);
    if (r)
        return r;
    const VkPushConstantRange range = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .size = p->kernel->push_bytes,
    };
    const VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &p->set_layout,
        .pushConstantRangeCount = p->kernel->push_bytes ? 1 : 0,
        .pPushConstantRanges = &range,
    };
    return vkCreatePipelineLayout(d->handle, &layout, NULL, &p->layout);
}

static VkResult make_pipeline(struct device *d, struct pipeline *p)
{
    const VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = p->kernel->code_bytes,
        .pCode = p->kernel->code,
    };
    VkResult r = vkCreateShaderModule(d->handle, &module, NULL, &p->module);
    if (r)
        return r;
    VkSpecializationMapEntry entries[KERNEL_MAX_CONSTANTS];
    for (uint32_t i = 0; i < p->constant_count; i++)
        entries[i] = (VkSpecializationMapEntry){ .constantID = i, .offset = 4 * i, .size = 4 };
    const VkSpecializationInfo constants = {
        .mapEntryCount = p->constant_count,
        .pMapEntries = entries,
        .dataSize = sizeof(uint32_t) * p->constant_count,
        .pData = p->constants,
    };
    const bool full = p->kernel->full_subgroups && d->facts.subgroup_control;
    // Without a required size a driver may compile for another one than it
    // reports; the kernels that count lanes ask for the usual size.
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = d->facts.subgroup,
    };
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .pNext = full ? &size : NULL,
            .flags = full ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT : 0,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = p->module,
            .pName = "main",
            .pSpecializationInfo = &constants,
        },
        .layout = p->layout,
    };
    return vkCreateComputePipelines(d->handle, d->pipeline_cache, 1, &info, NULL, &p->handle);
}

static bool same(const struct pipeline *p, const struct kernel *k, const uint32_t *constants,
                 uint32_t n)
{
    return p->kernel == k && p->constant_count == n &&
           !memcmp(p->constants, constants, n * sizeof(*constants));
}

static struct pipeline *find(struct device *d, const struct kernel *k,
                             const uint32_t *constants, uint32_t n)
{
    for (uint32_t i = 0; i < d->pipeline_count; i++)
        if (same(&d->pipelines[i], k, constants, n))
            return &d->pipelines[i];
    return NULL;
}

static enum err make_room(struct device *d)
{
    if (d->pipeline_count < d->pipeline_room)
        return ERR_OK;
    const uint32_t room = d->pipeline_room ? 2 * d->pipeline_room : 64;
    struct pipeline *p = realloc(d->pipelines, room * sizeof(*p));
    if (!p)
        return ERR_NOMEM;
    d->pipelines = p;
    d->pipeline_room = room;
    return ERR_OK;
}

// A pipeline that is known and not made.
static enum err add(struct device *d, const struct pipeline_want *w)
{
    const struct kernel *k = w->kernel;
    if (k->bindings > KERNEL_MAX_BINDINGS || w->constant_count > KERNEL_MAX_CONSTANTS ||
        k->push_bytes > KERNEL_MAX_PUSH || storage_buffers(k) > MOST_STAGE_BUFFERS)
        return ERR_BUG;
    const enum err e = make_room(d);
    if (e)
        return e;
    struct pipeline p = { .kernel = k, .constant_count = w->constant_count };
    if (w->constant_count)
        memcpy(p.constants, w->constants, w->constant_count * sizeof(*w->constants));
    d->pipelines[d->pipeline_count++] = p;
    return ERR_OK;
}

// Those from `next` on, made by several threads.
struct making {
    struct device *device;
    atomic_uint next;
    VkResult result[KERNEL_MAX_THREADS]; // each thread's first failure ...
    uint32_t failed[KERNEL_MAX_THREADS]; // ... and whose it is
    atomic_uint threads;
};

static void *make(void *user)
{
    struct making *m = user;
    struct device *d = m->device;
    const uint32_t self = atomic_fetch_add(&m->threads, 1);
    for (uint32_t i;
         !m->result[self] && (i = atomic_fetch_add(&m->next, 1)) < d->pipeline_count;) {
        m->failed[self] = i;
        m->result[self] = make_layouts(d, &d->pipelines[i]);
        if (!m->result[self])
            m->result[self] = make_pipeline(d, &d->pipelines[i]);
    }
    return NULL;
}

// Drivers compile on the thread that asks. Signals are for the others.
static void make_side_by_side(struct making *m, uint32_t count)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[KERNEL_MAX_THREADS - 1];
    uint32_t started = 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < KERNEL_MAX_THREADS - 1 && started + 1 < count &&
           (long) started + 1 < cores && !pthread_create(&threads[started], NULL, make, m))
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    make(m);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

// Leave none that is known and not made.
static void drop_unmade(struct device *d, uint32_t first)
{
    uint32_t kept = first;
    for (uint32_t i = first; i < d->pipeline_count; i++)
        if (d->pipelines[i].handle)
            d->pipelines[kept++] = d->pipelines[i];
        else
            pipeline_destroy(d, &d->pipelines[i]);
    d->pipeline_count = kept;
}

enum err pipelines_make(struct device *d, const struct pipeline_want *wants, uint32_t count)
{
    const uint32_t first = d->pipeline_count;
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < count; i++)
        if (!find(d, wants[i].kernel, wants[i].constants, wants[i].constant_count))
            e = add(d, &wants[i]);
    struct making m = { .device = d, .next = first };
    if (!e && d->pipeline_count > first)
        make_side_by_side(&m, d->pipeline_count - first);
    for (uint32_t i = 0; !e && i < KERNEL_MAX_THREADS; i++)
        if (m.result[i]) {
            char what[128];
            snprintf(what, sizeof(what), "compiling kernel %s",
                     d->pipelines[m.failed[i]].kernel->name);
            e = vk_failed(d, what, m.result[i]);
        }
    drop_unmade(d, first);
    return e;
}

enum err pipeline_get(struct device *d, const struct kernel *k, const uint32_t *constants,
                      uint32_t constant_count, struct pipeline **out)
{
    *out = find(d, k, constants, constant_count);
    if (*out)
        return ERR_OK;
    const struct pipeline_want want = { k, constants, constant_count };
    const enum err e = pipelines_make(d, &want, 1);
    *out = e ? NULL : find(d, k, constants, constant_count);
    return e;
}

enum err kernel_prepare(struct device *d, const struct kernel *k, const uint32_t *constants,
                        uint32_t constant_count)
{
    struct pipeline *p;
    return pipeline_get(d, k, constants, constant_count, &p);
}
