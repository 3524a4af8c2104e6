#include "worker/model/numbers.h"

#include <math.h>

#include "common/base/log.h"

enum err numbers_are_none(const struct device *d, const char *stage)
{
    log_error("%s: the %s came to what is no number: the device computes wrongly, or the model "
              "is damaged; try another device, or get the model again",
              device_facts(d)->name, stage);
    return ERR_DEVICE;
}

enum err numbers_check(const struct device *d, const char *stage, const float *v,
                       uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(v[i]))
            return numbers_are_none(d, stage);
    return ERR_OK;
}
