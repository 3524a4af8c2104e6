#include <stdlib.h>

#include "cli/trace_parts.h"
#include "common/base/log.h"
#include "worker/model/visual.h"

static enum err take_condition(struct trace *t, const struct tensor_view *v)
{
    t->frames = (uint32_t) v->shape[0];
    return trace_floats(v, "vis.condition", &t->condition);
}

static enum err run(struct trace *t, const float *frames)
{
    struct visual *visual;
    enum err e =
        visual_open(&visual, t->device, t->model,
                    &(struct visual_params){ .max_frames = t->frames, .probe = &t->out.probe });
    if (e)
        return e;
    t->condition = malloc((size_t) t->frames * t->model->config->lm.dim * sizeof(float));
    if (!t->condition)
        log_error("out of memory for vis.condition");
    e = t->condition ? visual_run_normalised(visual, frames, t->frames, t->condition)
                     : ERR_NOMEM;
    visual_close(&visual);
    return e;
}

enum err trace_visual(struct trace *t)
{
    const struct model_config *c = t->model->config;
    struct tensor_view v;
    bool found;
    enum err e = trace_input(t, &v, &found, "vis.frames", 4,
                             (const uint64_t[]){ TRACE_SOME, 3, c->vit.image, c->vit.image });
    if (e)
        return e;
    if (!found) {
        e = trace_input(t, &v, &found, "vis.condition", 2,
                        (const uint64_t[]){ TRACE_SOME, c->lm.dim });
        return e || !found ? e : take_condition(t, &v);
    }
    float *frames;
    e = trace_floats(&v, "vis.frames", &frames);
    if (e)
        return e;
    t->frames = (uint32_t) v.shape[0];
    e = run(t, frames);
    free(frames);
    return e;
}
