// plan_film: a film to its plan, with a progress bar.
#pragma once

#include "cli/settings.h"
#include "common/media/film_plan.h"

// film_plan_make() with what the command line says. Shows progress; ERR_STOP on
// Ctrl-C. The caller owns *out.
ERR_CHECKED enum err plan_film(struct plan **out, const struct film *film,
                               const struct plan_options *options,
                               const struct plan_model *model, bool quiet);
