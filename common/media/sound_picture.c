#include "common/media/sound_picture.h"

#include <libavutil/mem.h>
#include <libavutil/tx.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/media/track_writer.h"

#define WINDOW 4096 // 85 ms, bins of 11.7 Hz
#define BINS (WINDOW / 2 + 1)
#define MAX_HOP (WINDOW / 2)
#define CHUNK 4096 // samples asked of the music at a time
#define LOWEST_HZ 40.0
#define HIGHEST_HZ 16000.0

// A triangle over the bins `first` .. `first + count`.
struct band {
    uint32_t first, count;
    float *weight;
};

// The picture being drawn.
struct drawing {
    struct sound_picture *picture;
    const struct sound_picture_options *options;
    uint64_t samples; // of the music
    uint64_t taken;   // so far
    uint32_t column;  // that sample `taken` is in
    uint64_t column_from, column_to;
    double square_sum; // of the column so far

    AVTXContext *transform;
    av_tx_fn run;
    float *hann, *windowed;   // [WINDOW]
    AVComplexFloat *spectrum; // [BINS]
    struct band *bands;
    float *power;     // [bands][columns], the lowest band first: sums
    uint32_t *frames; // [columns] that were summed
    // held[] is the music from sample `held_at` on, which is counted with half a window of
    // silence before it, so that window f begins at window_start(f).
    float held[WINDOW + CHUNK];
    uint64_t held_at;
    size_t held_count;
    uint64_t window;

    struct loudness_meter *meter;
    uint32_t part;
};

static double mel(double hz)
{
    return 2595 * log10(1 + hz / 700);
}

static double hertz(double m)
{
    return 700 * (pow(10, m / 2595) - 1);
}

static bool make_band(struct band *b, uint32_t i, uint32_t bands)
{
    const double low = mel(LOWEST_HZ), step = (mel(HIGHEST_HZ) - low) / (bands + 1);
    const double bin = (double) DELIVERY_SAMPLE_RATE / WINDOW;
    const double from = hertz(low + step * i) / bin, centre = hertz(low + step * (i + 1)) / bin,
                 to = hertz(low + step * (i + 2)) / bin;
    b->first = (uint32_t) from;
    b->count = (uint32_t) ceil(to) - b->first + 1;
    b->weight = calloc(b->count, sizeof(*b->weight));
    if (!b->weight)
        return false;
    double sum = 0;
    for (uint32_t k = 0; k < b->count; k++) {
        const double x = b->first + k;
        const double w = x < centre ? (x - from) / (centre - from) : (to - x) / (to - centre);
        b->weight[k] = w > 0 ? (float) w : 0;
        sum += (double) b->weight[k];
    }
    for (uint32_t k = 0; k < b->count; k++)
        b->weight[k] = sum > 0 ? (float) ((double) b->weight[k] / sum) : 1 / (float) b->count;
    return true;
}

static bool make_transform(struct drawing *d)
{
    const float scale = 1;
    d->hann = av_calloc(WINDOW, sizeof(*d->hann));
    d->windowed = av_calloc(WINDOW, sizeof(*d->windowed));
    d->spectrum = av_calloc(BINS + 1, sizeof(*d->spectrum));
    if (!d->hann || !d->windowed || !d->spectrum ||
        av_tx_init(&d->transform, &d->run, AV_TX_FLOAT_RDFT, 0, WINDOW, &scale, 0) < 0)
        return false;
    for (int i = 0; i < WINDOW; i++)
        d->hann[i] = (float) (0.5 - 0.5 * cos(2 * M_PI * i / WINDOW));
    return true;
}

static void start_column(struct drawing *d, uint32_t column)
{
    d->column = column;
    d->column_from = d->samples * column / d->picture->columns;
    d->column_to = d->samples * (column + 1) / d->picture->columns;
    d->square_sum = 0;
}

static bool start_drawing(struct drawing *d)
{
    const struct sound_picture *p = d->picture;
    const size_t cells = (size_t) p->bands * p->columns;
    d->power = calloc(cells ? cells : 1, sizeof(*d->power));
    d->frames = calloc(p->columns, sizeof(*d->frames));
    d->bands = calloc(p->bands, sizeof(*d->bands));
    bool ok = d->power && d->frames && d->bands && make_transform(d);
    for (uint32_t i = 0; ok && i < p->bands; i++)
        ok = make_band(&d->bands[i], i, p->bands);
    d->held_count = WINDOW / 2; // zeros
    start_column(d, 0);
    return ok;
}

static void end_drawing(struct drawing *d)
{
    for (uint32_t i = 0; d->bands && i < d->picture->bands; i++)
        free(d->bands[i].weight);
    free(d->bands);
    free(d->power);
    free(d->frames);
    av_free(d->hann);
    av_free(d->windowed);
    av_free(d->spectrum);
    av_tx_uninit(&d->transform);
    loudness_meter_destroy(&d->meter);
}

// Windows overlap by half, or more where a column is shorter than that.
static uint64_t hop(const struct drawing *d)
{
    const uint64_t n = d->samples / d->picture->columns;
    return n > MAX_HOP ? MAX_HOP : n;
}

// Also the sample in its middle, without the silence before.
static uint64_t window_start(const struct drawing *d)
{
    return d->window * hop(d) + hop(d) / 2;
}

static void add_outline(struct drawing *d, const float *x, size_t n)
{
    struct sound_picture *p = d->picture;
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        p->peak[d->column] = a > p->peak[d->column] ? a : p->peak[d->column];
        d->square_sum += (double) a * (double) a;
        if (d->taken + i + 1 < d->column_to)
            continue;
        const uint64_t length = d->column_to - d->column_from;
        p->rms[d->column] = (float) sqrt(d->square_sum / (double) length);
        start_column(d, d->column + 1);
    }
}

static void add_window(struct drawing *d, const float *x)
{
    const struct sound_picture *p = d->picture;
    const uint64_t middle = window_start(d);
    const uint32_t column = (uint32_t) (middle * p->columns / d->samples);
    for (int i = 0; i < WINDOW; i++)
        d->windowed[i] = x[i] * d->hann[i];
    d->run(d->transform, d->spectrum, d->windowed, sizeof(float));
    d->frames[column]++;
    for (uint32_t b = 0; b < p->bands; b++) {
        float sum = 0;
        for (uint32_t k = 0; k < d->bands[b].count; k++) {
            const AVComplexFloat c = d->spectrum[d->bands[b].first + k];
            sum += d->bands[b].weight[k] * (c.re * c.re + c.im * c.im);
        }
        d->power[(size_t) b * p->columns + column] += sum;
    }
}

// n <= CHUNK; NULL: silence.
static void add_spectrum(struct drawing *d, const float *x, size_t n)
{
    if (x)
        memcpy(d->held + d->held_count, x, n * sizeof(*x));
    else
        memset(d->held + d->held_count, 0, n * sizeof(*x));
    d->held_count += n;
    while (window_start(d) < d->samples &&
           window_start(d) + WINDOW <= d->held_at + d->held_count) {
        add_window(d, d->held + (window_start(d) - d->held_at));
        d->window++;
    }
    const uint64_t past = window_start(d) - d->held_at;
    const size_t drop = past < d->held_count ? (size_t) past : d->held_count;
    memmove(d->held, d->held + drop, (d->held_count - drop) * sizeof(*d->held));
    d->held_count -= drop;
    d->held_at += drop;
}

static enum err end_part(struct drawing *d)
{
    const enum err e = loudness_meter_read(d->meter, &d->picture->parts[d->part++]);
    loudness_meter_destroy(&d->meter);
    return e;
}

// x[0] is sample `at` of the music.
static enum err add_loudness(struct drawing *d, const float *x, size_t n, uint64_t at)
{
    const uint64_t *bounds = d->options->parts, end = at + n;
    enum err e = ERR_OK;
    while (!e && d->part < d->options->part_count && bounds[d->part] < end) {
        const uint64_t from = bounds[d->part] > at ? bounds[d->part] : at;
        const uint64_t to = bounds[d->part + 1] < end ? bounds[d->part + 1] : end;
        if (!d->meter)
            e = loudness_meter_create(&d->meter, DELIVERY_SAMPLE_RATE, 1, true);
        if (!e)
            e = loudness_meter_add(d->meter, x + (from - at), (size_t) (to - from));
        if (!e && to < bounds[d->part + 1])
            return ERR_OK; // goes on in the next chunk
        if (!e)
            e = end_part(d);
    }
    return e;
}

static enum err read_music(struct drawing *d, struct music_stream *music)
{
    float chunk[CHUNK];
    size_t n = 1;
    while (n > 0) {
        enum err e = music_stream_read(music, chunk, CHUNK, &n);
        if (e)
            return e;
        add_outline(d, chunk, n);
        add_spectrum(d, chunk, n);
        e = add_loudness(d, chunk, n, d->taken);
        if (e)
            return e;
        d->taken += n;
    }
    add_spectrum(d, NULL, WINDOW / 2);
    return ERR_OK;
}

// Powers to shades below the loudest.
static void shade(const struct drawing *d)
{
    const struct sound_picture *p = d->picture;
    float loudest = 0;
    for (uint32_t b = 0; b < p->bands; b++)
        for (uint32_t c = 0; c < p->columns; c++) {
            float *power = &d->power[(size_t) b * p->columns + c];
            *power /= d->frames[c] ? (float) d->frames[c] : 1;
            loudest = *power > loudest ? *power : loudest;
        }
    for (uint32_t b = 0; b < p->bands; b++)
        for (uint32_t c = 0; c < p->columns; c++) {
            const double power = (double) d->power[(size_t) b * p->columns + c];
            const double db = power > 0 ? 10 * log10(power / (double) loudest) : -HUGE_VAL;
            const double v = 255 * (1 + db / SOUND_PICTURE_RANGE_DB);
            p->shade[(size_t) (p->bands - 1 - b) * p->columns + c] =
                v > 0 ? (uint8_t) lrint(v) : 0;
        }
}

static bool make_picture(struct sound_picture *p)
{
    p->peak = calloc(p->columns, sizeof(*p->peak));
    p->rms = calloc(p->columns, sizeof(*p->rms));
    p->shade = calloc((size_t) p->bands * p->columns, 1);
    p->parts = calloc(p->part_count ? p->part_count : 1, sizeof(*p->parts));
    return p->peak && p->rms && p->shade && p->parts;
}

enum err sound_picture_take(struct sound_picture *out, struct music_stream *music,
                            const struct sound_picture_options *options)
{
    const uint64_t samples = music_stream_samples(music);
    if (samples == 0 || options->columns == 0 || options->bands == 0)
        return ERR_BUG;
    *out = (struct sound_picture){
        .columns = samples < options->columns ? (uint32_t) samples : options->columns,
        .bands = options->bands,
        .part_count = options->part_count,
    };
    struct drawing *d = calloc(1, sizeof(*d));
    enum err e = ERR_NOMEM;
    if (d) {
        *d = (struct drawing){ .picture = out, .options = options, .samples = samples };
        e = make_picture(out) && start_drawing(d) ? read_music(d, music) : ERR_NOMEM;
        if (!e)
            shade(d);
        end_drawing(d);
    }
    free(d);
    if (e == ERR_NOMEM)
        log_error("no memory for a picture of the music");
    if (e)
        sound_picture_release(out);
    return e;
}

void sound_picture_release(struct sound_picture *p)
{
    free(p->peak);
    free(p->rms);
    free(p->shade);
    free(p->parts);
    *p = (struct sound_picture){ 0 };
}
