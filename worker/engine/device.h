// device: one Vulkan device, chosen, opened and described.
//
// Everything else in the engine hangs from a `struct device`. One thread uses a
// device and all that was made from it. device_open() blocks while the driver
// starts (milliseconds to a second).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct device;

enum device_kind {
    DEVICE_DISCRETE,
    DEVICE_INTEGRATED,
    DEVICE_VIRTUAL,
    DEVICE_CPU,
    DEVICE_OTHER
};

// What the engine cannot do without.
#define DEVICE_NEEDS \
    "Vulkan 1.1, a compute queue, subgroup arithmetic and shuffles, and 6 storage buffers a shader"

// What a device is and can do. Sizes in bytes.
struct device_facts {
    char name[256];
    char driver[256]; // name and version as the driver gives them
    char uuid[37];    // 8-4-4-4-12
    uint32_t index;   // in device_list()'s order
    uint32_t vendor_id, device_id;
    uint32_t api_major, api_minor;
    enum device_kind kind;
    bool usable;     // has DEVICE_NEEDS
    uint64_t memory; // of the heap that weights go to
    uint64_t budget; // of it, what this process may take, by VK_EXT_memory_budget or the heap
    bool has_budget; // VK_EXT_memory_budget was asked
    uint64_t max_allocation;
    uint64_t max_storage_range;
    uint64_t max_texel_elements; // of 16 bytes each, in one view
    uint64_t storage_alignment, texel_alignment;
    uint32_t max_groups[3];
    uint32_t max_group_invocations; // all along x
    uint32_t max_stage_buffers;     // storage buffers that a shader can bind
    uint32_t max_shared;
    // What kernels run with: the driver's usual size, 64 for 128.
    uint32_t subgroup;
    uint32_t subgroup_min, subgroup_max; // equal to it without VK_EXT_subgroup_size_control
    bool subgroup_arithmetic, subgroup_shuffle;
    bool subgroup_control; // VK_EXT_subgroup_size_control, full subgroups
    bool portability;      // VK_KHR_portability_subset: over another API, such as Metal
    bool f16_storage, f16_arithmetic, int8_storage;
    bool int64;                                     // in shaders
    bool cooperative_matrix, integer_dot, timeline; // detected, for `underscore devices`
};

// The words for `kind` and the vendor id. Static storage; never NULL.
const char *device_kind_text(enum device_kind kind);
const char *device_vendor_text(uint32_t vendor_id);

// Every device the loader knows, in its order. The caller frees *out with
// free(). No device is ERR_OK and *count 0; no usable loader or driver is
// ERR_UNAVAILABLE and says what to install.
ERR_CHECKED enum err device_list(struct device_facts **out, uint32_t *count);

// The one of `all` that device_open() would take for `select` (see below). NULL
// when there is none; logs why, and what to do.
const struct device_facts *device_choose(const struct device_facts *all, uint32_t count,
                                         const char *select);

struct device_params {
    // An index ("1"), a UUID or its beginning (>= 8 characters), or a part of
    // the name, any case. NULL: the best there is, discrete before integrated
    // before virtual before CPU.
    const char *select;
    uint64_t memory_limit; // bytes the engine may allocate; 0: the budget
    bool validation;       // the Khronos layer with synchronisation checks
    const char *cache_dir; // for compiled pipelines and tuning; NULL: no cache on disk
};

// On success the caller owns *out. Errors: ERR_UNAVAILABLE (none, or none that
// matches: logs what there is), ERR_DEVICE, ERR_NOMEM.
ERR_CHECKED enum err device_open(struct device **out, const struct device_params *p);

// Waits for the device, saves the pipeline cache, closes. NULL inside is fine.
void device_close(struct device **d);

const struct device_facts *device_facts(const struct device *d);

// Bytes taken now, the most ever taken, and what may still be.
uint64_t device_memory_used(const struct device *d);
uint64_t device_memory_peak(const struct device *d);
uint64_t device_memory_left(const struct device *d);

// Messages of the validation layer since device_open(); 0 without it.
uint32_t device_validation_messages(const struct device *d);

// Where caches go; NULL: nowhere, or no more since one could not be written.
const char *device_cache_dir(const struct device *d);

// A name for files that hold facts about this device and driver:
// "UUID-DRIVERVERSION". Static for the device's life.
const char *device_cache_key(const struct device *d);
