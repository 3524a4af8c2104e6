#include "common/timeline/plan.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/timeline/cut_choice.h"
#include "common/timeline/plan_layout.h"

struct plan_model plan_model_published(void)
{
    return (struct plan_model){ .sample_rate = 32000, .hop = 640, .max_duration_ms = 30000 };
}

struct plan_settings plan_settings_default(const struct plan_model *model)
{
    const int64_t segment = model->max_duration_ms < 30000 ? model->max_duration_ms : 30000;
    return (struct plan_settings){ .segment_ms = segment,
                                   .overlap_ms = segment / 3,
                                   .crossfade_ms = 2000,
                                   .min_cue_ms = 8000,
                                   .max_cue_ms = 180000,
                                   .cut = PLAN_CUT_SCENE,
                                   .model = *model };
}

uint64_t plan_segment_seed(uint64_t job_seed, uint32_t cue, uint32_t index)
{
    return mix64(mix64(job_seed, cue), index);
}

int64_t plan_samples(const struct plan_model *m, int64_t ms)
{
    return (ms * m->sample_rate + 500) / 1000;
}

int64_t plan_columns(const struct plan_model *m, int64_t ms)
{
    return ms * m->sample_rate / ((int64_t) m->hop * 1000);
}

int64_t plan_total_samples(const struct plan *p)
{
    return plan_samples(&p->settings.model, p->film.duration_ms);
}

int64_t plan_cue_start(const struct plan *p, uint32_t cue)
{
    return plan_samples(&p->settings.model, p->cues[cue].start_ms);
}

int64_t plan_cue_end(const struct plan *p, uint32_t cue)
{
    return plan_samples(&p->settings.model, p->cues[cue].end_ms);
}

int64_t plan_segment_start(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    return plan_cue_start(p, s->cue) + (int64_t) s->first_column * p->settings.model.hop;
}

int64_t plan_segment_samples(const struct plan *p, uint32_t segment)
{
    return (int64_t) p->segments[segment].columns * p->settings.model.hop;
}

struct plan_span plan_watch(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    const struct plan_cue *c = &p->cues[s->cue];
    struct plan_span span = { s->start_ms, s->end_ms };
    if (span.from_ms < c->cut_ms)
        span.from_ms = c->cut_ms;
    if (span.to_ms > c->next_cut_ms)
        span.to_ms = c->next_cut_ms;
    // A short last segment may lie wholly in the crossfade, on either side.
    if (span.from_ms >= c->next_cut_ms)
        span.from_ms = c->next_cut_ms - 1;
    if (span.to_ms <= span.from_ms)
        span.to_ms = span.from_ms + 1;
    return span;
}

int64_t plan_successor(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    return s->index + 1 < p->cues[s->cue].segments ? (int64_t) segment + 1 : PLAN_NONE;
}

int64_t plan_remaining_ms(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    return p->cues[s->cue].end_ms - s->start_ms - s->overlap_ms;
}

// Whether a is to be composed before b.
static bool sooner(const struct plan *p, uint32_t a, uint32_t b)
{
    const int64_t x = plan_remaining_ms(p, a), y = plan_remaining_ms(p, b);
    return x != y ? x > y : a < b;
}

// heap[0] is the one to be composed last; restore that below `at`.
static void sift_down(const struct plan *p, uint32_t *heap, size_t n, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && sooner(p, heap[child], heap[child + 1]))
            child++;
        if (!sooner(p, heap[at], heap[child]))
            return;
        const uint32_t later = heap[child];
        heap[child] = heap[at];
        heap[at] = later;
    }
}

static bool is_ready(const struct plan *p, const bool *done, uint32_t segment)
{
    const int64_t from = p->segments[segment].prompt_from;
    return !done[segment] && (from == PLAN_NONE || done[from]);
}

size_t plan_ready(const struct plan *p, const bool *done, uint32_t *out, size_t capacity)
{
    size_t ready = 0, kept = 0;
    for (uint32_t i = 0; i < p->segment_count; i++) {
        if (!is_ready(p, done, i))
            continue;
        ready++;
        if (kept < capacity) {
            out[kept++] = i;
            if (kept == capacity)
                for (size_t k = kept / 2; k-- > 0;)
                    sift_down(p, out, kept, k);
        } else if (capacity && sooner(p, i, out[0])) {
            out[0] = i;
            sift_down(p, out, kept, 0);
        }
    }
    if (kept < capacity)
        for (size_t k = kept / 2; k-- > 0;)
            sift_down(p, out, kept, k);
    for (size_t n = kept; n > 1; n--) { // the last one goes to the end, and so on
        const uint32_t last = out[0];
        out[0] = out[n - 1];
        out[n - 1] = last;
        sift_down(p, out, n - 1, 0);
    }
    return ready;
}

// A cue's number at *text; moves past it.
static bool read_cue(const char **text, uint32_t *out)
{
    uint64_t n = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9' && n <= UINT32_MAX; c++)
        n = n * 10 + (uint64_t) (*c - '0');
    if (c == *text || n > UINT32_MAX)
        return false;
    *out = (uint32_t) n;
    *text = c;
    return true;
}

enum err plan_select_cues(const struct plan *p, const char *text, bool *chosen)
{
    for (const char *c = text;; c++) {
        uint32_t first, last;
        if (!read_cue(&c, &first))
            break;
        last = first;
        if (*c == '-' && (c++, !read_cue(&c, &last)))
            break;
        if (last < first || last >= p->cue_count) {
            log_error("--cues %s: the plan has the cues 0-%u", text, p->cue_count - 1);
            return ERR_USAGE;
        }
        for (uint32_t i = first; i <= last; i++)
            chosen[i] = true;
        if (*c == '\0')
            return ERR_OK;
        if (*c != ',')
            break;
    }
    log_error("--cues %s: expected numbers and ranges, as in 0,3-5", text);
    return ERR_USAGE;
}

static int by_time(const void *a, const void *b)
{
    const struct plan_scene *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return (x->strength < y->strength) - (x->strength > y->strength); // the stronger first
}

// Ascending, inside the film, one at a time.
static enum err copy_scenes(struct plan *p, const struct plan_scene *scenes, size_t count)
{
    if (count > PLAN_MAX_SCENES) {
        log_error("%s: %zu scene changes are too many", p->film.path, count);
        return ERR_INPUT;
    }
    p->scenes = calloc(count + 1, sizeof(*p->scenes));
    if (!p->scenes)
        return ERR_NOMEM;
    size_t inside = 0;
    for (size_t i = 0; i < count; i++)
        if (scenes[i].at_ms > 0 && scenes[i].at_ms < p->film.duration_ms)
            p->scenes[inside++] = scenes[i];
    qsort(p->scenes, inside, sizeof(*p->scenes), by_time);
    for (size_t i = 0; i < inside; i++)
        if (i == 0 || p->scenes[i].at_ms != p->scenes[i - 1].at_ms)
            p->scenes[p->scene_count++] = p->scenes[i];
    return ERR_OK;
}

static enum err copy_film(struct plan_film *out, const struct plan_film *film)
{
    char *path = strdup(film->path);
    char *sha256 = film->sha256 ? strdup(film->sha256) : NULL;
    *out = *film;
    out->path = path;
    out->sha256 = sha256;
    return path && (sha256 || !film->sha256) ? ERR_OK : ERR_NOMEM;
}

enum err plan_new(struct plan **out, const struct plan_film *film,
                  const struct plan_settings *settings, const struct plan_scene *scenes,
                  size_t scene_count)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    (*out)->settings = *settings;
    enum err e = copy_film(&(*out)->film, film);
    if (!e)
        e = copy_scenes(*out, scenes, scene_count);
    if (e)
        plan_destroy(out);
    return e;
}

static enum err lay_out(struct plan *p)
{
    int64_t whole[] = { 0, p->film.duration_ms };
    if (p->settings.cut == PLAN_CUT_NONE)
        return plan_lay(p, whole, 1);
    int64_t *points;
    uint32_t cues;
    enum err e = choose_cuts(&points, &cues, p->film.duration_ms, p->scenes, p->scene_count,
                             p->settings.min_cue_ms, p->settings.max_cue_ms);
    if (e)
        return e;
    e = plan_lay(p, points, cues);
    free(points);
    return e;
}

enum err plan_build(struct plan **out, const struct plan_film *film,
                    const struct plan_scene *scenes, size_t scene_count,
                    const struct plan_settings *settings)
{
    *out = NULL;
    enum err e = plan_settings_check(settings);
    if (e)
        return e;
    e = plan_film_check(film, film->path);
    if (e)
        return e;
    e = plan_new(out, film, settings, scenes, scene_count);
    if (!e)
        e = lay_out(*out);
    if (e == ERR_NOMEM)
        log_error("%s: out of memory for its plan", film->path);
    if (e)
        plan_destroy(out);
    return e;
}

void plan_destroy(struct plan **p)
{
    if (!*p)
        return;
    free((void *) (uintptr_t) (*p)->film.path);
    free((void *) (uintptr_t) (*p)->film.sha256);
    free((*p)->scenes);
    free((*p)->cues);
    free((*p)->segments);
    free(*p);
    *p = NULL;
}
