#include "common/media/picture_graph.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/bprint.h>
#include <libavutil/pixdesc.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/media/film_input.h"
#include "common/media/libav_log.h"

#define HDR_MAX_SHORT_SIDE 1080 // tone mapping works in 32-bit floats: 12 bytes a pixel
#define SCORE_LONG_SIDE 320

// What a graph was made for.
struct form {
    int format, width, height;
    bool interlaced;
    enum AVColorTransferCharacteristic transfer;
    enum AVColorPrimaries primaries;
    enum AVColorSpace matrix;
    enum AVColorRange range;
};

struct picture_graph {
    const struct film *film;
    void (*describe)(const struct picture_graph *g, AVBPrint *text);
    AVFilterGraph *graph;
    AVFilterContext *source, *sink;
    struct form form;
};

static struct form form_of(const AVFrame *f)
{
    return (struct form){ f->format,    f->width,           f->height,     f->interlaced_frame,
                          f->color_trc, f->color_primaries, f->colorspace, f->color_range };
}

static bool same_form(const struct form *a, const struct form *b)
{
    return a->format == b->format && a->width == b->width && a->height == b->height &&
           a->interlaced == b->interlaced && a->transfer == b->transfer &&
           a->primaries == b->primaries && a->matrix == b->matrix && a->range == b->range;
}

static bool is_hdr(const struct form *f)
{
    return f->transfer == AVCOL_TRC_SMPTE2084 || f->transfer == AVCOL_TRC_ARIB_STD_B67;
}

// The size to scale to, before the rotation: the film's display size.
static void unrotated_size(const struct film *f, uint32_t *w, uint32_t *h)
{
    const bool turned = f->rotation % 180 != 0;
    *w = turned ? f->height : f->width;
    *h = turned ? f->width : f->height;
}

static void shrink_to(uint32_t *w, uint32_t *h, uint32_t max_short)
{
    const uint32_t shorter = *w < *h ? *w : *h;
    if (shorter <= max_short)
        return;
    *w = (uint32_t) ((uint64_t) *w * max_short / shorter);
    *h = (uint32_t) ((uint64_t) *h * max_short / shorter);
}

// PQ and HLG to BT.709: to linear light, tone-mapped with the Hable curve. Tags
// that HDR files often lack are taken as BT.2020's.
static void describe_tone_mapping(const struct form *f, AVBPrint *text)
{
    av_bprintf(text,
               "zscale=transferin=%s:primariesin=bt2020:matrixin=%s:transfer=linear:npl=100,"
               "format=gbrpf32le,zscale=primaries=bt709,tonemap=hable:desat=0,"
               "zscale=transfer=bt709:matrix=bt709:range=full,format=gbrp,",
               f->transfer == AVCOL_TRC_SMPTE2084 ? "smpte2084" : "arib-std-b67",
               f->matrix == AVCOL_SPC_RGB ? "gbr" : "bt2020nc");
}

static void describe_rotation(const struct film *f, AVBPrint *text)
{
    if (f->mirrored)
        av_bprintf(text, ",hflip");
    if (f->rotation == 90)
        av_bprintf(text, ",transpose=clock");
    if (f->rotation == 180)
        av_bprintf(text, ",hflip,vflip");
    if (f->rotation == 270)
        av_bprintf(text, ",transpose=cclock");
}

static bool can_tone_map(void)
{
    return avfilter_get_by_name("zscale") && avfilter_get_by_name("tonemap");
}

static void describe_rgb(const struct picture_graph *g, AVBPrint *text)
{
    uint32_t w, h;
    unrotated_size(g->film, &w, &h);
    if (g->form.interlaced)
        av_bprintf(text, "estdif=mode=frame:deint=interlaced,");
    if (is_hdr(&g->form) && can_tone_map()) {
        shrink_to(&w, &h, HDR_MAX_SHORT_SIDE);
        av_bprintf(text, "scale=%u:%u:flags=bicubic,", w, h);
        describe_tone_mapping(&g->form, text);
    }
    av_bprintf(text, "scale=%u:%u:flags=bicubic,format=rgb24", w, h);
    describe_rotation(g->film, text);
}

static void describe_score(const struct picture_graph *g, AVBPrint *text)
{
    const uint32_t w = (uint32_t) g->form.width, h = (uint32_t) g->form.height;
    const uint32_t longer = w > h ? w : h;
    const uint32_t to = longer < SCORE_LONG_SIDE ? longer : SCORE_LONG_SIDE;
    const uint32_t sw = (uint32_t) ((uint64_t) w * to / longer),
                   sh = (uint32_t) ((uint64_t) h * to / longer);
    av_bprintf(text, "scale=%u:%u:flags=fast_bilinear,format=gray,scdet=threshold=100",
               sw < 8 ? 8 : sw, sh < 8 ? 8 : sh);
}

static enum err make(struct picture_graph **out, const struct film *film,
                     void (*describe)(const struct picture_graph *, AVBPrint *))
{
    *out = calloc(1, sizeof(**out));
    if (!*out) {
        log_error("%s: out of memory", film->path);
        return ERR_NOMEM;
    }
    (*out)->film = film;
    (*out)->describe = describe;
    return ERR_OK;
}

enum err picture_graph_to_rgb(struct picture_graph **out, const struct film *film)
{
    if (film->hdr && !can_tone_map())
        log_warn(
            "%s: this FFmpeg has no zscale filter; the HDR picture is seen without tone mapping",
            film->path);
    return make(out, film, describe_rgb);
}

enum err picture_graph_to_score(struct picture_graph **out, const struct film *film)
{
    return make(out, film, describe_score);
}

void picture_graph_destroy(struct picture_graph **g)
{
    if (!*g)
        return;
    avfilter_graph_free(&(*g)->graph);
    free(*g);
    *g = NULL;
}

// buffer -> the description -> buffersink
static int link_graph(struct picture_graph *g, const char *source_args, const char *description)
{
    AVFilterInOut *inputs = avfilter_inout_alloc(), *outputs = avfilter_inout_alloc();
    int r = inputs && outputs ? 0 : AVERROR(ENOMEM);
    if (r >= 0)
        r = avfilter_graph_create_filter(&g->source, avfilter_get_by_name("buffer"), "in",
                                         source_args, NULL, g->graph);
    if (r >= 0)
        r = avfilter_graph_create_filter(&g->sink, avfilter_get_by_name("buffersink"), "out",
                                         NULL, NULL, g->graph);
    if (r >= 0) {
        *outputs = (AVFilterInOut){ .name = av_strdup("in"), .filter_ctx = g->source };
        *inputs = (AVFilterInOut){ .name = av_strdup("out"), .filter_ctx = g->sink };
        r = avfilter_graph_parse_ptr(g->graph, description, &inputs, &outputs, NULL);
    }
    avfilter_inout_free(&inputs);
    avfilter_inout_free(&outputs);
    return r < 0 ? r : avfilter_graph_config(g->graph, NULL);
}

static int build(struct picture_graph *g, const AVFrame *like)
{
    avfilter_graph_free(&g->graph);
    g->form = form_of(like);
    g->graph = avfilter_graph_alloc();
    if (!g->graph)
        return AVERROR(ENOMEM);
    g->graph->nb_threads = 1;
    AVBPrint source, text;
    av_bprint_init(&source, 0, AV_BPRINT_SIZE_AUTOMATIC);
    av_bprint_init(&text, 0, AV_BPRINT_SIZE_UNLIMITED);
    av_bprintf(&source, "video_size=%dx%d:pix_fmt=%d:time_base=%d/%d:frame_rate=25",
               like->width, like->height, like->format, g->film->tick_num, g->film->tick_den);
    g->describe(g, &text);
    const int r =
        av_bprint_is_complete(&text) ? link_graph(g, source.str, text.str) : AVERROR(ENOMEM);
    av_bprint_finalize(&text, NULL);
    return r;
}

// A filter that waits for the next picture (the deinterlacer) is told that
// there is none; such a graph is good for one picture only.
static int run(struct picture_graph *g, AVFrame *out, const AVFrame *in)
{
    const struct form form = form_of(in);
    int r = 0;
    if (!g->graph || !same_form(&form, &g->form))
        r = build(g, in);
    if (r >= 0)
        r = av_buffersrc_write_frame(g->source, in);
    if (r >= 0 && g->form.interlaced && g->describe == describe_rgb)
        r = av_buffersrc_close(g->source, AV_NOPTS_VALUE, 0);
    if (r >= 0)
        r = av_buffersink_get_frame(g->sink, out);
    if (r < 0 || (g->form.interlaced && g->describe == describe_rgb))
        avfilter_graph_free(&g->graph);
    return r;
}

enum err picture_graph_run(struct picture_graph *g, AVFrame *out, const AVFrame *in)
{
    libav_log_forget();
    const int r = run(g, out, in);
    if (r >= 0)
        return ERR_OK;
    log_error("%s: a picture (%d x %d, %s) cannot be converted: %s", g->film->path, in->width,
              in->height, av_get_pix_fmt_name(in->format), libav_log_reason(r));
    return err_from_libav(r, ERR_INPUT);
}
