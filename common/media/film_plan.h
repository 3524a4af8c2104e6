// film_plan: a film to its plan, and plans in files.
#pragma once

#include "common/media/film.h"
#include "common/media/media_hooks.h"
#include "common/timeline/plan.h"

// Find the scene changes (unless the settings say not to cut) and plan.
// `scene_threshold` as scenes.h has it. ERR_STOP when cancelled. The caller owns *out.
ERR_CHECKED enum err film_plan_make(struct plan **out, const struct film *film,
                                    const struct plan_settings *settings,
                                    double scene_threshold, const struct media_hooks *hooks);

// ERR_MISSING, ERR_INPUT; logs.
ERR_CHECKED enum err film_plan_read(struct plan **out, const char *path);

// Whole or not at all; "-" is standard output.
ERR_CHECKED enum err film_plan_write(const struct plan *p, const char *path);

// The film that a plan was made of: probed, and refused (ERR_INPUT) when its
// length is another now. `path` NULL: where the plan says.
ERR_CHECKED enum err film_plan_film(struct film *out, const struct plan *p, const char *path);
