#include "common/media/frames.h"

#include <libavutil/imgutils.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/picture_graph.h"
#include "common/media/picture_reader.h"
#include "common/timeline/frame_grid.h"

#define FAR_AHEAD_S 10.0 // seek rather than read this much
#define RETRY_S 4.0      // how much earlier decoding begins when nothing came of a seek
#define STALE_S 5.0      // after so long a damaged picture is better than an old one
#define TICK_EPSILON 1e-4

struct frame_reader {
    const struct film *film;
    struct frame_options options;
    struct picture_reader *pictures;
    struct picture_graph *graph;

    // The window: grid indexes next..end-1, or one frame at its start.
    int64_t next, end;
    bool single;
    double start_s;

    // Two neighbouring pictures: `held` is shown until `after` comes on.
    AVFrame *held, *after;
    int64_t held_ticks, after_ticks;
    bool have_held, have_after;
    int64_t target;      // of the last pick
    int64_t single_tick; // a picture wanted off the grid
    bool no_skip;        // key pictures of this film are not to be trusted
    int64_t counted;     // pictures since the film's start: FRAMES_STEPPED

    AVFrame *converted;
    uint8_t *rgb;
    size_t rgb_bytes;
    uint32_t width, height;
    int64_t rgb_ticks; // which picture rgb[] is
    bool have_rgb;
};

static double ticks_per_s(const struct film *f)
{
    return (double) f->tick_den / f->tick_num;
}

static int64_t ticks_at(const struct film *f, double seconds)
{
    return f->origin + (int64_t) floor(seconds * ticks_per_s(f) + TICK_EPSILON);
}

static double seconds_at(const struct film *f, int64_t ticks)
{
    return (double) (ticks - f->origin) / ticks_per_s(f);
}

// True if a time of the grid, or the single one asked for, lies in [from, to).
static bool is_wanted(void *user, int64_t from, int64_t to)
{
    const struct frame_reader *r = user;
    if (r->single && r->single_tick >= from && r->single_tick < to)
        return true;
    int64_t i = (int64_t) floor(seconds_at(r->film, from) * r->options.rate) - 1;
    i = i < 0 ? 0 : i;
    while (ticks_at(r->film, (double) i / r->options.rate) < from)
        i++;
    return ticks_at(r->film, (double) i / r->options.rate) < to;
}

enum err frame_reader_open(struct frame_reader **out, const struct film *film,
                           const struct frame_options *options)
{
    enum err e = ERR_NOMEM;
    *out = NULL;
    struct frame_reader *r = calloc(1, sizeof(*r));
    if (!r)
        goto fail;
    r->film = film;
    r->options = *options;
    r->held = av_frame_alloc();
    r->after = av_frame_alloc();
    r->converted = av_frame_alloc();
    if (!r->held || !r->after || !r->converted)
        goto fail;
    e = picture_graph_to_rgb(&r->graph, film);
    if (e)
        goto fail;
    const struct picture_options pictures = {
        .wanted = options->picking == FRAMES_SHOWN ? is_wanted : NULL,
        .user = r,
        .hooks = options->hooks,
    };
    e = picture_reader_open(&r->pictures, film, &pictures);
    if (e)
        goto fail;
    *out = r;
    return ERR_OK;

fail:
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", film->path);
    frame_reader_close(&r);
    return e;
}

void frame_reader_close(struct frame_reader **r)
{
    if (!*r)
        return;
    picture_reader_close(&(*r)->pictures);
    picture_graph_destroy(&(*r)->graph);
    av_frame_free(&(*r)->held);
    av_frame_free(&(*r)->after);
    av_frame_free(&(*r)->converted);
    free((*r)->rgb);
    free(*r);
    *r = NULL;
}

uint64_t frame_reader_damaged(const struct frame_reader *r)
{
    return picture_reader_damaged(r->pictures);
}

enum err frame_reader_window(struct frame_reader *r, int64_t start_ms, int64_t end_ms)
{
    if (start_ms < 0 || end_ms <= start_ms || !(r->options.rate > 0)) {
        log_error("no frames of %lld..%lld ms at %g a second", (long long) start_ms,
                  (long long) end_ms, r->options.rate);
        return ERR_BUG;
    }
    r->next = frame_grid_first(r->options.rate, start_ms);
    r->end = frame_grid_first(r->options.rate, end_ms);
    r->start_s = (double) start_ms / 1000;
    r->single = r->next >= r->end;
    if (r->single)
        r->end = r->next + 1;
    return ERR_OK;
}

static void forget_pictures(struct frame_reader *r)
{
    av_frame_unref(r->held);
    av_frame_unref(r->after);
    r->have_held = r->have_after = false;
    r->counted = 0;
}

// The next picture into `after`; have_after is false at the film's end.
static enum err read_after(struct frame_reader *r)
{
    const AVFrame *f = NULL;
    const enum err e = picture_reader_next(r->pictures, &f, &r->after_ticks);
    if (e || !f)
        return e;
    r->have_after = true;
    return av_frame_ref(r->after, f) < 0 ? ERR_NOMEM : ERR_OK;
}

// A damaged picture does not take the place of a good one that is not too old.
static bool is_better_held(const struct frame_reader *r)
{
    return r->have_held && picture_is_damaged(r->after) && !picture_is_damaged(r->held) &&
           (double) (r->after_ticks - r->held_ticks) < STALE_S * ticks_per_s(r->film);
}

static void hold_after(struct frame_reader *r)
{
    r->counted++;
    r->have_after = false;
    if (is_better_held(r)) {
        av_frame_unref(r->after);
        return;
    }
    av_frame_unref(r->held);
    av_frame_move_ref(r->held, r->after);
    r->held_ticks = r->after_ticks;
    r->have_held = true;
}

// Decode until the picture after the one shown at `ticks` is known.
static enum err advance(struct frame_reader *r, int64_t ticks)
{
    for (;;) {
        if (r->have_after && r->after_ticks > ticks)
            return ERR_OK;
        if (r->have_after)
            hold_after(r);
        const enum err e = read_after(r);
        if (e || !r->have_after)
            return e;
    }
}

static enum err restart(struct frame_reader *r, int64_t ticks, int64_t margin)
{
    forget_pictures(r);
    return picture_reader_seek(r->pictures, ticks, margin);
}

static enum err approach(struct frame_reader *r, int64_t ticks)
{
    const int64_t position = picture_reader_position(r->pictures);
    const int64_t far = (int64_t) (FAR_AHEAD_S * ticks_per_s(r->film));
    if (r->single || ticks < r->target ||
        (position != AV_NOPTS_VALUE && ticks - far > position))
        return restart(r, ticks, 0);
    return r->no_skip ? ERR_OK : picture_reader_skip_to(r->pictures, ticks);
}

// Nothing between the key picture where decoding began and the time asked for
// came out: damage, or a film refreshed gradually instead of by key pictures.
static bool lost_beginning(const struct frame_reader *r)
{
    return !r->have_held || r->held_ticks < picture_reader_began(r->pictures);
}

static enum err pick_shown(struct frame_reader *r, int64_t ticks)
{
    enum err e = approach(r, ticks);
    if (!e)
        e = advance(r, ticks);
    const int64_t since_origin = ticks - r->film->origin;
    int64_t margin = (int64_t) (RETRY_S * ticks_per_s(r->film));
    while (!e && lost_beginning(r) && picture_reader_began(r->pictures) != INT64_MIN) {
        r->no_skip = true;
        e = restart(r, ticks, margin);
        if (!e)
            e = advance(r, ticks);
        margin = margin > since_origin ? margin : 4 * margin;
    }
    r->target = ticks;
    return e;
}

// Picture number `n` of the film into `held`; have_held is false past the end.
static enum err pick_counted(struct frame_reader *r, int64_t n)
{
    enum err e = ERR_OK;
    if (n < r->counted - 1)
        e = restart(r, INT64_MIN, 0);
    while (!e && r->counted <= n) {
        e = read_after(r);
        if (e || !r->have_after) {
            r->have_held = false;
            return e;
        }
        hold_after(r);
    }
    return e;
}

static int64_t published_step(const struct frame_reader *r)
{
    const int64_t step = (int64_t) (floor(r->film->frames_per_s) / r->options.rate);
    return step < 1 ? 1 : step;
}

// rgb[] becomes `picture`, unless it is that already.
static enum err convert(struct frame_reader *r, const AVFrame *picture, int64_t ticks)
{
    if (r->have_rgb && r->rgb_ticks == ticks)
        return ERR_OK;
    r->have_rgb = false;
    av_frame_unref(r->converted);
    enum err e = picture_graph_run(r->graph, r->converted, picture);
    if (e)
        return e;
    const AVFrame *c = r->converted;
    const size_t bytes = (size_t) c->width * 3 * (size_t) c->height;
    if (bytes > r->rgb_bytes) {
        free(r->rgb);
        r->rgb_bytes = 0;
        r->rgb = malloc(bytes);
        if (!r->rgb)
            return ERR_NOMEM;
        r->rgb_bytes = bytes;
    }
    av_image_copy_plane(r->rgb, c->width * 3, c->data[0], c->linesize[0], c->width * 3,
                        c->height);
    r->width = (uint32_t) c->width;
    r->height = (uint32_t) c->height;
    r->rgb_ticks = ticks;
    r->have_rgb = true;
    av_frame_unref(r->converted);
    return ERR_OK;
}

static enum err give(struct frame_reader *r, struct frame *out, double time_s)
{
    // Before the first good picture there is only the first good picture.
    const AVFrame *picture = r->have_held ? r->held : r->after;
    const int64_t ticks = r->have_held ? r->held_ticks : r->after_ticks;
    const enum err e = convert(r, picture, ticks);
    if (e)
        return e;
    *out = (struct frame){
        .rgb = r->rgb,
        .width = r->width,
        .height = r->height,
        .index = r->single ? -1 : r->next,
        .time_s = time_s,
        .shown_s = seconds_at(r->film, ticks),
    };
    r->next++;
    return ERR_OK;
}

enum err frame_reader_next(struct frame_reader *r, struct frame *out)
{
    *out = (struct frame){ 0 };
    if (r->next >= r->end)
        return ERR_OK;
    const double time_s = r->single ? r->start_s : (double) r->next / r->options.rate;
    const bool stepped = r->options.picking == FRAMES_STEPPED;
    r->single_tick = ticks_at(r->film, time_s);
    enum err e =
        stepped ? pick_counted(r, r->next * published_step(r)) : pick_shown(r, r->single_tick);
    if (!e && stepped && !r->have_held)
        return ERR_OK; // the published sampler stops where the pictures do
    if (!e && !r->have_held && !r->have_after) {
        log_error("%s: no picture can be decoded at %.3f s; copy the film again or convert it",
                  r->film->path, time_s);
        return ERR_INPUT;
    }
    if (!e)
        e = give(r, out, time_s);
    if (e == ERR_NOMEM)
        log_error("%s: no memory for a picture", r->film->path);
    return e;
}
