// Checks of what a plan is made from, and of a plan that came from elsewhere: the
// second lays the plan out again from its own cut points and compares.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/timeline/plan_layout.h"

static double seconds(int64_t ms)
{
    return (double) ms / 1000.0;
}

// One line, which begins with where the problem is: a file's name, or nothing
// (NULL) when the command line's options are at fault.
static void complain(const char *what, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void complain(const char *what, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (what)
        log_error("%s: %s", what, text);
    else
        log_error("%s", text);
}

static enum err model_check(const struct plan_model *m, const char *what)
{
    if (m->sample_rate < 1000 || m->sample_rate > 768000) {
        complain(what, "model: a sample rate of %u Hz: expected 1000 to 768000",
                 m->sample_rate);
        return ERR_USAGE;
    }
    if (m->hop < m->sample_rate / 1000 ||
        m->hop > m->sample_rate) { // 1 to 1000 columns a second
        complain(what, "model: %u samples a column at %u Hz: expected %u to %u", m->hop,
                 m->sample_rate, m->sample_rate / 1000, m->sample_rate);
        return ERR_USAGE;
    }
    if (m->max_duration_ms < 1 || m->max_duration_ms > PLAN_MAX_DURATION_MS ||
        plan_columns(m, m->max_duration_ms) < 2) {
        complain(what,
                 "model: a longest window of %g s: expected two token columns to 24 hours",
                 seconds(m->max_duration_ms));
        return ERR_USAGE;
    }
    return ERR_OK;
}

static enum err segment_check(const struct plan_settings *s, const char *what)
{
    if (s->segment_ms < 1 || s->segment_ms > s->model.max_duration_ms) {
        complain(what, "--segment %g: expected a length up to the model's own limit of %g s",
                 seconds(s->segment_ms), seconds(s->model.max_duration_ms));
        return ERR_USAGE;
    }
    const int64_t whole = plan_columns(&s->model, s->segment_ms);
    if (whole < 2) {
        complain(what, "--segment %g: at least two token columns of %g ms are needed",
                 seconds(s->segment_ms), 1000.0 * s->model.hop / s->model.sample_rate);
        return ERR_USAGE;
    }
    const bool positive = s->overlap_ms > 0 && s->overlap_ms < s->segment_ms;
    const int64_t overlap = positive ? plan_columns(&s->model, s->overlap_ms) : 0;
    if (overlap < 1 || overlap >= whole) {
        complain(what,
                 "--overlap %g: must be shorter than --segment (%g s) and at least one token "
                 "column (%g ms)",
                 seconds(s->overlap_ms), seconds(s->segment_ms),
                 1000.0 * s->model.hop / s->model.sample_rate);
        return ERR_USAGE;
    }
    return ERR_OK;
}

static enum err cue_check(const struct plan_settings *s, const char *what)
{
    if (s->max_cue_ms < 100 || s->max_cue_ms > PLAN_MAX_DURATION_MS) {
        complain(what, "--max-cue %g: expected 0.1 s to 24 hours (86400)",
                 seconds(s->max_cue_ms));
        return ERR_USAGE;
    }
    if (s->min_cue_ms < 100 || s->min_cue_ms > s->max_cue_ms) {
        complain(what, "--min-cue %g: expected 0.1 s to --max-cue (%g s)",
                 seconds(s->min_cue_ms), seconds(s->max_cue_ms));
        return ERR_USAGE;
    }
    if (s->crossfade_ms < 0 || s->crossfade_ms > s->min_cue_ms) {
        complain(what,
                 "--crossfade %g: expected 0 to --min-cue (%g s), so that the fades at a "
                 "cue's two ends do not meet",
                 seconds(s->crossfade_ms), seconds(s->min_cue_ms));
        return ERR_USAGE;
    }
    // A film just longer than max_cue is halved, even when the halves are shorter
    // than min_cue.
    if (2 * s->crossfade_ms > s->max_cue_ms) {
        complain(what, "--crossfade %g: expected at most half of --max-cue (%g s)",
                 seconds(s->crossfade_ms), seconds(s->max_cue_ms));
        return ERR_USAGE;
    }
    return ERR_OK;
}

enum err plan_settings_check_named(const struct plan_settings *s, const char *what)
{
    if (s->cut != PLAN_CUT_SCENE && s->cut != PLAN_CUT_NONE) {
        complain(what, "--cut: expected scene or none");
        return ERR_USAGE;
    }
    enum err e = model_check(&s->model, what);
    if (!e)
        e = segment_check(s, what);
    if (!e)
        e = cue_check(s, what);
    return e;
}

enum err plan_settings_check(const struct plan_settings *s)
{
    return plan_settings_check_named(s, NULL);
}

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

enum err plan_film_check(const struct plan_film *film, const char *what)
{
    if (film->duration_ms < PLAN_MIN_DURATION_MS || film->duration_ms > PLAN_MAX_DURATION_MS) {
        complain(what, "the film is %.10g s long: expected 0.1 s to 24 hours",
                 seconds(film->duration_ms));
        return ERR_INPUT;
    }
    if (film->sha256 && !is_sha256(film->sha256)) {
        complain(what, "its sha256 is not 64 lower-case hexadecimal digits");
        return ERR_INPUT;
    }
    return ERR_OK;
}

static enum err scenes_check(const struct plan *p, const char *what)
{
    int64_t previous = 0;
    for (uint32_t i = 0; i < p->scene_count; i++) {
        const int64_t at = p->scenes[i].at_ms;
        if (at <= previous || at >= p->film.duration_ms) {
            complain(what,
                     "cut %u at %" PRId64 " ms: not after the one before it and inside "
                     "the film",
                     i, at);
            return ERR_INPUT;
        }
        previous = at;
    }
    return ERR_OK;
}

// The cues' cut points follow each other through the whole film, far enough apart.
static enum err points_check(const struct plan *p, const char *what)
{
    int64_t expected = 0;
    if (p->settings.cut == PLAN_CUT_NONE && p->cue_count > 1) {
        complain(what, "%u cues, though it is not to be cut", p->cue_count);
        return ERR_INPUT;
    }
    for (uint32_t i = 0; i < p->cue_count; i++) {
        const struct plan_cue *c = &p->cues[i];
        if (c->cut_ms != expected || c->next_cut_ms <= c->cut_ms ||
            c->next_cut_ms > p->film.duration_ms) {
            complain(what,
                     "cue %u lies from %" PRId64 " to %" PRId64 " ms: expected it to begin "
                     "at %" PRId64 " and to end inside the film",
                     i, c->cut_ms, c->next_cut_ms, expected);
            return ERR_INPUT;
        }
        if (p->cue_count > 1 && c->next_cut_ms - c->cut_ms < p->settings.crossfade_ms) {
            complain(what, "cue %u is shorter than the crossfade", i);
            return ERR_INPUT;
        }
        expected = c->next_cut_ms;
    }
    if (expected == p->film.duration_ms)
        return ERR_OK;
    complain(what, "the cues cover %" PRId64 " of the film's %" PRId64 " ms", expected,
             p->film.duration_ms);
    return ERR_INPUT;
}

// One number of cue or segment `i` against what it has to be.
static bool agrees(const char *what, const char *kind, uint32_t i, const char *name,
                   int64_t found, int64_t expected)
{
    if (found == expected)
        return true;
    complain(what, "%s %u: %s is %" PRId64 ", expected %" PRId64, kind, i, name, found,
             expected);
    return false;
}

static bool cue_agrees(const char *what, const struct plan_cue *a, const struct plan_cue *b,
                       uint32_t i)
{
    return agrees(what, "cue", i, "start_ms", a->start_ms, b->start_ms) &&
           agrees(what, "cue", i, "end_ms", a->end_ms, b->end_ms) &&
           agrees(what, "cue", i, "opening", a->opening, b->opening) &&
           agrees(what, "cue", i, "first_segment", a->first_segment, b->first_segment) &&
           agrees(what, "cue", i, "segments", a->segments, b->segments);
}

static bool segment_agrees(const char *what, const struct plan_segment *a,
                           const struct plan_segment *b, uint32_t i)
{
    return agrees(what, "segment", i, "cue", a->cue, b->cue) &&
           agrees(what, "segment", i, "index", a->index, b->index) &&
           agrees(what, "segment", i, "first_column", a->first_column, b->first_column) &&
           agrees(what, "segment", i, "columns", a->columns, b->columns) &&
           agrees(what, "segment", i, "prompt_columns", a->prompt_columns, b->prompt_columns) &&
           agrees(what, "segment", i, "start_ms", a->start_ms, b->start_ms) &&
           agrees(what, "segment", i, "end_ms", a->end_ms, b->end_ms) &&
           agrees(what, "segment", i, "overlap_ms", a->overlap_ms, b->overlap_ms) &&
           agrees(what, "segment", i, "prompt_from", a->prompt_from, b->prompt_from);
}

static bool same_layout(const char *what, const struct plan *a, const struct plan *b)
{
    for (uint32_t i = 0; i < b->cue_count; i++)
        if (!cue_agrees(what, &a->cues[i], &b->cues[i], i))
            return false;
    if (a->segment_count != b->segment_count) {
        complain(what, "it has %u segments, expected %u", a->segment_count, b->segment_count);
        return false;
    }
    for (uint32_t i = 0; i < b->segment_count; i++)
        if (!segment_agrees(what, &a->segments[i], &b->segments[i], i))
            return false;
    return true;
}

static enum err layout_check(const struct plan *p, const char *what)
{
    struct plan *again = NULL;
    int64_t *points = calloc((size_t) p->cue_count + 1, sizeof(*points));
    enum err e = points ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = plan_new(&again, &p->film, &p->settings, p->scenes, p->scene_count);
    if (!e) {
        for (uint32_t i = 0; i < p->cue_count; i++)
            points[i + 1] = p->cues[i].next_cut_ms;
        e = plan_lay(again, points, p->cue_count);
    }
    if (!e && !same_layout(what, p, again))
        e = ERR_INPUT;
    if (e == ERR_NOMEM)
        complain(what, "out of memory");
    plan_destroy(&again);
    free(points);
    return e == ERR_USAGE ? ERR_INPUT : e;
}

enum err plan_check_named(const struct plan *p, const char *what)
{
    if (plan_settings_check_named(&p->settings, what) || plan_film_check(&p->film, what))
        return ERR_INPUT;
    enum err e = scenes_check(p, what);
    if (!e)
        e = points_check(p, what);
    if (!e)
        e = layout_check(p, what);
    return e;
}

enum err plan_check(const struct plan *p)
{
    return plan_check_named(p, "plan");
}
