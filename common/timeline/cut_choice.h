// cut_choice: where a film is cut into cues. plan.h says how; this room only.
#pragma once

#include "common/timeline/plan.h"

// The film's cut points: *points = 0 < ... < duration_ms, one more than there are
// cues, for the caller to free. `scenes` is ascending, without doubles, all inside
// the film. 1 <= min_ms <= max_ms. ERR_NOMEM logs.
ERR_CHECKED enum err choose_cuts(int64_t **points, uint32_t *cues, int64_t duration_ms,
                                 const struct plan_scene *scenes, uint32_t scene_count,
                                 int64_t min_ms, int64_t max_ms);
