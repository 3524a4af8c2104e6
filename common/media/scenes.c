#include "common/media/scenes.h"

#include <errno.h>
#include <libavutil/dict.h>
#include <libavutil/mathematics.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/picture_graph.h"
#include "common/media/picture_reader.h"

struct detector {
    const struct film *film;
    const struct scene_options *options;
    struct picture_reader *pictures;
    struct picture_graph *graph;
    AVFrame *scored;
    struct scene_cuts cuts;
    size_t room;
};

static int64_t film_ms(const struct film *f, int64_t ticks)
{
    return av_rescale_rnd(ticks - f->origin, 1000ll * f->tick_num, f->tick_den,
                          AV_ROUND_NEAR_INF);
}

static enum err add_cut(struct detector *d, int64_t ms, double score)
{
    struct scene_cuts *c = &d->cuts;
    if (c->count == d->room) {
        const size_t room = d->room ? 2 * d->room : 64;
        int64_t *times = realloc(c->ms, room * sizeof(*times));
        if (times)
            c->ms = times;
        double *scores = realloc(c->scores, room * sizeof(*scores));
        if (scores)
            c->scores = scores;
        if (!times || !scores)
            return ERR_NOMEM;
        d->room = room;
    }
    c->ms[c->count] = ms;
    c->scores[c->count++] = score;
    return ERR_OK;
}

// scdet's score of the picture that was run through the graph last, or 0.
static double score_of(const AVFrame *scored)
{
    const AVDictionaryEntry *e = av_dict_get(scored->metadata, "lavfi.scd.score", NULL, 0);
    return e ? strtod(e->value, NULL) : 0;
}

static enum err look(struct detector *d, const AVFrame *picture, int64_t ticks)
{
    const double threshold =
        d->options->threshold > 0 ? d->options->threshold : SCENES_DEFAULT_THRESHOLD;
    const enum err e = picture_graph_run(d->graph, d->scored, picture);
    if (e)
        return e;
    const double score = score_of(d->scored);
    av_frame_unref(d->scored);
    const int64_t ms = film_ms(d->film, ticks);
    media_progress(d->options->hooks, ms, d->film->duration_ms);
    const bool inside = ms > 0 && ms < d->film->duration_ms;
    const bool later = d->cuts.count == 0 || ms > d->cuts.ms[d->cuts.count - 1];
    return score >= threshold && inside && later ? add_cut(d, ms, score) : ERR_OK;
}

static enum err detect(struct detector *d)
{
    enum err e = picture_reader_open(&d->pictures, d->film,
                                     &(struct picture_options){ .hooks = d->options->hooks });
    if (!e)
        e = picture_graph_to_score(&d->graph, d->film);
    d->scored = av_frame_alloc();
    if (!e && !d->scored)
        e = ERR_NOMEM;
    while (!e) {
        const AVFrame *picture;
        int64_t ticks;
        e = media_cancelled(d->options->hooks)
                ? ERR_STOP
                : picture_reader_next(d->pictures, &picture, &ticks);
        if (e || !picture)
            break;
        // A damaged picture is a change that nobody made.
        if (!(picture->flags & AV_FRAME_FLAG_CORRUPT) && !picture->decode_error_flags)
            e = look(d, picture, ticks);
    }
    if (d->pictures)
        d->cuts.damaged = picture_reader_damaged(d->pictures);
    return e;
}

enum err scenes_detect(struct scene_cuts *out, const struct film *film,
                       const struct scene_options *options)
{
    struct detector d = { .film = film, .options = options };
    *out = (struct scene_cuts){ 0 };
    const enum err e = detect(&d);
    picture_reader_close(&d.pictures);
    picture_graph_destroy(&d.graph);
    av_frame_free(&d.scored);
    if (e) {
        scene_cuts_release(&d.cuts);
        return e;
    }
    if (d.cuts.damaged)
        log_warn("%s: %llu pictures could not be decoded", film->path,
                 (unsigned long long) d.cuts.damaged);
    *out = d.cuts;
    return ERR_OK;
}

void scene_cuts_release(struct scene_cuts *c)
{
    free(c->ms);
    free(c->scores);
    *c = (struct scene_cuts){ 0 };
}
