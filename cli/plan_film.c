#include "cli/plan_film.h"

#include "cli/progress.h"
#include "common/base/interrupt.h"

static bool cancelled(void *user)
{
    (void) user;
    return interrupt_asked();
}

static void on_progress(void *user, int64_t done_ms, int64_t total_ms)
{
    progress_update(user, (double) done_ms / 1000, (double) total_ms / 1000);
}

enum err plan_film(struct plan **out, const struct film *film,
                   const struct plan_options *options, const struct plan_model *model,
                   bool quiet)
{
    const struct plan_settings settings = plan_settings_from(options, model);
    struct progress bar = { 0 };
    const struct media_hooks hooks = { .cancelled = cancelled,
                                       .progress = on_progress,
                                       .user = &bar };
    progress_begin(&bar, "scenes", 0, quiet || settings.cut != PLAN_CUT_SCENE);
    const enum err e = film_plan_make(out, film, &settings, options->scene_threshold, &hooks);
    progress_end(&bar);
    return e;
}
