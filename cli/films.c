#include "cli/films.h"

#include <dirent.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/media/track_writer.h"

#define PATH_BYTES 4096 // as the wire carries them

static enum err too_long(const char *what)
{
    log_error("%.200s: too long", what);
    return ERR_USAGE;
}

static enum err absolute(char to[PATH_BYTES], const char *path)
{
    char here[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(here, sizeof(here)))
        return too_long(path);
    const char *slash = path[0] == '/' ? "" : "/";
    return snprintf(to, PATH_BYTES, "%s%s%s", here, slash, path) < PATH_BYTES ? ERR_OK
                                                                              : too_long(path);
}

// The folder with its links followed, where it is there. The caller frees.
static char *followed(const char *path)
{
    char folder[PATH_BYTES], real[PATH_MAX], *out = NULL;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof(folder), "%.*s/", (int) (slash - path), path);
    if (!realpath(folder, real) ||
        asprintf(&out, "%s%s", strcmp(real, "/") != 0 ? real : "", slash) < 0)
        return strdup(path);
    return out;
}

// The name that others hear: as it was given, where there is no other way to spell that.
static char *told(const char *path, const char *real)
{
    const bool has_detours = strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../");
    return real ? strdup(has_detours ? real : path) : NULL;
}

// Collecting

static void free_item(struct film_output *i)
{
    free(i->film);
    free(i->output);
    free(i->film_is);
    free(i->output_is);
}

void films_free(struct films *f)
{
    for (size_t i = 0; i < f->count; i++)
        free_item(&f->items[i]);
    free(f->items);
    *f = (struct films){ 0 };
}

static enum err add(struct films *f, const char *path, bool found)
{
    char whole[PATH_BYTES];
    const enum err e = absolute(whole, path);
    if (e)
        return e;
    if (f->count == f->room) {
        const size_t room = f->room ? 2 * f->room : 64;
        struct film_output *more = realloc(f->items, room * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        f->items = more;
        f->room = room;
    }
    struct film_output *i = &f->items[f->count++];
    *i = (struct film_output){ .film_is = followed(whole), .found = found };
    i->film = told(whole, i->film_is);
    return i->film && i->film_is ? ERR_OK : ERR_NOMEM;
}

// By its name: what is in a folder beside the films is left alone.
static bool is_film(const char *name)
{
    static const char *const endings[] = { "mp4", "mkv", "mov", "m4v",  "avi", "mpg",  "mpeg",
                                           "m2v", "ts",  "mts", "m2ts", "mxf", "webm", "ogv",
                                           "wmv", "flv", "vob", "3gp",  "dv",  "y4m" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (!strcasecmp(dot + 1, endings[i]))
            return true;
    return false;
}

static enum err walk(struct films *f, const char *folder, bool recursive);

// One entry of a folder. Links to folders are not followed: they may lead in a circle.
static enum err visit(struct films *f, const char *path, const char *name, bool recursive)
{
    struct stat st, link;
    if (name[0] == '.' || stat(path, &st) != 0 || lstat(path, &link) != 0)
        return ERR_OK;
    if (S_ISREG(st.st_mode) && is_film(name))
        return add(f, path, true);
    return recursive && S_ISDIR(link.st_mode) ? walk(f, path, true) : ERR_OK;
}

static enum err walk(struct films *f, const char *folder, bool recursive)
{
    struct dirent **entries;
    const int n = scandir(folder, &entries, NULL, alphasort);
    enum err e = ERR_OK;
    if (n < 0) {
        log_warn("%s: cannot be read", folder);
        return ERR_OK;
    }
    for (int i = 0; i < n; i++) {
        char path[PATH_BYTES];
        const size_t end = strlen(folder);
        const char *slash = end && folder[end - 1] == '/' ? "" : "/";
        if (!e && snprintf(path, sizeof(path), "%s%s%s", folder, slash, entries[i]->d_name) >=
                      (int) sizeof(path))
            e = too_long(folder);
        if (!e)
            e = visit(f, path, entries[i]->d_name, recursive);
        free(entries[i]);
    }
    free(entries);
    return e;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static enum err take_folder(struct films *f, const char *folder, bool recursive)
{
    const size_t before = f->count;
    const enum err e = walk(f, folder, recursive);
    if (e || f->count > before)
        return e;
    log_error("%s: no films in it%s", folder,
              recursive ? "" : "; --recursive looks into the folders below, too");
    return ERR_MISSING;
}

static enum err take_pattern(struct films *f, const char *pattern, bool recursive)
{
    glob_t g;
    enum err e = ERR_OK;
    const int r = glob(pattern, 0, NULL, &g);
    if (r == GLOB_NOSPACE)
        return ERR_NOMEM;
    if (r != 0) {
        log_error("%s: nothing matches this", pattern);
        return ERR_MISSING;
    }
    for (size_t i = 0; !e && i < g.gl_pathc; i++)
        e = is_folder(g.gl_pathv[i]) ? take_folder(f, g.gl_pathv[i], recursive)
                                     : add(f, g.gl_pathv[i], true);
    globfree(&g);
    return e;
}

static int by_film(const void *a, const void *b)
{
    const struct film_output *const *x = a, *const *y = b;
    const int order = strcmp((*x)->film_is, (*y)->film_is);
    return order ? order : (*x > *y) - (*x < *y);
}

static int by_output(const void *a, const void *b)
{
    const struct film_output *const *x = a, *const *y = b;
    return strcmp((*x)->output_is, (*y)->output_is);
}

// The items in another order. The caller frees; NULL: out of memory.
static struct film_output **sorted(const struct films *f, int (*by)(const void *, const void *))
{
    struct film_output **s = malloc((f->count + 1) * sizeof(struct film_output *));
    for (size_t i = 0; s && i < f->count; i++)
        s[i] = &f->items[i];
    if (s && f->count > 1)
        qsort(s, f->count, sizeof(struct film_output *), by);
    return s;
}

// Those without a film have gone.
static void close_gaps(struct films *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].film)
            f->items[n++] = f->items[i];
        else
            free_item(&f->items[i]);
    f->count = n;
}

static void leave(struct film_output *i)
{
    free(i->film);
    i->film = NULL;
}

// A film that two arguments mean is one film; a name counts more than a find.
static enum err drop_doubles(struct films *f)
{
    struct film_output **s = sorted(f, by_film);
    if (!s)
        return ERR_NOMEM;
    for (size_t i = 1, first = 0; i < f->count; i++) {
        if (strcmp(s[first]->film_is, s[i]->film_is) != 0) {
            first = i;
            continue;
        }
        s[first]->found = s[first]->found && s[i]->found;
        leave(s[i]);
    }
    free(s);
    close_gaps(f);
    return ERR_OK;
}

enum err films_collect(struct films *out, char *const *arguments, size_t count, bool recursive)
{
    *out = (struct films){ 0 };
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++) {
        if (is_folder(arguments[i]))
            e = take_folder(out, arguments[i], recursive);
        else if (access(arguments[i], F_OK) != 0 && strpbrk(arguments[i], "*?["))
            e = take_pattern(out, arguments[i], recursive);
        else
            e = add(out, arguments[i], false);
    }
    return e ? e : drop_doubles(out);
}

// Outputs

// {dir}, {name} and {ext} of the film put into a pattern.
static enum err expand(char to[PATH_BYTES], const char *pattern, const char *film)
{
    const char *slash = strrchr(film, '/'), *base = slash + 1, *dot = strrchr(base, '.');
    const char *ending = track_writer_ending(base);
    const struct {
        const char *word;
        const char *text;
        int bytes;
    } words[] = {
        { "{dir}", slash == film ? "/" : film, slash == film ? 1 : (int) (slash - film) },
        { "{name}", base, dot ? (int) (dot - base) : (int) strlen(base) },
        { "{ext}", ending, (int) strlen(ending) },
    };
    size_t n = 0;
    for (const char *p = pattern; *p && n < PATH_BYTES;) {
        size_t i = 0;
        while (i < 3 && strncmp(p, words[i].word, strlen(words[i].word)) != 0)
            i++;
        if (i < 3) {
            n += (size_t) snprintf(to + n, PATH_BYTES - n, "%.*s", words[i].bytes,
                                   words[i].text);
            p += strlen(words[i].word);
        } else if (*p == '{' || *p == '}') {
            log_error("-o %s: in braces there can be {dir}, {name} and {ext}", pattern);
            return ERR_USAGE;
        } else {
            to[n++] = *p++;
        }
    }
    if (n >= PATH_BYTES)
        return too_long(pattern);
    to[n] = 0;
    return ERR_OK;
}

static enum err name_output(struct film_output *i, const char *pattern)
{
    char expanded[PATH_BYTES], whole[PATH_BYTES];
    enum err e = expand(expanded, pattern, i->film);
    if (!e)
        e = absolute(whole, expanded);
    if (e)
        return e;
    i->output_is = followed(whole);
    i->output = told(whole, i->output_is);
    return i->output && i->output_is ? ERR_OK : ERR_NOMEM;
}

// Whose output a file is; NULL: nobody's here.
static struct film_output *maker_of(const char *file, struct film_output **by, size_t count)
{
    struct film_output wanted = { 0 }, *key = &wanted;
    char *name = strdup(file);
    wanted.output_is = name;
    struct film_output **at =
        name && count ? bsearch(&key, by, count, sizeof(key), by_output) : NULL;
    free(name);
    return at ? *at : NULL;
}

// What an earlier run made of the same films lies among them.
static enum err drop_outputs(struct films *f, struct film_output **by)
{
    enum err e = ERR_OK;
    size_t dropped = 0, count = f->count;
    for (size_t i = 0; !e && i < count; i++) {
        struct film_output *film = &f->items[i];
        const struct film_output *maker = maker_of(film->film_is, by, count);
        if (!maker || maker == film)
            continue;
        if (!film->found) {
            log_error("%s: is to be the output of %s", film->film,
                      maker->film ? maker->film : "another film");
            e = ERR_USAGE;
        }
        leave(film);
        dropped++;
    }
    if (!e && dropped)
        log_info("%zu files are outputs of others and no films of this command", dropped);
    close_gaps(f);
    return e;
}

static enum err refuse_doubles(const struct films *f)
{
    struct film_output **by = sorted(f, by_output);
    enum err e = by ? ERR_OK : ERR_NOMEM;
    for (size_t i = 1; !e && i < f->count; i++)
        if (!strcmp(by[i - 1]->output_is, by[i]->output_is)) {
            log_error(
                "%s: would be the output of both %s and %s; use {dir}, {name} and {ext} in -o",
                by[i]->output, by[i - 1]->film, by[i]->film);
            e = ERR_USAGE;
        }
    free(by);
    return e;
}

enum err films_name_outputs(struct films *f, const char *pattern)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < f->count; i++)
        e = name_output(&f->items[i], pattern);
    struct film_output **by = e ? NULL : sorted(f, by_output);
    if (!e)
        e = by ? drop_outputs(f, by) : ERR_NOMEM;
    free(by);
    return e ? e : refuse_doubles(f);
}
