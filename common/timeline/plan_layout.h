// plan_layout: what follows from the cut points, and the checks of what was given.
// This room only; plan.h is for the others.
#pragma once

#include "common/timeline/plan.h"

// A plan with its film, settings and scenes, copied and in order, but no cues yet.
// ERR_NOMEM is not logged.
ERR_CHECKED enum err plan_new(struct plan **out, const struct plan_film *film,
                              const struct plan_settings *settings,
                              const struct plan_scene *scenes, size_t scene_count);

// Fill in the cues and segments of a plan whose film and settings are checked. points has
// cues + 1 entries, 0 first, the film's length last, no two nearer than the crossfade.
// ERR_USAGE (logged) when there would be too many segments, ERR_NOMEM (not logged).
ERR_CHECKED enum err plan_lay(struct plan *p, const int64_t *points, uint32_t cues);

// The checks of plan.h, their message beginning with `what` (NULL: with the option
// at fault).
ERR_CHECKED enum err plan_settings_check_named(const struct plan_settings *s, const char *what);
ERR_CHECKED enum err plan_check_named(const struct plan *p, const char *what);

// ERR_INPUT, logged, when the film's length or checksum cannot be right.
ERR_CHECKED enum err plan_film_check(const struct plan_film *film, const char *what);
