// internal: what the engine's own files share. Nobody else includes this.
#pragma once

#include <vulkan/vulkan.h>

#include "worker/engine/choice.h"
#include "worker/engine/profile.h"
#include "worker/engine/stream.h"

struct pipeline {
    const struct kernel *kernel;
    uint32_t constants[KERNEL_MAX_CONSTANTS];
    uint32_t constant_count;
    VkShaderModule module;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline handle;
};

struct choice {
    char name[CHOICE_NAME_BYTES];
    uint32_t value;
};

struct device {
    struct device_facts facts;
    char cache_key[96];
    char *cache_dir;
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger;
    uint32_t validation_messages;
    VkPhysicalDevice physical;
    VkPhysicalDeviceMemoryProperties memory;
    VkDevice handle;
    VkQueue queue;
    uint32_t queue_family;
    uint64_t used, peak, limit;

    VkPipelineCache pipeline_cache;
    size_t pipeline_cache_bytes; // when it was loaded
    struct pipeline *pipelines;
    uint32_t pipeline_count, pipeline_room;

    struct choice choices[CHOICE_MOST];
    uint32_t choice_count;

    struct profile *profile; // NULL: dispatches are not timed

    // Staging: made at the first upload to memory that is not mapped. Uploads
    // wait in it, as copies recorded in `transfer`, until somebody could see
    // the difference: staging_flush().
    struct arena *staging_arena;
    struct span staging;
    uint64_t staged;      // bytes of it that wait
    struct span write_to; // between span_write_begin and _end
    uint64_t write_offset, write_bytes;
    struct stream *transfer;
    bool map_nothing; // set by tests: MEMORY_DEVICE is as on a discrete card
};

// Logs "DEVICE: WHAT: the result in words" and returns the code for it.
enum err vk_failed(const struct device *d, const char *what, VkResult r);

// Makes the cache's folder. False when there is none, or it cannot be made: then it is said once, and from then on
// there is none.
bool cache_is_there(struct device *d);

// What could not be written into it costs time at the next start and nothing else: the same.
void cache_give_up(struct device *d);

// Carry out the uploads that wait in the staging buffer.
ERR_CHECKED enum err staging_flush(struct device *d);

// What kernels ask of any device: subgroups no wider than the cache's blocks of
// keys (DECODE_BLOCK), and no more storage buffers than these.
#define MOST_LANES 64
#define MOST_STAGE_BUFFERS 6 // as DEVICE_NEEDS says

// From what the driver says to what is made of it: `subgroup`, `usable`.
void facts_settle(struct device_facts *f, bool compute_queue);

// How binding i of a kernel is bound.
VkDescriptorType kernel_binding_type(const struct kernel *k, uint32_t i);

// Compile those of `count` that are new, side by side. A failure keeps the others.
struct pipeline_want {
    const struct kernel *kernel;
    const uint32_t *constants;
    uint32_t constant_count;
};
ERR_CHECKED enum err pipelines_make(struct device *d, const struct pipeline_want *wants,
                                    uint32_t count);

// The pipeline of (k, constants), compiled when it is new. Good until the next one is.
ERR_CHECKED enum err pipeline_get(struct device *d, const struct kernel *k,
                                  const uint32_t *constants, uint32_t constant_count,
                                  struct pipeline **out);
ERR_CHECKED enum err pipeline_cache_open(struct device *d);
void pipeline_cache_close(struct device *d);

// Read what earlier runs chose.
void choices_load(struct device *d);

// A dispatch that stands between two timestamps, and one run of it.
struct timed {
    const struct kernel *kernel;
    double flops;
};
void profile_add(struct device *d, const char *label, const struct timed *t, uint64_t from,
                 uint64_t to);
void profile_end(struct device *d);
