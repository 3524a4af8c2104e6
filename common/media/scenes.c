#include "common/media/scenes.h"

#include <libavutil/dict.h>
#include <math.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/picture_graph.h"
#include "common/media/picture_reader.h"

#define PROGRESS_STEP_MS 500

struct detection {
    const struct film *film;
    const struct scene_options *options;
    double threshold;
    struct picture_reader *pictures;
    struct picture_graph *graph;
    AVFrame *scored;
    struct scene_cuts *cuts;
    size_t capacity;
    int64_t told_ms;
};

static enum err grow(struct detection *d)
{
    struct scene_cuts *c = d->cuts;
    if (c->count < d->capacity)
        return ERR_OK;
    const size_t capacity = d->capacity ? 2 * d->capacity : 256;
    int64_t *ms = realloc(c->ms, capacity * sizeof(*ms));
    if (ms)
        c->ms = ms;
    double *scores = realloc(c->scores, capacity * sizeof(*scores));
    if (scores)
        c->scores = scores;
    if (!ms || !scores)
        return ERR_NOMEM;
    d->capacity = capacity;
    return ERR_OK;
}

static int64_t film_ms(const struct film *f, int64_t ticks)
{
    return llrint((double) (ticks - f->origin) * 1000 * f->tick_num / f->tick_den);
}

static double score_of(const AVFrame *f)
{
    const AVDictionaryEntry *e = av_dict_get(f->metadata, "lavfi.scd.score", NULL, 0);
    return e ? strtod(e->value, NULL) : 0;
}

static enum err note_cut(struct detection *d, int64_t ms, double score)
{
    struct scene_cuts *c = d->cuts;
    const bool repeated = ms <= 0 || (c->count > 0 && ms <= c->ms[c->count - 1]);
    if (score < d->threshold || repeated || ms >= d->film->duration_ms)
        return ERR_OK;
    const enum err e = grow(d);
    if (e)
        return e;
    c->ms[c->count] = ms;
    c->scores[c->count++] = score;
    return ERR_OK;
}

static void tell_progress(struct detection *d, int64_t ms)
{
    if (ms < d->told_ms + PROGRESS_STEP_MS)
        return;
    d->told_ms = ms;
    media_progress(d->options->hooks, ms < d->film->duration_ms ? ms : d->film->duration_ms,
                   d->film->duration_ms);
}

static enum err look_at(struct detection *d, const AVFrame *picture, int64_t ticks)
{
    const int64_t ms = film_ms(d->film, ticks);
    av_frame_unref(d->scored);
    enum err e = picture_graph_run(d->graph, d->scored, picture);
    if (!e)
        e = note_cut(d, ms, score_of(d->scored));
    tell_progress(d, ms);
    return e;
}

static enum err detect(struct detection *d)
{
    const AVFrame *picture = NULL;
    int64_t ticks = 0;
    for (;;) {
        enum err e = picture_reader_next(d->pictures, &picture, &ticks);
        if (e || !picture)
            return e;
        if (!picture_is_damaged(picture)) // what is broken in it would look like a cut
            e = look_at(d, picture, ticks);
        if (e)
            return e;
    }
}

static enum err prepare(struct detection *d)
{
    const struct picture_options pictures = { .rough = true, .hooks = d->options->hooks };
    d->scored = av_frame_alloc();
    if (!d->scored)
        return ERR_NOMEM;
    const enum err e = picture_graph_to_score(&d->graph, d->film);
    return e ? e : picture_reader_open(&d->pictures, d->film, &pictures);
}

enum err scenes_detect(struct scene_cuts *out, const struct film *film,
                       const struct scene_options *options)
{
    *out = (struct scene_cuts){ 0 };
    struct detection d = {
        .film = film,
        .options = options,
        .threshold = options->threshold > 0 ? options->threshold : SCENES_DEFAULT_THRESHOLD,
        .cuts = out,
    };
    enum err e = prepare(&d);
    if (!e)
        e = detect(&d);
    if (!e) {
        out->damaged = picture_reader_damaged(d.pictures);
        media_progress(options->hooks, film->duration_ms, film->duration_ms);
    }
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", film->path);
    picture_reader_close(&d.pictures);
    picture_graph_destroy(&d.graph);
    av_frame_free(&d.scored);
    if (e)
        scene_cuts_release(out);
    return e;
}

void scene_cuts_release(struct scene_cuts *c)
{
    free(c->ms);
    free(c->scores);
    *c = (struct scene_cuts){ 0 };
}
