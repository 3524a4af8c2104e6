#include "common/media/preprocess.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/base/log.h"

#define MAX_SIDE 32768
#define MAX_RATIO 4096
#define PRECISION 22 // bits after the point: 32 - 8 - 2, as Pillow
#define HALF (1 << (PRECISION - 1))

// How the outputs along one direction are made: output i is the sum of
// weight[i * taps + k] * input[first[i] + k], k < used[i].
struct resampling {
    uint32_t outputs, taps;
    uint32_t *first, *used;
    int32_t *weight;
};

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2)
        return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static int32_t fixed_point(double w)
{
    return (int32_t) (w < 0 ? w * (1 << PRECISION) - 0.5 : w * (1 << PRECISION) + 0.5);
}

// Output i is pixel `at` of the whole resized line of `in` pixels, `scale`
// inputs to an output. w[] is scratch.
static void fill_output(struct resampling *r, uint32_t i, uint32_t at, uint32_t in,
                        double scale, double *w)
{
    const double widened = scale < 1 ? 1 : scale;
    const double support = 2 * widened;
    const double centre = (at + 0.5) * scale;
    int from = (int) (centre - support + 0.5);
    int to = (int) (centre + support + 0.5);
    from = from < 0 ? 0 : from;
    to = to > (int) in ? (int) in : to;
    const int n = to - from;
    double sum = 0;
    for (int k = 0; k < n; k++) {
        w[k] = bicubic((from + k - centre + 0.5) * (1 / widened));
        sum += w[k];
    }
    r->first[i] = (uint32_t) from;
    r->used[i] = (uint32_t) n;
    for (int k = 0; k < n; k++)
        r->weight[(size_t) i * r->taps + (size_t) k] =
            fixed_point(sum != 0 ? w[k] / sum : w[k]);
}

static void resampling_finish(struct resampling *r)
{
    free(r->first);
    free(r->used);
    free(r->weight);
}

// `in` pixels become `out`; the outputs are the `keep` from `skip` on.
static bool resampling_init(struct resampling *r, uint32_t in, uint32_t out, uint32_t skip,
                            uint32_t keep)
{
    const double scale = (double) in / out;
    const uint32_t taps = (uint32_t) ceil(2 * (scale < 1 ? 1 : scale)) * 2 + 1;
    *r = (struct resampling){
        .outputs = keep,
        .taps = taps,
        .first = calloc(keep, sizeof(*r->first)),
        .used = calloc(keep, sizeof(*r->used)),
        .weight = calloc((size_t) keep * taps, sizeof(*r->weight)),
    };
    double *w = calloc(taps, sizeof(*w));
    const bool ok = r->first && r->used && r->weight && w;
    for (uint32_t i = 0; ok && i < keep; i++)
        fill_output(r, i, skip + i, in, scale, w);
    free(w);
    return ok;
}

static uint8_t to_byte(int32_t sum)
{
    const int32_t v = sum >> PRECISION;
    return (uint8_t) (v < 0 ? 0 : v > 255 ? 255 : v);
}

// One output pixel from inputs `stride` bytes apart.
static void combine(uint8_t *out, const struct resampling *r, uint32_t i, const uint8_t *in,
                    size_t stride)
{
    const int32_t *w = r->weight + (size_t) i * r->taps;
    int32_t red = HALF, green = HALF, blue = HALF;
    for (uint32_t k = 0; k < r->used[i]; k++) {
        const uint8_t *p = in + (r->first[i] + k) * stride;
        red += w[k] * p[0];
        green += w[k] * p[1];
        blue += w[k] * p[2];
    }
    out[0] = to_byte(red);
    out[1] = to_byte(green);
    out[2] = to_byte(blue);
}

// narrow: [rows of the picture, side, 3], only those that `down` needs.
static void resample(uint8_t *out, uint8_t *narrow, const uint8_t *rgb, uint32_t width,
                     const struct resampling *across, const struct resampling *down)
{
    const uint32_t side = across->outputs, last = down->outputs - 1;
    const size_t row = (size_t) side * 3;
    for (uint32_t y = down->first[0]; y < down->first[last] + down->used[last]; y++)
        for (uint32_t x = 0; x < side; x++)
            combine(narrow + y * row + (size_t) x * 3, across, x, rgb + (size_t) y * width * 3,
                    3);
    for (uint32_t y = 0; y < side; y++)
        for (uint32_t x = 0; x < side; x++)
            combine(out + y * row + (size_t) x * 3, down, y, narrow + (size_t) x * 3, row);
}

static uint32_t crop_offset(uint32_t size, uint32_t side)
{
    const uint32_t spare = size - side, half = spare / 2;
    return half + (spare & half & 1); // a tie goes to the even one
}

enum err preprocess_rgb(uint8_t *out, uint32_t side, const uint8_t *rgb, uint32_t width,
                        uint32_t height)
{
    const uint32_t shorter = width < height ? width : height;
    const uint32_t longer = width < height ? height : width;
    if (!side || !shorter || side > MAX_SIDE || longer > MAX_SIDE ||
        longer / shorter > MAX_RATIO) {
        log_error("a picture of %u x %u cannot become %u x %u", width, height, side, side);
        return ERR_INPUT;
    }
    const uint32_t resized = (uint32_t) ((uint64_t) side * longer / shorter);
    const uint32_t w = width < height ? side : resized, h = width < height ? resized : side;
    struct resampling across = { 0 }, down = { 0 };
    uint8_t *narrow = malloc((size_t) height * side * 3);
    const bool ok = narrow && resampling_init(&across, width, w, crop_offset(w, side), side) &&
                    resampling_init(&down, height, h, crop_offset(h, side), side);
    if (ok)
        resample(out, narrow, rgb, width, &across, &down);
    else
        log_error("no memory to resize a picture of %u x %u", width, height);
    resampling_finish(&across);
    resampling_finish(&down);
    free(narrow);
    return ok ? ERR_OK : ERR_NOMEM;
}
