// page_facts: the tables below the score.
#include <math.h>
#include <string.h>

#include "cli/clock_text.h"
#include "cli/page_parts.h"
#include "common/base/html.h"

#define LONG_LICENCE 90 // folded away

static const char *opening_text(enum plan_opening opening)
{
    switch (opening) {
    case PLAN_FILM_START: return "the film begins";
    case PLAN_SCENE_CHANGE: return "scene change";
    case PLAN_FORCED: return "no scene change near";
    }
    return "";
}

static const struct stitch_seam *seam_into(const struct page *p, uint32_t cue)
{
    const struct finish_result *f = p->story->finished;
    for (uint32_t i = 0; i < f->seam_count; i++)
        if (f->seam_list[i].kind == STITCH_CUE &&
            f->seam_list[i].segment == p->story->plan->cues[cue].first_segment)
            return &f->seam_list[i];
    return NULL;
}

static void write_seam(const struct page *p, const struct stitch_seam *s)
{
    if (!s || !s->measured)
        return;
    fputs("likeness ", p->out);
    html_number(p->out, s->correlation, 2);
    fputs(", level step ", p->out);
    html_number(p->out, s->difference_before_db, 1);
    if (s->difference_before_db != s->difference_after_db) {
        fputs(" \u2192 ", p->out);
        html_number(p->out, s->difference_after_db, 1);
    }
    fputs(" dB", p->out);
}

static void write_cue_row(const struct page *p, uint32_t i)
{
    const struct plan_cue *c = &p->story->plan->cues[i];
    char from[CLOCK_TEXT_BYTES], length[CLOCK_TEXT_BYTES];
    fprintf(
        p->out,
        "<tr data-from=\"%.3f\" data-to=\"%.3f\"><th scope=\"row\"><i class=\"c%u\"></i>%u</th>"
        "<td>%s</td><td>%s</td><td class=\"text\">%s</td><td>%u</td><td>",
        (double) c->cut_ms / 1000, (double) c->next_cut_ms / 1000, i % 2, i,
        clock_text(from, c->cut_ms), clock_text(length, c->next_cut_ms - c->cut_ms),
        opening_text(c->opening), c->segments);
    html_number(p->out, p->story->finished->sound.parts[i].integrated_lufs, 1);
    fputs("</td><td class=\"text\">", p->out);
    write_seam(p, seam_into(p, i));
    fputs("</td></tr>\n", p->out);
}

void page_cues(const struct page *p)
{
    fputs(
        "<section>\n<h2>Cues</h2>\n<div class=\"list\"><table id=\"cues\">\n<thead><tr><th>Cue</th>"
        "<th>From</th><th>Length</th><th class=\"text\">Opened by</th><th>Segments</th><th>LUFS</th>"
        "<th class=\"text\">Seam before it</th></tr></thead>\n<tbody>\n",
        p->out);
    for (uint32_t i = 0; i < p->story->plan->cue_count; i++)
        write_cue_row(p, i);
    fputs("</tbody></table></div>\n</section>\n", p->out);
}

// A figure with its unit, what it is, and a remark.
static void begin_tile(const struct page *p, const char *what, double v, int digits,
                       const char *unit)
{
    fprintf(p->out, "<div><dt>%s</dt><dd><b>", what);
    html_number(p->out, v, digits);
    fprintf(p->out, "</b>%s%s<small>", isfinite(v) ? " " : "", isfinite(v) ? unit : "");
}

static void end_tile(const struct page *p)
{
    fputs("</small></dd></div>\n", p->out);
}

static void write_loudness_tiles(const struct page *p)
{
    const struct delivery_report *d = &p->story->finished->delivery;
    begin_tile(p, "Loudness", d->after.integrated_lufs, 1, "LUFS");
    fputs("composed at ", p->out);
    html_number(p->out, d->before.integrated_lufs, 1);
    end_tile(p);
    begin_tile(p, "True peak", d->after.true_peak_dbtp, 1, "dBTP");
    fputs("composed at ", p->out);
    html_number(p->out, d->before.true_peak_dbtp, 1);
    end_tile(p);
    begin_tile(p, "Gain", d->gain_db, 1, "dB");
    if (d->limiter_db > 0.05) {
        fputs("the limiter took off ", p->out);
        html_number(p->out, d->limiter_db, 1);
        fputs(" at most", p->out);
    } else {
        fputs("the limiter had nothing to do", p->out);
    }
    end_tile(p);
}

static void write_seam_tile(const struct page *p)
{
    const struct finish_result *f = p->story->finished;
    uint32_t inside = 0;
    double step = 0;
    for (uint32_t i = 0; i < f->seam_count; i++) {
        inside += f->seam_list[i].kind == STITCH_CONTINUATION;
        if (f->seam_list[i].measured)
            step = fmax(step, f->seam_list[i].largest_step);
    }
    begin_tile(p, "Seams", f->seam_count, 0, "");
    if (f->seam_count > 0) {
        fprintf(p->out, "%u between cues, %u inside; from sample to sample a step of ",
                f->seam_count - inside, inside);
        html_number(p->out, step, 2);
        fputs(" at most, elsewhere of ", p->out);
        html_number(p->out, f->largest_step, 2);
    } else {
        fputs("the music is one piece", p->out);
    }
    end_tile(p);
}

static void write_speed_tile(const struct page *p)
{
    if (!(p->story->took_s > 0))
        return;
    const double length_s = (double) p->story->plan->film.duration_ms / 1000;
    begin_tile(p, "Time", p->story->took_s, 1, "s");
    html_number(p->out, length_s / p->story->took_s, 2);
    fputs(" times real time, from film to film", p->out);
    end_tile(p);
}

void page_measures(const struct page *p)
{
    fputs("<section>\n<h2>Measures</h2>\n<dl class=\"tiles\">\n", p->out);
    write_loudness_tiles(p);
    write_seam_tile(p);
    write_speed_tile(p);
    fputs("</dl>\n", p->out);
}

static void begin_fact(const struct page *p, const char *what)
{
    fprintf(p->out, "<dt>%s</dt><dd>", what);
}

static void end_fact(const struct page *p)
{
    fputs("</dd>\n", p->out);
}

static void write_film_facts(const struct page *p)
{
    const struct film *film = p->story->film;
    const struct delivery_report *d = &p->story->finished->delivery;
    begin_fact(p, "Film");
    html_text(p->out, page_name(film->path));
    fprintf(p->out, ", %u\u00d7%u, ", film->width, film->height);
    html_text(p->out, film->picture_codec);
    fputs(", ", p->out);
    html_number(p->out, film->frames_per_s, 2);
    fputs(" pictures a second", p->out);
    end_fact(p);
    begin_fact(p, "Delivered");
    const char *to = p->options->output ? p->options->output : p->options->wav;
    html_text(p->out, page_name(to));
    fprintf(p->out, ", the music as %s at %d Hz", d->codec, DELIVERY_SAMPLE_RATE);
    if (p->options->output) {
        fprintf(p->out, ", track %u of %u", d->track + 1, d->streams);
        if (p->options->title) {
            fputs(", \u201c", p->out);
            html_text(p->out, p->options->title);
            fputs("\u201d", p->out);
        }
    }
    end_fact(p);
}

static void write_licence(const struct page *p)
{
    const char *licence = model_file_license(p->story->model->file);
    const bool is_long = strlen(licence) > LONG_LICENCE || strchr(licence, '\n');
    begin_fact(p, "Its licence");
    if (is_long)
        fputs("<details><summary>show</summary><pre>", p->out);
    html_text(p->out, *licence ? licence : "none was given");
    if (is_long)
        fputs("</pre></details>", p->out);
    end_fact(p);
}

static void write_model_facts(const struct page *p)
{
    const struct job_model *m = p->story->model;
    begin_fact(p, "Model");
    html_text(p->out, page_name(m->path));
    fprintf(p->out,
            ": decoder of %u layers, %u wide; sees %u\u00d7%u pixels, %g picture%s a second",
            m->config->lm.layers, m->config->lm.dim, m->config->vit.image, m->config->vit.image,
            m->config->frames_per_s, m->config->frames_per_s == 1 ? "" : "s");
    fprintf(p->out, "<br><code>SHA-256 %s</code>", m->sha256);
    end_fact(p);
    write_licence(p);
}

static void write_choice_facts(const struct page *p)
{
    const struct plan_settings *s = &p->story->plan->settings;
    const struct model_options *o = p->story->options;
    begin_fact(p, "Seed");
    fprintf(p->out, "%llu", (unsigned long long) s->seed);
    end_fact(p);
    if (o && p->story->model) {
        begin_fact(p, "Drawn with");
        fprintf(p->out, "temperature %g, ", o->temperature);
        if (o->top_p > 0)
            fprintf(p->out, "top-p %g", o->top_p);
        else
            fprintf(p->out, "top-k %lld", (long long) o->top_k);
        fprintf(p->out, ", guidance %g", p->story->model->guidance);
        end_fact(p);
    }
    begin_fact(p, "Cut into");
    fprintf(p->out,
            "cues of %g to %g s, segments of %g s that overlap by %g s, crossfades of %g s",
            (double) s->min_cue_ms / 1000, (double) s->max_cue_ms / 1000,
            (double) s->segment_ms / 1000, (double) s->overlap_ms / 1000,
            (double) s->crossfade_ms / 1000);
    end_fact(p);
}

// How the time went, as a bar and in words.
static void write_timings(const struct page *p)
{
    const struct composer_timings *t = &p->story->composed->timings;
    const struct {
        const char *what;
        double s;
    } shares[] = {
        { "loading", t->load_s },
        { "looking", t->visual_s },
        { "writing", t->decoder_s },
        { "sounding", t->codec_s },
        { "delivering", p->story->finished->stitch_s },
    };
    const size_t n = sizeof(shares) / sizeof(shares[0]);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += shares[i].s;
    begin_fact(p, "Time went to");
    fputs("<span class=\"shares\">", p->out);
    for (size_t i = 0; i < n; i++)
        fprintf(p->out, "<i class=\"s%zu\" style=\"width:%.2f%%\"></i>", i,
                sum > 0 ? 100 * shares[i].s / sum : 0);
    fputs("</span>", p->out);
    for (size_t i = 0; i < n; i++)
        fprintf(p->out, "<span class=\"share\"><i class=\"s%zu\"></i>%s %.1f s</span> ", i,
                shares[i].what, shares[i].s);
    end_fact(p);
}

static void write_composing_facts(const struct page *p)
{
    const struct compose_result *c = p->story->composed;
    if (c->device.name[0]) {
        begin_fact(p, "Device");
        html_text(p->out, c->device.name);
        fputs(", ", p->out);
        html_text(p->out, c->device.driver);
        fprintf(p->out, "; %u segment%s side by side", c->timings.batch,
                c->timings.batch == 1 ? "" : "s");
        end_fact(p);
        write_timings(p);
    }
    begin_fact(p, "Segments");
    fprintf(p->out, "%u composed now", c->segments_done);
    if (c->segments_there)
        fprintf(p->out, ", %u taken up", c->segments_there);
    end_fact(p);
}

void page_making(const struct page *p)
{
    fputs("<h2>How it was made</h2>\n<dl class=\"facts\">\n", p->out);
    write_film_facts(p);
    if (p->story->model)
        write_model_facts(p);
    write_choice_facts(p);
    if (p->story->composed)
        write_composing_facts(p);
    begin_fact(p, "Software");
    fputs("underscore " UNDERSCORE_VERSION, p->out);
    end_fact(p);
    fputs("</dl>\n</section>\n", p->out);
}
