#include "worker/engine/profile.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "worker/engine/internal.h"

struct profile {
    double tick_s;
    uint64_t mask; // of the bits that a timestamp has
    struct profile_row rows[PROFILE_MOST];
    uint32_t count;
};

enum err profile_start(struct device *d)
{
    if (d->profile)
        return ERR_OK;
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(d->physical, &properties);
    VkQueueFamilyProperties families[16];
    uint32_t count = 16;
    vkGetPhysicalDeviceQueueFamilyProperties(d->physical, &count, families);
    const uint32_t bits =
        d->queue_family < count ? families[d->queue_family].timestampValidBits : 0;
    if (bits == 0) {
        log_error("%s: its queue keeps no timestamps", d->facts.name);
        return ERR_UNAVAILABLE;
    }
    d->profile = calloc(1, sizeof(*d->profile));
    if (!d->profile)
        return ERR_NOMEM;
    d->profile->tick_s = (double) properties.limits.timestampPeriod * 1e-9;
    d->profile->mask = bits >= 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
    return ERR_OK;
}

void profile_end(struct device *d)
{
    free(d->profile);
    d->profile = NULL;
}

void profile_clear(struct device *d)
{
    if (d->profile)
        d->profile->count = 0;
}

static struct profile_row *row_of(struct profile *p, const char *kernel, const char *label,
                                  double flops)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (p->rows[i].kernel == kernel && p->rows[i].label == label &&
            p->rows[i].flops == flops)
            return &p->rows[i];
    if (p->count == PROFILE_MOST)
        return NULL;
    struct profile_row *row = &p->rows[p->count++];
    *row = (struct profile_row){ .kernel = kernel, .label = label, .flops = flops };
    return row;
}

void profile_add(struct device *d, const char *label, const struct timed *t, uint64_t from,
                 uint64_t to)
{
    struct profile *p = d->profile;
    struct profile_row *row = row_of(p, t->kernel->name, label, t->flops);
    if (!row)
        return;
    row->dispatches++;
    row->seconds += (double) ((to - from) & p->mask) * p->tick_s;
}

static int slowest_first(const void *a, const void *b)
{
    const double x = ((const struct profile_row *) a)->seconds,
                 y = ((const struct profile_row *) b)->seconds;
    return (x < y) - (x > y);
}

const struct profile_row *profile_rows(struct device *d, uint32_t *count)
{
    *count = d->profile ? d->profile->count : 0;
    if (!d->profile)
        return NULL;
    qsort(d->profile->rows, *count, sizeof(*d->profile->rows), slowest_first);
    return d->profile->rows;
}
