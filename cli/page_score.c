// page_score: pictures, cues, segments, outline and spectrogram along one line of time.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/clock_text.h"
#include "cli/page_parts.h"
#include "common/base/html.h"
#include "common/base/interrupt.h"
#include "common/media/frames.h"

#define MAX_PICTURES 240 // of a long film not every cue has one
#define PICTURE_SIDE 256
#define CUE_WIDTH_PX 44   // a long film is scrolled through
#define OUTLINE_HALF 50.0 // of the outline's height, in units of its viewBox
#define WIDTH 1000.0      // of every viewBox

// A place in the film, across.
static double across(const struct page *p, double ms, double width)
{
    return width * ms / (double) p->story->plan->film.duration_ms;
}

static const struct plan_cue *cue_of(const struct page *p, uint32_t i)
{
    return &p->story->plan->cues[i];
}

static void write_place(const struct page *p, int64_t from_ms, int64_t to_ms)
{
    const double left = across(p, (double) from_ms, 100);
    fprintf(p->out, "left:%.3f%%;width:%.3f%%", left, across(p, (double) to_ms, 100) - left);
}

static bool cancelled(void *user)
{
    (void) user;
    return interrupt_asked();
}

// The picture in the middle of a cue.
static enum err write_picture(const struct page *p, struct frame_reader *reader, uint32_t cue,
                              uint32_t step)
{
    const struct plan_cue *c = cue_of(p, cue);
    const uint32_t last = cue + step <= p->story->plan->cue_count
                              ? cue + step - 1
                              : p->story->plan->cue_count - 1;
    const int64_t to_ms = cue_of(p, last)->next_cut_ms;
    const int64_t middle = (c->cut_ms + to_ms) / 2;
    struct frame frame;
    struct media_bytes jpeg = { 0 };
    enum err e = frame_reader_window(reader, middle, middle + 1);
    if (!e)
        e = frame_reader_next(reader, &frame);
    if (!e)
        e = picture_jpeg(&jpeg, frame.rgb, frame.width, frame.height, PICTURE_SIDE);
    if (e)
        return e;
    fputs("<img alt=\"\" style=\"", p->out);
    write_place(p, c->cut_ms, to_ms);
    fputs("\" src=\"data:image/jpeg;base64,", p->out);
    html_base64(p->out, jpeg.data, jpeg.count);
    fputs("\">\n", p->out);
    media_bytes_release(&jpeg);
    return ERR_OK;
}

static enum err write_pictures(const struct page *p)
{
    const uint32_t cues = p->story->plan->cue_count;
    const uint32_t step = (cues + MAX_PICTURES - 1) / MAX_PICTURES;
    const struct media_hooks hooks = { .cancelled = cancelled };
    struct frame_reader *reader;
    // A rate so low that each window asks for one picture: the one at its start.
    enum err e = frame_reader_open(&reader, p->story->film,
                                   &(struct frame_options){ .rate = 1e-3, .hooks = &hooks });
    fputs("<div class=\"row pictures\">\n", p->out);
    for (uint32_t i = 0; !e && i < cues; i += step)
        e = write_picture(p, reader, i, step);
    fputs("</div>\n", p->out);
    frame_reader_close(&reader);
    return e;
}

static void open_svg(const struct page *p, const char *name, double height)
{
    fprintf(p->out,
            "<svg class=\"%s\" viewBox=\"0 0 %g %g\" preserveAspectRatio=\"none\" "
            "aria-hidden=\"true\">\n",
            name, WIDTH, height);
}

// Where its fade in ends and its fade out begins.
static void steady_part(const struct page *p, uint32_t cue, int64_t *from_ms, int64_t *to_ms)
{
    const uint32_t cues = p->story->plan->cue_count;
    *from_ms = cue > 0 ? cue_of(p, cue - 1)->end_ms : cue_of(p, cue)->start_ms;
    *to_ms = cue + 1 < cues ? cue_of(p, cue + 1)->start_ms : cue_of(p, cue)->end_ms;
}

// A cue rises and falls as its neighbours fade.
static void write_cue_shape(const struct page *p, uint32_t i)
{
    const struct plan_cue *c = cue_of(p, i);
    int64_t full_from, full_to;
    steady_part(p, i, &full_from, &full_to);
    fprintf(p->out, "<polygon class=\"c%u\" points=\"%.2f,40 %.2f,0 %.2f,0 %.2f,40\"/>\n",
            i % 2, across(p, (double) c->start_ms, WIDTH), across(p, (double) full_from, WIDTH),
            across(p, (double) full_to, WIDTH), across(p, (double) c->end_ms, WIDTH));
}

// Segments lie in two lines, so that each is seen under the one it goes on from.
static void write_segment(const struct page *p, const struct plan_segment *s)
{
    const double y = s->index % 2 ? 57 : 46, from = across(p, (double) s->start_ms, WIDTH);
    const double width = across(p, (double) s->end_ms, WIDTH) - from;
    const double heard = across(p, (double) s->overlap_ms, WIDTH);
    fprintf(p->out, "<rect class=\"c%u\" x=\"%.2f\" y=\"%g\" width=\"%.2f\" height=\"8\"/>\n",
            s->cue % 2, from, y, width);
    if (s->overlap_ms > 0)
        fprintf(p->out,
                "<rect class=\"heard\" x=\"%.2f\" y=\"%g\" width=\"%.2f\" height=\"8\"/>\n",
                from, y, heard);
}

static void write_cue_label(const struct page *p, uint32_t i)
{
    const struct loudness *l = &p->story->finished->sound.parts[i];
    fputs("<span style=\"", p->out);
    write_place(p, cue_of(p, i)->cut_ms, cue_of(p, i)->next_cut_ms);
    fprintf(p->out, "\"><b>%u</b><br>", i);
    html_number(p->out, l->integrated_lufs, 1);
    fputs("</span>\n", p->out);
}

static void write_structure(const struct page *p)
{
    const struct plan *plan = p->story->plan;
    fputs("<div class=\"row structure\">\n", p->out);
    open_svg(p, "shapes", 67);
    for (uint32_t i = 0; i < plan->cue_count; i++)
        write_cue_shape(p, i);
    for (uint32_t i = 0; i < plan->segment_count; i++)
        write_segment(p, &plan->segments[i]);
    fputs("</svg>\n", p->out);
    for (uint32_t i = 0; i < plan->cue_count; i++)
        write_cue_label(p, i);
    fputs("</div>\n", p->out);
}

// One closed line around `level`, mirrored: forth above, back below.
static void write_outline(const struct page *p, const char *name, uint32_t cue,
                          const float *level, uint32_t from, uint32_t to, float full)
{
    const double step = WIDTH / p->story->finished->sound.columns;
    fprintf(p->out, "<path class=\"%s c%u\" d=\"M%.1f %g", name, cue % 2, from * step,
            OUTLINE_HALF);
    for (uint32_t c = from; c < to; c++)
        fprintf(p->out, "L%.1f %.1f", (c + 0.5) * step,
                OUTLINE_HALF * (1 - (double) (level[c] / full)));
    fprintf(p->out, "L%.1f %g", to * step, OUTLINE_HALF);
    for (uint32_t c = to; c-- > from;)
        fprintf(p->out, "L%.1f %.1f", (c + 0.5) * step,
                OUTLINE_HALF * (1 + (double) (level[c] / full)));
    fputs("Z\"/>\n", p->out);
}

static uint32_t column_at(const struct page *p, int64_t ms)
{
    const uint32_t columns = p->story->finished->sound.columns;
    const double c = across(p, (double) ms, columns);
    return c < columns ? (uint32_t) lrint(c) : columns;
}

static void write_waveform(const struct page *p)
{
    const struct sound_picture *sound = &p->story->finished->sound;
    float full = 1e-3f;
    for (uint32_t c = 0; c < sound->columns; c++)
        full = sound->peak[c] > full ? sound->peak[c] : full;
    fputs("<div class=\"row\">\n", p->out);
    open_svg(p, "waveform", 2 * OUTLINE_HALF);
    for (uint32_t i = 0; i < p->story->plan->cue_count; i++) {
        const uint32_t from = column_at(p, cue_of(p, i)->cut_ms);
        const uint32_t to = column_at(p, cue_of(p, i)->next_cut_ms);
        write_outline(p, "peak", i, sound->peak, from, to, full);
        write_outline(p, "rms", i, sound->rms, from, to, full);
    }
    fputs("</svg>\n</div>\n", p->out);
}

// From the screen's own dark to light, straight between these.
static void make_palette(uint32_t palette[256])
{
    static const struct {
        double at, r, g, b;
    } stops[] = {
        { 0, 16, 18, 26 },     { 0.25, 34, 32, 78 },   { 0.5, 122, 44, 116 },
        { 0.72, 221, 96, 74 }, { 0.88, 247, 180, 86 }, { 1, 255, 245, 214 },
    };
    for (size_t i = 0, k = 0; i < 256; i++) {
        const double at = (double) i / 255;
        while (at > stops[k + 1].at)
            k++;
        const double t = (at - stops[k].at) / (stops[k + 1].at - stops[k].at);
        const double r = stops[k].r + t * (stops[k + 1].r - stops[k].r);
        const double g = stops[k].g + t * (stops[k + 1].g - stops[k].g);
        const double b = stops[k].b + t * (stops[k + 1].b - stops[k].b);
        palette[i] = 0xff000000u | (uint32_t) lrint(r) << 16 | (uint32_t) lrint(g) << 8 |
                     (uint32_t) lrint(b);
    }
}

static enum err write_spectrogram(const struct page *p)
{
    const struct sound_picture *sound = &p->story->finished->sound;
    uint32_t palette[256];
    struct media_bytes png;
    make_palette(palette);
    const enum err e = picture_png(&png, sound->shade, palette, sound->columns, sound->bands);
    if (e)
        return e;
    fputs("<div class=\"row\"><img class=\"spectrogram\" alt=\"Spectrogram of the music\" "
          "src=\"data:image/png;base64,",
          p->out);
    html_base64(p->out, png.data, png.count);
    fputs("\"></div>\n", p->out);
    media_bytes_release(&png);
    return ERR_OK;
}

static void write_cuts(const struct page *p)
{
    open_svg(p, "cuts", 1);
    for (uint32_t i = 1; i < p->story->plan->cue_count; i++) {
        const double x = across(p, (double) cue_of(p, i)->cut_ms, WIDTH);
        fprintf(p->out, "<line%s x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"1\"/>\n",
                cue_of(p, i)->opening == PLAN_FORCED ? " class=\"forced\"" : "", x, x);
    }
    fputs("</svg>\n", p->out);
}

// A step that leaves at most ten labels.
static int64_t ruler_step_ms(int64_t length_ms)
{
    static const int64_t steps[] = { 100,    200,     500,     1000,    2000,   5000,
                                     10000,  20000,   30000,   60000,   120000, 300000,
                                     600000, 1200000, 1800000, 3600000, 7200000 };
    size_t i = 0;
    while (i + 1 < sizeof(steps) / sizeof(steps[0]) && length_ms / steps[i] > 10)
        i++;
    return steps[i];
}

static void write_ruler(const struct page *p)
{
    const struct plan *plan = p->story->plan;
    const int64_t step = ruler_step_ms(plan->film.duration_ms);
    fputs("<div class=\"ruler\">\n", p->out);
    open_svg(p, "changes", 1);
    for (uint32_t i = 0; i < plan->scene_count; i++) {
        const double x = across(p, (double) plan->scenes[i].at_ms, WIDTH);
        fprintf(p->out, "<line x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"1\"/>\n", x, x);
    }
    fputs("</svg>\n", p->out);
    const int64_t room = plan->film.duration_ms - step / 3; // for the last label
    for (int64_t ms = 0; ms < room; ms += step) {
        char at[CLOCK_TEXT_BYTES];
        char *point = strrchr(clock_text(at, ms), '.');
        if (point && step % 1000 == 0)
            *point = 0;
        fprintf(p->out, "<span style=\"left:%.3f%%\">", across(p, (double) ms, 100));
        html_text(p->out, at);
        fputs("</span>\n", p->out);
    }
    fputs("</div>\n", p->out);
}

static const char caption[] =
    "<p class=\"caption\">From above: each cue\u2019s picture; the cues with their loudness in LUFS, "
    "slanted where they fade into each other; the segments that the model composed, "
    "dim where one goes on from the end of another; the music\u2019s outline, peak and RMS; its "
    "spectrogram, 40 Hz to 16 kHz. Ticks at the ruler are scene changes, dashed lines are cuts "
    "where there was none.</p>\n";

enum err page_score(const struct page *p)
{
    const struct plan *plan = p->story->plan;
    fprintf(p->out,
            "<section class=\"score\">\n<div class=\"scroll\">\n"
            "<div class=\"roll\" id=\"roll\" data-seconds=\"%.3f\" data-lead=\"%.4f\" "
            "style=\"min-width:%upx\">\n",
            (double) plan->film.duration_ms / 1000, p->story->finished->delivery.lead_s,
            plan->cue_count * CUE_WIDTH_PX);
    enum err e = write_pictures(p);
    if (e)
        return e;
    write_structure(p);
    write_waveform(p);
    e = write_spectrogram(p);
    if (e)
        return e;
    write_cuts(p);
    write_ruler(p);
    fputs("<div id=\"head\" hidden></div>\n</div>\n</div>\n", p->out);
    fputs(caption, p->out);
    fputs("</section>\n", p->out);
    return ERR_OK;
}
