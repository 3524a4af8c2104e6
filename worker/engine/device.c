#include "worker/engine/device.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/engine/cpu_width.h"
#include "worker/engine/internal.h"

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define PORTABILITY_SUBSET \
    "VK_KHR_portability_subset" // its header is among the beta extensions
#define HEAP_SHARE 0.9          // of a heap without VK_EXT_memory_budget: others live there too

static const char *result_text(VkResult r)
{
    // The few a user can do something about; the rest by number.
    if (r == VK_ERROR_DEVICE_LOST)
        return "the device was lost (a driver reset or time-out; smaller batches or a newer driver may help)";
    if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return "out of device memory";
    if (r == VK_ERROR_OUT_OF_HOST_MEMORY)
        return "out of host memory";
    if (r == VK_ERROR_INITIALIZATION_FAILED)
        return "the driver could not start";
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER)
        return "no Vulkan driver";
    return NULL;
}

enum err vk_failed(const struct device *d, const char *what, VkResult r)
{
    const char *name = d && d->facts.name[0] ? d->facts.name : "vulkan";
    const char *text = result_text(r);
    if (text)
        log_error("%s: %s: %s", name, what, text);
    else
        log_error("%s: %s: VkResult %d", name, what, (int) r);
    if (r == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return ERR_DEVICE_MEM;
    return r == VK_ERROR_OUT_OF_HOST_MEMORY ? ERR_NOMEM : ERR_DEVICE;
}

const char *device_kind_text(enum device_kind kind)
{
    switch (kind) {
    case DEVICE_DISCRETE: return "discrete GPU";
    case DEVICE_INTEGRATED: return "integrated GPU";
    case DEVICE_VIRTUAL: return "virtual GPU";
    case DEVICE_CPU: return "CPU";
    case DEVICE_OTHER: break;
    }
    return "other";
}

const char *device_vendor_text(uint32_t vendor_id)
{
    switch (vendor_id) {
    case 0x1002: return "AMD";
    case 0x1010: return "Imagination";
    case 0x106b: return "Apple";
    case 0x10de: return "NVIDIA";
    case 0x13b5: return "ARM";
    case 0x14e4: return "Broadcom";
    case 0x5143: return "Qualcomm";
    case 0x8086: return "Intel";
    case 0x10005: return "Mesa";
    default: return "unknown vendor";
    }
}

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(
    VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
    const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void) severity;
    (void) types;
    struct device *d = user;
    d->validation_messages++;
    log_error("validation: %s", data->pMessage);
    return VK_FALSE;
}

static bool layer_present(const char *name)
{
    uint32_t n = 0;
    if (vkEnumerateInstanceLayerProperties(&n, NULL) || n == 0)
        return false;
    VkLayerProperties *all = calloc(n, sizeof(*all));
    bool found = false;
    if (all && vkEnumerateInstanceLayerProperties(&n, all) >= 0)
        for (uint32_t i = 0; i < n; i++)
            found |= strcmp(all[i].layerName, name) == 0;
    free(all);
    return found;
}

static bool instance_extension_present(const char *name)
{
    uint32_t n = 0;
    if (vkEnumerateInstanceExtensionProperties(NULL, &n, NULL) || n == 0)
        return false;
    VkExtensionProperties *all = calloc(n, sizeof(*all));
    bool found = false;
    if (all && vkEnumerateInstanceExtensionProperties(NULL, &n, all) >= 0)
        for (uint32_t i = 0; i < n; i++)
            found |= strcmp(all[i].extensionName, name) == 0;
    free(all);
    return found;
}

// An instance and the devices in it.
struct machine {
    VkInstance instance;
    VkDebugUtilsMessengerEXT messenger; // with validation
    VkPhysicalDevice *physical;
    struct device_facts *facts;
    uint32_t count;
};

static enum err instance_create(struct machine *m, bool validation, struct device *for_messages)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const VkValidationFeatureEnableEXT enables[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,
    };
    if (validation && !layer_present(layer)) {
        log_error(
            "the Vulkan validation layer is not installed; install vulkan-validationlayers");
        return ERR_UNAVAILABLE;
    }
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "underscore",
        .pEngineName = "underscore",
        .apiVersion = VK_API_VERSION_1_1,
    };
    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = for_messages,
    };
    const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger,
        .enabledValidationFeatureCount = ARRAY_LENGTH(enables),
        .pEnabledValidationFeatures = enables,
    };
    const char *extensions[2];
    uint32_t extension_count = 0;
    if (validation)
        extensions[extension_count++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    // Without it loaders hide drivers that lie over another API, as Apple's do.
    const bool portable =
        instance_extension_present(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    if (portable)
        extensions[extension_count++] = VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME;
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .flags = portable ? VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR : 0,
        .pApplicationInfo = &app,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = extension_count,
        .ppEnabledExtensionNames = extensions,
    };
    const VkResult r = vkCreateInstance(&info, NULL, &m->instance);
    if (r == VK_ERROR_INCOMPATIBLE_DRIVER || r == VK_ERROR_INITIALIZATION_FAILED) {
        log_error("no Vulkan driver on this machine; install your GPU's driver, or "
                  "mesa-vulkan-drivers, which also runs on the CPU");
        return ERR_UNAVAILABLE;
    }
    if (r)
        return vk_failed(NULL, "vkCreateInstance", r);
    if (validation) {
        PFN_vkCreateDebugUtilsMessengerEXT create =
            (PFN_vkCreateDebugUtilsMessengerEXT) vkGetInstanceProcAddr(
                m->instance, "vkCreateDebugUtilsMessengerEXT");
        if (create)
            create(m->instance, &messenger, NULL, &m->messenger);
    }
    return ERR_OK;
}

struct extension_list {
    VkExtensionProperties *all;
    uint32_t count;
};

static void extensions_load(struct extension_list *l, VkPhysicalDevice p)
{
    *l = (struct extension_list){ 0 };
    uint32_t n = 0;
    if (vkEnumerateDeviceExtensionProperties(p, NULL, &n, NULL) || n == 0)
        return;
    l->all = calloc(n, sizeof(*l->all));
    if (l->all && vkEnumerateDeviceExtensionProperties(p, NULL, &n, l->all) >= 0)
        l->count = n;
}

static bool extensions_have(const struct extension_list *l, const char *name)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!strcmp(l->all[i].extensionName, name))
            return true;
    return false;
}

static enum device_kind kind_of(VkPhysicalDeviceType t)
{
    if (t == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU)
        return DEVICE_DISCRETE;
    if (t == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU)
        return DEVICE_INTEGRATED;
    if (t == VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU)
        return DEVICE_VIRTUAL;
    return t == VK_PHYSICAL_DEVICE_TYPE_CPU ? DEVICE_CPU : DEVICE_OTHER;
}

static void format_uuid(char out[37], const uint8_t u[VK_UUID_SIZE])
{
    char *p = out;
    for (uint32_t i = 0; i < VK_UUID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        p += sprintf(p, "%02x", u[i]);
    }
}

static bool compute_family(VkPhysicalDevice p, uint32_t *out)
{
    VkQueueFamilyProperties families[32];
    uint32_t n = ARRAY_LENGTH(families);
    vkGetPhysicalDeviceQueueFamilyProperties(p, &n, families);
    for (uint32_t i = 0; i < n; i++)
        if (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) {
            *out = i;
            return true;
        }
    return false;
}

static uint64_t budget_left(const VkPhysicalDeviceMemoryBudgetPropertiesEXT *b, uint32_t heap)
{
    return b->heapBudget[heap] > b->heapUsage[heap] ? b->heapBudget[heap] - b->heapUsage[heap]
                                                    : 0;
}

static void fill_memory(struct device_facts *f, VkPhysicalDevice p, bool has_budget)
{
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT,
    };
    VkPhysicalDeviceMemoryProperties2 m = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
        .pNext = has_budget ? &budget : NULL,
    };
    vkGetPhysicalDeviceMemoryProperties2(p, &m);
    for (uint32_t i = 0; i < m.memoryProperties.memoryHeapCount; i++) {
        const VkMemoryHeap *h = &m.memoryProperties.memoryHeaps[i];
        if (!(h->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT) || h->size <= f->memory)
            continue;
        f->memory = h->size;
        f->budget =
            has_budget ? budget_left(&budget, i) : (uint64_t) ((double) h->size * HEAP_SHARE);
    }
    f->has_budget = has_budget;
}

static void fill_limits(struct device_facts *f, const VkPhysicalDeviceLimits *l)
{
    f->max_storage_range = l->maxStorageBufferRange;
    f->max_texel_elements = l->maxTexelBufferElements;
    f->storage_alignment = l->minStorageBufferOffsetAlignment;
    f->texel_alignment = l->minTexelBufferOffsetAlignment;
    memcpy(f->max_groups, l->maxComputeWorkGroupCount, sizeof(f->max_groups));
    // The larger groups all lie along x.
    f->max_group_invocations = l->maxComputeWorkGroupInvocations < l->maxComputeWorkGroupSize[0]
                                   ? l->maxComputeWorkGroupInvocations
                                   : l->maxComputeWorkGroupSize[0];
    f->max_stage_buffers = l->maxPerStageDescriptorStorageBuffers;
    f->max_shared = l->maxComputeSharedMemorySize;
}

// The part of the facts that needs Vulkan 1.1's queries.
static void fill_details(struct device_facts *f, VkPhysicalDevice p)
{
    struct extension_list ext;
    extensions_load(&ext, p);
    const bool control = extensions_have(&ext, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
    const bool f16 = extensions_have(&ext, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME);
    const bool driver = extensions_have(&ext, VK_KHR_DRIVER_PROPERTIES_EXTENSION_NAME);

    VkPhysicalDeviceDriverPropertiesKHR driver_properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES_KHR,
    };
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT control_properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT,
        .pNext = driver ? &driver_properties : NULL,
    };
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
        .pNext = control ? (void *) &control_properties : control_properties.pNext,
    };
    VkPhysicalDeviceMaintenance3Properties maintenance = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES,
        .pNext = &subgroup,
    };
    VkPhysicalDeviceIDProperties id = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_ID_PROPERTIES,
        .pNext = &maintenance,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &id,
    };
    vkGetPhysicalDeviceProperties2(p, &properties);

    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control_features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
    };
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR f16_features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR,
        .pNext = control ? &control_features : NULL,
    };
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .pNext = f16 ? (void *) &f16_features : f16_features.pNext,
    };
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &storage16,
    };
    vkGetPhysicalDeviceFeatures2(p, &features);

    format_uuid(f->uuid, id.deviceUUID);
    if (driver)
        snprintf(f->driver, sizeof(f->driver), "%.100s %.140s", driver_properties.driverName,
                 driver_properties.driverInfo);
    else
        snprintf(f->driver, sizeof(f->driver), "driver %#x",
                 properties.properties.driverVersion);
    f->max_allocation = maintenance.maxMemoryAllocationSize;
    f->subgroup = subgroup.subgroupSize;
    const bool compute = subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT;
    f->subgroup_arithmetic =
        compute && subgroup.supportedOperations & VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
    f->subgroup_shuffle =
        compute && subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT;
    f->subgroup_control =
        control && control_features.subgroupSizeControl &&
        control_features.computeFullSubgroups &&
        control_properties.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT;
    f->subgroup_min = f->subgroup_control ? control_properties.minSubgroupSize : f->subgroup;
    f->subgroup_max = f->subgroup_control ? control_properties.maxSubgroupSize : f->subgroup;
    f->f16_storage = storage16.storageBuffer16BitAccess;
    f->f16_arithmetic = f16 && f16_features.shaderFloat16;
    f->int64 = features.features.shaderInt64;
    f->int8_storage = extensions_have(&ext, VK_KHR_8BIT_STORAGE_EXTENSION_NAME);
    f->cooperative_matrix = extensions_have(&ext, "VK_KHR_cooperative_matrix");
    f->integer_dot = extensions_have(&ext, "VK_KHR_shader_integer_dot_product");
    f->timeline = extensions_have(&ext, VK_KHR_TIMELINE_SEMAPHORE_EXTENSION_NAME);
    f->portability = extensions_have(&ext, PORTABILITY_SUBSET);
    fill_memory(f, p, extensions_have(&ext, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME));
    free(ext.all);
}

void facts_settle(struct device_facts *f, bool compute_queue)
{
    if (f->subgroup > MOST_LANES && f->subgroup_min <= MOST_LANES)
        f->subgroup = MOST_LANES; // kernels that count lanes require it
    f->usable = compute_queue && (f->api_major > 1 || f->api_minor >= 1) &&
                f->subgroup <= MOST_LANES && f->subgroup_arithmetic && f->subgroup_shuffle &&
                f->max_stage_buffers >= MOST_STAGE_BUFFERS;
}

static void fill_facts(struct device_facts *f, VkPhysicalDevice p, uint32_t index)
{
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(p, &properties);
    *f = (struct device_facts){
        .index = index,
        .vendor_id = properties.vendorID,
        .device_id = properties.deviceID,
        .api_major = VK_API_VERSION_MAJOR(properties.apiVersion),
        .api_minor = VK_API_VERSION_MINOR(properties.apiVersion),
        .kind = kind_of(properties.deviceType),
    };
    snprintf(f->name, sizeof(f->name), "%s", properties.deviceName);
    fill_limits(f, &properties.limits);
    if (properties.apiVersion >= VK_API_VERSION_1_1)
        fill_details(f, p);
    uint32_t family;
    facts_settle(f, compute_family(p, &family));
}

static enum err physical_devices(VkInstance instance, VkPhysicalDevice **out, uint32_t *count)
{
    *out = NULL;
    *count = 0;
    uint32_t n = 0;
    VkResult r = vkEnumeratePhysicalDevices(instance, &n, NULL);
    if (r)
        return vk_failed(NULL, "vkEnumeratePhysicalDevices", r);
    if (n == 0)
        return ERR_OK;
    *out = calloc(n, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    r = vkEnumeratePhysicalDevices(instance, &n, *out);
    if (r < 0)
        return vk_failed(NULL, "vkEnumeratePhysicalDevices", r);
    *count = n;
    return ERR_OK;
}

static enum err list_with(VkInstance instance, struct device_facts **out, uint32_t *count,
                          VkPhysicalDevice **physical)
{
    enum err e = physical_devices(instance, physical, count);
    if (e)
        return e;
    *out = calloc(*count ? *count : 1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < *count; i++)
        fill_facts(&(*out)[i], (*physical)[i], i);
    return ERR_OK;
}

static void instance_destroy(VkInstance instance, VkDebugUtilsMessengerEXT messenger)
{
    if (messenger) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT) vkGetInstanceProcAddr(
                instance, "vkDestroyDebugUtilsMessengerEXT");
        if (destroy)
            destroy(instance, messenger, NULL);
    }
    if (instance)
        vkDestroyInstance(instance, NULL);
}

static void machine_close(struct machine *m)
{
    instance_destroy(m->instance, m->messenger);
    free(m->physical);
    free(m->facts);
    *m = (struct machine){ 0 };
}

static enum err machine_open_once(struct machine *m, bool validation,
                                  struct device *for_messages)
{
    *m = (struct machine){ 0 };
    enum err e = instance_create(m, validation, for_messages);
    if (!e)
        e = list_with(m->instance, &m->facts, &m->count, &m->physical);
    if (e)
        machine_close(m);
    return e;
}

static bool width_is_wrong(const struct machine *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (cpu_width_is_wrong(m->facts[i].driver))
            return true;
    return false;
}

// Closed by machine_close().
static enum err machine_open(struct machine *m, bool validation, struct device *for_messages)
{
    cpu_width_ask();
    const enum err e = machine_open_once(m, validation, for_messages);
    if (e || !width_is_wrong(m))
        return e;
    cpu_width_withdraw();
    machine_close(m);
    return machine_open_once(m, validation, for_messages);
}

enum err device_list(struct device_facts **out, uint32_t *count)
{
    *out = NULL;
    *count = 0;
    struct machine m;
    const enum err e = machine_open(&m, false, NULL);
    if (e)
        return e;
    *out = m.facts;
    *count = m.count;
    m.facts = NULL;
    machine_close(&m);
    return ERR_OK;
}

static int rank_of(const struct device_facts *f)
{
    static const int rank[] = {
        [DEVICE_DISCRETE] = 5, [DEVICE_INTEGRATED] = 4, [DEVICE_VIRTUAL] = 3,
        [DEVICE_OTHER] = 2,    [DEVICE_CPU] = 1,
    };
    return f->usable ? rank[f->kind] : 0;
}

static bool matches(const struct device_facts *f, const char *select)
{
    char *end;
    const unsigned long index = strtoul(select, &end, 10);
    if (*select && !*end && strlen(select) <= 2) // "4060" is part of a name
        return index == f->index;
    if (strlen(select) >= 8 && !strncasecmp(f->uuid, select, strlen(select)))
        return true;
    return *select && strcasestr(f->name, select);
}

const struct device_facts *device_choose(const struct device_facts *all, uint32_t n,
                                         const char *select)
{
    const struct device_facts *best = NULL;
    for (uint32_t i = 0; i < n; i++) {
        if (select && !matches(&all[i], select))
            continue;
        if (rank_of(&all[i]) > 0 && (!best || rank_of(&all[i]) > rank_of(best)))
            best = &all[i];
    }
    if (best)
        return best;
    if (n == 0)
        log_error("no Vulkan device on this machine; install your GPU's driver, or "
                  "mesa-vulkan-drivers, which also runs on the CPU");
    else if (select)
        log_error(
            "no usable Vulkan device matches '%s'; `underscore devices` lists what there is",
            select);
    else
        log_error("no Vulkan device here can be used: none has " DEVICE_NEEDS
                  "; a newer driver may help");
    return NULL;
}

static enum err open_logical(struct device *d)
{
    struct device_facts *f = &d->facts;
    const char *names[4];
    uint32_t count = 0;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
        .subgroupSizeControl = VK_TRUE,
        .computeFullSubgroups = VK_TRUE,
    };
    VkPhysicalDevice16BitStorageFeatures storage16 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES,
        .storageBuffer16BitAccess = f->f16_storage,
    };
    if (f->subgroup_control) {
        names[count++] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
        storage16.pNext = &control;
    }
    if (f->has_budget)
        names[count++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
    if (f->portability) // who has it must enable it
        names[count++] = PORTABILITY_SUBSET;

    if (!compute_family(d->physical, &d->queue_family))
        return ERR_BUG; // device_choose() saw one
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = d->queue_family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkPhysicalDeviceFeatures features = { .shaderInt64 = f->int64 };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &storage16,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = count,
        .ppEnabledExtensionNames = names,
        .pEnabledFeatures = &features,
    };
    const VkResult r = vkCreateDevice(d->physical, &info, NULL, &d->handle);
    if (r)
        return vk_failed(d, "vkCreateDevice", r);
    vkGetDeviceQueue(d->handle, d->queue_family, 0, &d->queue);
    vkGetPhysicalDeviceMemoryProperties(d->physical, &d->memory);
    return ERR_OK;
}

static void make_cache_key(struct device *d)
{
    VkPhysicalDeviceProperties p;
    vkGetPhysicalDeviceProperties(d->physical, &p);
    snprintf(d->cache_key, sizeof(d->cache_key), "%s-%08x-%u-%s", d->facts.uuid,
             p.driverVersion, d->facts.subgroup, UNDERSCORE_VERSION);
}

enum err device_open(struct device **out, const struct device_params *p)
{
    *out = NULL;
    struct machine m = { 0 };
    struct device *d = calloc(1, sizeof(*d));
    enum err e = ERR_NOMEM;
    if (!d || (p->cache_dir && !(d->cache_dir = strdup(p->cache_dir))))
        goto fail;
    e = machine_open(&m, p->validation, d);
    if (e)
        goto fail;
    const struct device_facts *chosen = device_choose(m.facts, m.count, p->select);
    e = ERR_UNAVAILABLE;
    if (!chosen || !m.physical)
        goto fail;
    d->facts = *chosen;
    d->physical = m.physical[chosen->index];
    d->instance = m.instance;
    d->messenger = m.messenger;
    m.instance = VK_NULL_HANDLE;
    m.messenger = VK_NULL_HANDLE;
    d->limit = p->memory_limit ? p->memory_limit : d->facts.budget;
    make_cache_key(d);
    choices_load(d);
    e = open_logical(d);
    if (e)
        goto fail;
    e = pipeline_cache_open(d);
    if (e)
        goto fail;
    machine_close(&m);
    *out = d;
    return ERR_OK;

fail:
    machine_close(&m);
    device_close(&d);
    return e;
}

void device_close(struct device **dp)
{
    struct device *d = *dp;
    if (!d)
        return;
    if (d->handle) {
        vkDeviceWaitIdle(d->handle);
        stream_destroy(&d->transfer);
        arena_destroy(&d->staging_arena);
        pipeline_cache_close(d);
        profile_end(d);
        vkDestroyDevice(d->handle, NULL);
    }
    instance_destroy(d->instance, d->messenger);
    free(d->cache_dir);
    free(d);
    *dp = NULL;
}

const struct device_facts *device_facts(const struct device *d)
{
    return &d->facts;
}

uint64_t device_memory_used(const struct device *d)
{
    return d->used;
}

uint64_t device_memory_peak(const struct device *d)
{
    return d->peak;
}

uint64_t device_memory_left(const struct device *d)
{
    return d->limit > d->used ? d->limit - d->used : 0;
}

uint32_t device_validation_messages(const struct device *d)
{
    return d->validation_messages;
}

const char *device_cache_dir(const struct device *d)
{
    return d->cache_dir;
}

const char *device_cache_key(const struct device *d)
{
    return d->cache_key;
}
