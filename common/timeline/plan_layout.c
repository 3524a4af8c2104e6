#include "common/timeline/plan_layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

// A cue's segments, before they exist: all but the last have `whole` columns.
struct layout {
    int64_t whole, overlap, stride; // columns
};

static struct layout layout_of(const struct plan_settings *s)
{
    const int64_t whole = plan_columns(&s->model, s->segment_ms);
    const int64_t overlap = plan_columns(&s->model, s->overlap_ms);
    return (struct layout){ whole, overlap, whole - overlap };
}

static int64_t segments_for(const struct layout *l, int64_t columns)
{
    if (columns <= l->whole)
        return 1;
    return 1 + (columns - l->whole + l->stride - 1) / l->stride;
}

// Of the film, in ms, rounded: `columns` after the cue's start.
static int64_t column_ms(const struct plan_model *m, int64_t columns)
{
    return (columns * m->hop * 1000 + m->sample_rate / 2) / m->sample_rate;
}

static int64_t cue_columns(const struct plan_model *m, const struct plan_cue *c)
{
    const int64_t samples = plan_samples(m, c->end_ms) - plan_samples(m, c->start_ms);
    return (samples + m->hop - 1) / m->hop;
}

static enum plan_opening opening_at(const struct plan *p, int64_t at_ms)
{
    if (at_ms == 0)
        return PLAN_FILM_START;
    uint32_t low = 0, high = p->scene_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (p->scenes[middle].at_ms < at_ms)
            low = middle + 1;
        else
            high = middle;
    }
    const bool found = low < p->scene_count && p->scenes[low].at_ms == at_ms;
    return found ? PLAN_SCENE_CHANGE : PLAN_FORCED;
}

static struct plan_cue cue_between(const struct plan *p, int64_t cut, int64_t next)
{
    const int64_t before = p->settings.crossfade_ms / 2;
    const int64_t after = p->settings.crossfade_ms - before;
    return (struct plan_cue){
        .cut_ms = cut,
        .next_cut_ms = next,
        .start_ms = cut == 0 ? 0 : cut - before,
        .end_ms = next == p->film.duration_ms ? next : next + after,
        .opening = opening_at(p, cut),
    };
}

static struct plan_segment segment_of(const struct plan *p, const struct layout *l,
                                      uint32_t cue, uint32_t index)
{
    const struct plan_model *m = &p->settings.model;
    const struct plan_cue *c = &p->cues[cue];
    const int64_t first = index * l->stride, rest = cue_columns(m, c) - first;
    const int64_t columns = rest < l->whole ? rest : l->whole;
    const int64_t prompt = index ? l->overlap : 0;
    const bool last = index + 1 == c->segments;
    return (struct plan_segment){
        .cue = cue,
        .index = index,
        .first_column = (uint32_t) first,
        .columns = (uint32_t) columns,
        .prompt_columns = (uint32_t) prompt,
        .start_ms = c->start_ms + column_ms(m, first),
        .end_ms = last ? c->end_ms : c->start_ms + column_ms(m, first + columns),
        .overlap_ms = column_ms(m, prompt),
        .seed = plan_segment_seed(p->settings.seed, cue, index),
        .prompt_from = index ? (int64_t) c->first_segment + index - 1 : PLAN_NONE,
    };
}

// Their number decides what is allocated, so it is known before anything is.
static int64_t count_segments(const struct plan *p, const struct layout *l,
                              const int64_t *points, uint32_t cues)
{
    int64_t total = 0;
    for (uint32_t i = 0; i < cues; i++) {
        const struct plan_cue c = cue_between(p, points[i], points[i + 1]);
        total += segments_for(l, cue_columns(&p->settings.model, &c));
    }
    return total;
}

enum err plan_lay(struct plan *p, const int64_t *points, uint32_t cues)
{
    const struct layout l = layout_of(&p->settings);
    const int64_t total = count_segments(p, &l, points, cues);
    if (total > PLAN_MAX_SEGMENTS) {
        log_error("%s: these settings make %" PRId64 " segments, more than %u: "
                  "raise --segment or lower --overlap",
                  p->film.path, total, PLAN_MAX_SEGMENTS);
        return ERR_USAGE;
    }
    p->cues = calloc(cues, sizeof(*p->cues));
    p->segments = calloc((size_t) total, sizeof(*p->segments));
    if (!p->cues || !p->segments)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < cues; i++) {
        struct plan_cue *c = &p->cues[i];
        *c = cue_between(p, points[i], points[i + 1]);
        c->first_segment = p->segment_count;
        c->segments = (uint32_t) segments_for(&l, cue_columns(&p->settings.model, c));
        p->cue_count++;
        for (uint32_t k = 0; k < c->segments; k++)
            p->segments[p->segment_count++] = segment_of(p, &l, i, k);
    }
    return ERR_OK;
}
