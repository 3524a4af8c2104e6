#include "common/media/media_hooks.h"

#include <stddef.h>

bool media_cancelled(const struct media_hooks *hooks)
{
    return hooks && hooks->cancelled && hooks->cancelled(hooks->user);
}

void media_begin(const struct media_hooks *hooks, const char *what)
{
    if (hooks && hooks->begin)
        hooks->begin(hooks->user, what);
}

void media_progress(const struct media_hooks *hooks, int64_t done_ms, int64_t total_ms)
{
    if (hooks && hooks->progress)
        hooks->progress(hooks->user, done_ms, total_ms);
}
