#include "common/base/err.h"

#include <stddef.h>

static const struct {
    const char *text;
    int exit_code;
    bool transient;
} table[ERR_COUNT] = {
    [ERR_OK] = { "ok", 0, false },
    [ERR_USAGE] = { "usage error", 64, false },
    [ERR_INPUT] = { "bad input", 65, false },
    [ERR_MISSING] = { "no such input", 66, false },
    [ERR_UNAVAILABLE] = { "not available on this machine", 69, true },
    [ERR_BUG] = { "internal error", 70, false },
    [ERR_CREATE] = { "cannot create output", 73, false },
    [ERR_IO] = { "input/output error", 74, true },
    [ERR_NOMEM] = { "out of memory", 75, true },
    [ERR_DEVICE_MEM] = { "out of device memory", 75, true },
    [ERR_DEVICE] = { "device lost", 75, true },
    [ERR_CONFIG] = { "bad configuration", 78, false },
    [ERR_STOP] = { "stopped", 130, true },
    [ERR_FULL] = { "no room left", 74, true },
};

static unsigned row_of(enum err e)
{
    return (unsigned) e < ERR_COUNT ? (unsigned) e : (unsigned) ERR_BUG;
}

const char *err_text(enum err e)
{
    return table[row_of(e)].text;
}

bool err_is_transient(enum err e)
{
    return table[row_of(e)].transient;
}

bool err_is_disk(enum err e)
{
    return e == ERR_IO || e == ERR_FULL || e == ERR_CREATE;
}

int err_exit_code(enum err e)
{
    return table[row_of(e)].exit_code;
}
