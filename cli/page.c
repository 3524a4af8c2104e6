#include "cli/page.h"

#include <string.h>

#include "cli/clock_text.h"
#include "cli/page_parts.h"
#include "common/base/file.h"
#include "common/base/html.h"
#include "page_css.h"
#include "page_js.h"

// Nothing may be fetched: the page says so itself. A film too large for it lies beside it.
static const char head[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<head>\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta name=\"generator\" content=\"underscore " UNDERSCORE_VERSION "\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "media-src data: 'self' file:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'\">\n";

const char *page_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static const char *title_of(const struct page *p)
{
    const struct film *film = p->story->film;
    return film->title[0] ? film->title : page_name(film->path);
}

static void write_head(const struct page *p)
{
    fputs(head, p->out);
    fputs("<title>", p->out);
    html_text(p->out, title_of(p));
    fputs(" \u2013 Underscore</title>\n<style>\n", p->out);
    fputs(page_css, p->out);
    fputs("</style>\n</head>\n<body>\n", p->out);
}

static void write_heading(const struct page *p)
{
    const struct plan *plan = p->story->plan;
    char length[CLOCK_TEXT_BYTES];
    fputs("<header>\n<p class=\"mark\">Underscore</p>\n<h1>", p->out);
    html_text(p->out, title_of(p));
    fprintf(p->out, "</h1>\n<p class=\"lead\">%s of music in %u cue%s",
            clock_text(length, plan->film.duration_ms), plan->cue_count,
            plan->cue_count == 1 ? "" : "s");
    if (p->story->model) {
        fputs(", composed by <b>", p->out);
        html_text(p->out, page_name(p->story->model->path));
        fputs("</b>", p->out);
    }
    if (p->story->composed && p->story->composed->device.name[0]) {
        fputs(" on ", p->out);
        html_text(p->out, p->story->composed->device.name);
    }
    fputs("</p>\n</header>\n<main>\n", p->out);
}

static enum err write_body(const struct page *p)
{
    write_heading(p);
    enum err e = page_player(p);
    if (!e)
        e = page_score(p);
    if (e)
        return e;
    page_cues(p);
    page_measures(p);
    page_making(p);
    fputs("</main>\n<script>\n", p->out);
    fputs(page_js, p->out);
    fputs("</script>\n</body>\n</html>\n", p->out);
    return ERR_OK;
}

enum err page_write(const struct job_story *story, const struct delivery_options *options)
{
    struct out_file f;
    enum err e = out_file_open(&f, options->page);
    if (e)
        return e;
    const struct page p = { .story = story, .options = options, .out = f.stream };
    write_head(&p);
    e = write_body(&p);
    if (!e)
        return out_file_commit(&f);
    out_file_discard(&f);
    return e;
}
