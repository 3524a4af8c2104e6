// Costs are fixed point, ONE to the unit. A cue is at least 1 ms and a film at most a
// day, so that no sum comes near 2^63.
#include "common/timeline/cut_choice.h"

#include <stdlib.h>

#include "common/base/log.h"

#define ONE ((int64_t) 1 << 20)
#define CLEAR_COST (-16 * ONE) // worth any lengths, and moving forced cuts on either side
#define FORCED_COST (3 * ONE)
#define UNREACHED INT64_MAX
#define CELLS_PER_MAX_CUE 128
#define MOST_CELLS_PER_MAX_CUE 4096 // where the limits are so near that more are needed
#define MAX_CELLS_LOG2 17           // of the whole film; both bound the work

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
    int64_t min, low, middle, high, max; // ms
    int64_t below, above;                // ONE << 20 over the width of each slope
};

struct choice {
    int64_t duration;
    int64_t cell; // ms
    struct comfort comfort;
    struct point *points; // [0] is the start of the film, [count - 1] its end
    uint32_t count;
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
                         .middle = middle,
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
    return x * x >> 20;
}

// Whether `other` is a change in its own right beside `p`, and not the weaker half of one
// transition that the detector saw twice.
static bool stands_beside(const struct choice *c, const struct point *p,
                          const struct point *other)
{
    return other->scene && (llabs(other->at_ms - p->at_ms) >= c->cell ||
                            other->scene->strength >= p->scene->strength);
}

static bool is_as_strong(const struct choice *c, const struct point *p,
                         const struct point *other)
{
    (void) c;
    return other->scene && other->scene->strength >= p->scene->strength;
}

typedef bool rival(const struct choice *c, const struct point *p, const struct point *other);

// Time from point i to the nearest rival before (step -1) or after (step 1) it,
// `most` when there is none so near.
static int64_t time_to(const struct choice *c, uint32_t i, int step, rival *is_rival,
                       int64_t most)
{
    const struct point *p = &c->points[i];
    for (const struct point *q = p + step;; q += step) {
        const int64_t time = llabs(q->at_ms - p->at_ms);
        if (time >= most || q == c->points || q == c->points + c->count - 1)
            return most;
        if (is_rival(c, p, q))
            return time;
    }
}

// 0..ONE: how long nothing like it happens on either side, of `most`.
static int64_t solitude(const struct choice *c, uint32_t i, rival *is_rival, int64_t most)
{
    return min_of(time_to(c, i, -1, is_rival, most), time_to(c, i, 1, is_rival, most)) * ONE /
           most;
}

// A weak change costs more than any length: it is used only where max forces a cut.
static int64_t scene_cost(const struct choice *c, uint32_t i)
{
    const int64_t prominence = solitude(c, i, is_as_strong, c->comfort.middle);
    const int64_t isolation = solitude(c, i, stands_beside, c->comfort.min);
    const int64_t merit = max_of(prominence, isolation);
    return merit == ONE ? CLEAR_COST : 2 * ONE - merit;
}

// One point a cell: its strongest change, the first of equals, or else its beginning.
static void gather_points(struct choice *c, const struct plan_scene *scenes,
                          uint32_t scene_count)
{
    c->points[c->count++] = (struct point){ .at_ms = 0 };
    uint32_t s = 0;
    for (int64_t start = 0; start < c->duration; start += c->cell) {
        const struct plan_scene *strongest = NULL;
        for (; s < scene_count && scenes[s].at_ms < start + c->cell; s++)
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
        fixed[at] = c->points[i].scene || i == 0 || i == c->count - 1;
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

// Two changes that can both be cut at are not in one cell, unless max is very long.
static int64_t cell_width(int64_t duration, int64_t min, int64_t max)
{
    const int64_t wanted = min_of(min_of(max / CELLS_PER_MAX_CUE, (max - min) / 8), min / 2);
    const int64_t least = max_of(max / MOST_CELLS_PER_MAX_CUE, duration >> MAX_CELLS_LOG2);
    return max_of(1, max_of(wanted, least));
}

static enum err choice_init(struct choice *c, int64_t duration, const struct plan_scene *scenes,
                            uint32_t scene_count, int64_t min, int64_t max)
{
    *c = (struct choice){ .duration = duration, .comfort = comfort_of(min, max) };
    c->cell = cell_width(duration, min, max);
    const size_t cells = (size_t) (duration / c->cell) + 1;
    c->points = calloc(cells + 2, sizeof(*c->points));
    if (!c->points)
        return ERR_NOMEM;
    gather_points(c, scenes, scene_count);
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
    free(c.points);
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
