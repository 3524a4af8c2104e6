// page_player: the film in the page, and the music by itself where a browser could not
// play it otherwise.
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/page_parts.h"
#include "common/base/html.h"
#include "common/base/log.h"
#include "common/media/music_clip.h"

#define MIB (1024.0 * 1024.0)

static bool has_own_sound(const struct film *film, const struct delivery_options *options)
{
    return options->output && options->audio == FILM_AUDIO_ADD && film->audio_tracks > 0;
}

static bool ends_with(const char *path, const char *ending)
{
    const size_t n = strlen(path), m = strlen(ending);
    return n > m && !strcasecmp(path + n - m, ending);
}

// Every browser plays AAC in MP4, and whatever sound comes first.
bool page_wants_clip(const struct film *film, const struct delivery_options *options)
{
    const bool plain =
        options->output &&
        (ends_with(options->output, ".mp4") || ends_with(options->output, ".m4v")) &&
        (!options->codec || !strcmp(options->codec, "aac"));
    return !plain || has_own_sound(film, options);
}

static const char *media_type(const char *path)
{
    return ends_with(path, ".mkv") ? "video/x-matroska" : "video/mp4"; // MOV is its elder
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t) st.st_size : UINT64_MAX;
}

static size_t shared_folders(const char *a, const char *b)
{
    size_t shared = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '/')
            shared = i + 1;
    return shared;
}

// The folder that a file is in, with a slash at its end and no links on the way.
static bool folder_of(char out[PATH_MAX + 1], const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
    const bool found = folder && realpath(folder, out);
    free(folder);
    const size_t n = found ? strlen(out) : 0;
    if (found && out[n - 1] != '/')
        snprintf(out + n, PATH_MAX + 1 - n, "/");
    return found;
}

// From where the page will be to where the file is.
static enum err write_link(const struct page *p, const char *to)
{
    char from[PATH_MAX + 1], target[PATH_MAX];
    if (!folder_of(from, p->options->page) || !realpath(to, target)) {
        log_error("%s: is gone before the page could name it", to);
        return ERR_MISSING;
    }
    const size_t shared = shared_folders(from, target);
    fputs("./", p->out);
    for (const char *c = from + shared; *c; c++)
        if (*c == '/')
            fputs("../", p->out);
    html_path(p->out, target + shared);
    return ERR_OK;
}

static enum err write_film(const struct page *p)
{
    const struct delivery_options *o = p->options;
    const bool inside = file_bytes(o->output) <= PAGE_MAX_BYTES;
    const bool muted = p->story->finished->clip.data && !has_own_sound(p->story->film, o);
    enum err e;
    fprintf(p->out,
            "<video id=\"film\" controls playsinline%s width=\"%u\" height=\"%u\" "
            "preload=\"%s\" src=\"",
            muted ? " muted" : "", p->story->film->width, p->story->film->height,
            inside ? "auto" : "metadata");
    if (inside) {
        fprintf(p->out, "data:%s;base64,", media_type(o->output));
        e = html_base64_file(p->out, o->output);
    } else {
        e = write_link(p, o->output);
    }
    fputs("\"></video>\n", p->out);
    return e;
}

static void write_clip(const struct page *p)
{
    const struct media_bytes *clip = &p->story->finished->clip;
    fputs(
        "<audio id=\"music\" controls aria-label=\"The music by itself\" src=\"data:" MUSIC_CLIP_TYPE
        ";base64,",
        p->out);
    html_base64(p->out, clip->data, clip->count);
    fputs("\"></audio>\n", p->out);
    if (!p->options->output)
        return;
    fputs("<noscript><p class=\"note\">This is the music by itself; the film plays its own "
          "sound.</p></noscript>\n",
          p->out);
    fputs("<p class=\"mixer\" id=\"mixer\" hidden>", p->out);
    if (has_own_sound(p->story->film, p->options))
        fputs("<label>Film <input id=\"film-level\" type=\"range\" min=\"0\" max=\"1\" "
              "step=\"0.01\" value=\"1\"></label>",
              p->out);
    fputs("<label>Music <input id=\"music-level\" type=\"range\" min=\"0\" max=\"1\" "
          "step=\"0.01\" value=\"1\"></label></p>\n",
          p->out);
}

// Where the film is when it is not in the page, and what of it cannot be heard there.
static enum err write_notes(const struct page *p)
{
    const struct delivery_options *o = p->options;
    const uint64_t bytes = o->output ? file_bytes(o->output) : 0;
    enum err e = ERR_OK;
    if (bytes > PAGE_MAX_BYTES) {
        fputs("<p class=\"note\">The film is not inside this page (it has ", p->out);
        fprintf(p->out, "%.0f MiB, more than %.0f). It is played from <a href=\"",
                (double) bytes / MIB, PAGE_MAX_BYTES / MIB);
        e = write_link(p, o->output);
        fputs("\">", p->out);
        html_text(p->out, page_name(o->output));
        fputs("</a>, as long as that stays where it is beside this page.</p>\n", p->out);
    }
    if (!p->story->finished->clip.data && page_wants_clip(p->story->film, o)) {
        fprintf(p->out, "<p class=\"note\">The music is too long to be inside this page, and a "
                        "browser plays only the first sound of a film. ");
        if (o->output)
            fprintf(p->out, "A video player lets you choose the music: it is track %u.",
                    p->story->finished->delivery.track + 1);
        fputs("</p>\n", p->out);
    }
    fputs("<p class=\"note\" id=\"broken\" hidden>This browser cannot play the film, only its "
          "music.</p>\n",
          p->out);
    return e;
}

enum err page_player(const struct page *p)
{
    enum err e = ERR_OK;
    fputs("<section class=\"stage\">\n", p->out);
    if (p->options->output)
        e = write_film(p);
    if (!e && p->story->finished->clip.data)
        write_clip(p);
    if (!e)
        e = write_notes(p);
    fputs("</section>\n", p->out);
    return e;
}
