// Costs are fixed point, ONE to the unit. A cue is at least 1 ms and a film at most a
// day, so that no sum comes near 2^63.
#include "common/timeline/cut_choice.h"

#include <stdlib.h>

#include "common/base/log.h"

#define ONE ((int64_t) 1 << 20)
#define FORCED_COST (2 * ONE)
#define UNREACHED INT64_MAX
#define CELLS_PER_MAX_CUE 128
#define MAX_CELLS_LOG2 17 // of the whole film: bounds the work, whatever the limits

// A place where a cue may end.
struct point {
    int64_t at_ms;
    const struct plan_scene *scene; // NULL: forced, or an end of the film
    int64_t cost;                   // of cutting here
    int64_t best;                   // the cheapest way from the start to here
    uint32_t previous;              // on that way
};

// What a cue's length costs: 0 from low to high, 1 at the limits.
struct comfort {
    int64_t min, low, high, max; // ms
    int64_t below, above;        // ONE << 20 over the width of each slope
};

struct choice {
    int64_t duration;
    int64_t cell; // ms
    struct comfort comfort;
    struct point *points; // [0] is the start of the film, [count - 1] its end
    uint32_t count;
    int32_t *strengths; // all of the film's, ascending
    uint32_t scene_count;
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t square_root(int64_t n)
{
    int64_t root = 0;
    for (int64_t bit = (int64_t) 1 << 31; bit; bit >>= 1)
        if ((root + bit) * (root + bit) <= n)
            root += bit;
    return root;
}

// The geometric mean of the limits is comfortable whatever they are.
static struct comfort comfort_of(int64_t min, int64_t max)
{
    const int64_t middle = square_root(min * max);
    struct comfort c = { .min = min,
                         .low = min_of(2 * min, middle),
                         .high = max_of(max / 2, middle),
                         .max = max };
    c.below = c.low > min ? (ONE << 20) / (c.low - min) : 0;
    c.above = max > c.high ? (ONE << 20) / (max - c.high) : 0;
    return c;
}

static int64_t length_cost(const struct comfort *c, int64_t length)
{
    int64_t x = 0;
    if (length < c->low)
        x = (c->low - length) * c->below >> 20;
    else if (length > c->high)
        x = (length - c->high) * c->above >> 20;
    return x * x / ONE;
}

static int by_strength(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *) a, y = *(const int32_t *) b;
    return (x > y) - (x < y);
}

// How many of the film's scene changes are weaker than `strength`.
static uint32_t weaker_than(const struct choice *c, int64_t strength)
{
    uint32_t low = 0, high = c->scene_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (c->strengths[middle] < strength)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// 0..ONE: the share of changes weaker than this one; of its equals, half count.
static int64_t rank_of(const struct choice *c, int32_t strength)
{
    const int64_t weaker = weaker_than(c, strength);
    const int64_t not_stronger = weaker_than(c, (int64_t) strength + 1);
    return (weaker + not_stronger) * ONE / (2 * (int64_t) c->scene_count);
}

// Whether `other` is a change in its own right beside `p`, and not the weaker half of one
// transition that the detector saw twice.
static bool stands_beside(const struct choice *c, const struct point *p,
                          const struct point *other)
{
    return !other->scene || llabs(other->at_ms - p->at_ms) >= c->cell ||
           other->scene->strength >= p->scene->strength;
}

static bool is_end(const struct choice *c, uint32_t i)
{
    return i == 0 || i == c->count - 1;
}

// Time to the nearest change, or end of the film, before (step -1) or after (step
// 1) point i. Looks no further than `reach`.
static int64_t gap(const struct choice *c, uint32_t i, int step, int64_t reach)
{
    const struct point *p = &c->points[i];
    for (uint32_t k = i;;) {
        k = (uint32_t) ((int64_t) k + step);
        const struct point *q = &c->points[k];
        const int64_t distance = llabs(q->at_ms - p->at_ms);
        if (distance >= reach)
            return reach;
        if (is_end(c, k) || (q->scene && stands_beside(c, p, q)))
            return distance;
    }
}

static int64_t scene_cost(const struct choice *c, uint32_t i)
{
    const int64_t reach = 2 * c->comfort.min;
    const int64_t alone = min_of(gap(c, i, -1, reach), gap(c, i, 1, reach));
    const int64_t merit = max_of(rank_of(c, c->points[i].scene->strength), alone * ONE / reach);
    return ONE - merit * 10 / 9;
}

// One point a cell: its strongest change, the first of equals, or else its beginning.
static void gather_points(struct choice *c, const struct plan_scene *scenes)
{
    c->points[c->count++] = (struct point){ .at_ms = 0 };
    uint32_t s = 0;
    for (int64_t start = 0; start < c->duration; start += c->cell) {
        const struct plan_scene *strongest = NULL;
        for (; s < c->scene_count && scenes[s].at_ms < start + c->cell; s++)
            if (!strongest || scenes[s].strength > strongest->strength)
                strongest = &scenes[s];
        if (strongest)
            c->points[c->count++] = (struct point){ strongest->at_ms, strongest, 0, 0, 0 };
        else if (start > 0)
            c->points[c->count++] = (struct point){ start, NULL, FORCED_COST, 0, 0 };
    }
    c->points[c->count++] = (struct point){ .at_ms = c->duration };
    for (uint32_t i = 1; i + 1 < c->count; i++)
        if (c->points[i].scene)
            c->points[i].cost = scene_cost(c, i);
}

// The cheapest way to every point. False when the end cannot be reached: the limits
// are nearer to each other than the cells are wide.
static bool find_way(struct choice *c)
{
    struct point *p = c->points;
    for (uint32_t j = 1, first = 0; j < c->count; j++) {
        p[j].best = UNREACHED;
        while (p[j].at_ms - p[first].at_ms > c->comfort.max)
            first++;
        for (uint32_t i = first; p[j].at_ms - p[i].at_ms >= c->comfort.min; i++) {
            if (p[i].best == UNREACHED)
                continue;
            const int64_t cost = p[i].best + length_cost(&c->comfort, p[j].at_ms - p[i].at_ms);
            if (cost < p[j].best) {
                p[j].best = cost;
                p[j].previous = i;
            }
        }
        if (p[j].best != UNREACHED)
            p[j].best += p[j].cost;
    }
    return p[c->count - 1].best != UNREACHED;
}

// out[i] = the way's cut points; *fixed tells which are not forced.
static uint32_t walk_back(const struct choice *c, int64_t *out, bool *fixed)
{
    uint32_t cues = 0;
    for (uint32_t i = c->count - 1; i; i = c->points[i].previous)
        cues++;
    uint32_t at = cues;
    for (uint32_t i = c->count - 1;; i = c->points[i].previous) {
        out[at] = c->points[i].at_ms;
        fixed[at] = c->points[i].scene || is_end(c, i);
        if (at-- == 0)
            return cues;
    }
}

// Equal pieces between out[0] and out[pieces], which stay.
static void divide(int64_t *out, uint32_t pieces)
{
    const int64_t length = out[pieces] - out[0];
    for (uint32_t k = 1; k < pieces; k++)
        out[k] = out[0] + length * k / pieces;
}

// Pieces whose mean is within the limits are within them when they are equal.
static void spread_forced(int64_t *out, const bool *fixed, uint32_t cues)
{
    for (uint32_t from = 0, to = 1; to <= cues; to++)
        if (fixed[to]) {
            divide(out + from, to - from);
            from = to;
        }
}

static enum err divide_film(int64_t **points, uint32_t *cues, int64_t duration, int64_t pieces)
{
    int64_t *out = calloc((size_t) pieces + 1, sizeof(*out));
    if (!out)
        return ERR_NOMEM;
    out[pieces] = duration;
    divide(out, (uint32_t) pieces);
    *points = out;
    *cues = (uint32_t) pieces;
    return ERR_OK;
}

static void choice_finish(struct choice *c)
{
    free(c->points);
    free(c->strengths);
}

static enum err choice_init(struct choice *c, int64_t duration, const struct plan_scene *scenes,
                            uint32_t scene_count, int64_t min, int64_t max)
{
    *c = (struct choice){ .duration = duration,
                          .comfort = comfort_of(min, max),
                          .scene_count = scene_count };
    c->cell =
        max_of(min_of(max / CELLS_PER_MAX_CUE, (max - min) / 8), duration >> MAX_CELLS_LOG2);
    c->cell = max_of(c->cell, 1);
    const size_t cells = (size_t) (duration / c->cell) + 1;
    c->points = calloc(cells + 2, sizeof(*c->points));
    c->strengths = calloc((size_t) scene_count + 1, sizeof(*c->strengths));
    if (!c->points || !c->strengths) {
        choice_finish(c);
        return ERR_NOMEM;
    }
    for (uint32_t i = 0; i < scene_count; i++)
        c->strengths[i] = scenes[i].strength;
    qsort(c->strengths, scene_count, sizeof(*c->strengths), by_strength);
    gather_points(c, scenes);
    return ERR_OK;
}

static enum err choose(int64_t **points, uint32_t *cues, int64_t duration,
                       const struct plan_scene *scenes, uint32_t scene_count, int64_t min,
                       int64_t max)
{
    const int64_t fewest = (duration + max - 1) / max;
    if (duration < 2 * min || fewest * min > duration)
        return divide_film(points, cues, duration, fewest);

    struct choice c;
    enum err e = choice_init(&c, duration, scenes, scene_count, min, max);
    if (e)
        return e;
    int64_t *out = calloc(c.count, sizeof(*out));
    bool *fixed = calloc(c.count, sizeof(*fixed));
    if (!out || !fixed) {
        free(out);
        e = ERR_NOMEM;
    } else if (find_way(&c)) {
        *cues = walk_back(&c, out, fixed);
        spread_forced(out, fixed, *cues);
        *points = out;
    } else {
        free(out);
        e = divide_film(points, cues, duration, fewest);
    }
    free(fixed);
    choice_finish(&c);
    return e;
}

enum err choose_cuts(int64_t **points, uint32_t *cues, int64_t duration_ms,
                     const struct plan_scene *scenes, uint32_t scene_count, int64_t min_ms,
                     int64_t max_ms)
{
    const enum err e = choose(points, cues, duration_ms, scenes, scene_count, min_ms, max_ms);
    if (e)
        log_error("plan: out of memory");
    return e;
}
