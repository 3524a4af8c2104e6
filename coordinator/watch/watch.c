#include "coordinator/watch/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "common/base/log.h"

static bool is_film(const char *name)
{
    static const char *const endings[] = { ".mp4", ".mov",  ".mkv", ".m4v", ".webm", ".avi",
                                           ".mpg", ".mpeg", ".ts",  ".mts", ".m2ts", ".mxf",
                                           ".wmv", ".ogv",  ".flv", ".3gp" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0;
         dot && dot != name && name[0] != '.' && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

static int against(const void *path, const void *file)
{
    return strcmp(path, ((const struct watched_file *) file)->path);
}

static int by_path(const void *a, const void *b)
{
    return against(((const struct watched_file *) a)->path, b);
}

// Among those of the last scan.
static struct watched_file *find(struct watch *w, const char *path)
{
    return w->sorted ? bsearch(path, w->files, w->sorted, sizeof(*w->files), against) : NULL;
}

static enum err add(struct watch *w, const char *path, struct watched_file **out)
{
    if (w->count == w->room) {
        const size_t room = w->room ? 2 * w->room : 64;
        struct watched_file *more = realloc(w->files, room * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        w->files = more;
        w->room = room;
    }
    char *copy = strdup(path);
    if (!copy)
        return ERR_NOMEM;
    *out = &w->files[w->count++];
    **out = (struct watched_file){ .path = copy, .bytes = -1 };
    return ERR_OK;
}

static enum err see(struct watch *w, const char *path, const struct stat *st, double now)
{
    struct watched_file *f = find(w, path);
    if (!f && w->count == WATCH_MOST_FILES) {
        w->left_out++;
        return ERR_OK;
    }
    const enum err e = f ? ERR_OK : add(w, path, &f);
    if (e)
        return e;
    f->there = true;
    if (f->bytes == st->st_size && f->changed.tv_sec == st->st_mtim.tv_sec &&
        f->changed.tv_nsec == st->st_mtim.tv_nsec)
        return ERR_OK;
    f->bytes = st->st_size;
    f->changed = st->st_mtim;
    f->since_s = now;
    f->taken = f->waits = false;
    return ERR_OK;
}

static enum err scan_folder(struct watch *w, const char *folder, double now)
{
    DIR *d = opendir(folder);
    enum err e = ERR_OK;
    if (!d) {
        log_warn("%s: cannot be watched: %s", folder, strerror(errno));
        return ERR_OK;
    }
    for (const struct dirent *entry; !e && (entry = readdir(d));) {
        struct stat st;
        char *path = NULL;
        if (!is_film(entry->d_name) ||
            fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
            path = NULL;
        e = path ? see(w, path, &st, now) : ERR_NOMEM;
        free(path);
    }
    closedir(d);
    return e;
}

static void leave(struct watch *w, const char *folder)
{
    const size_t n = strlen(folder);
    for (size_t i = 0; i < w->sorted; i++) {
        struct watched_file *f = &w->files[i];
        f->there =
            f->there || (!strncmp(f->path, folder, n) && strrchr(f->path, '/') == f->path + n);
    }
}

// Those that came take their places by name, those that went leave; one seen twice is one.
static void tidy(struct watch *w)
{
    size_t kept = 0;
    if (w->sorted < w->count)
        qsort(w->files, w->count, sizeof(*w->files), by_path);
    for (size_t i = 0; i < w->count; i++) {
        const struct watched_file *f = &w->files[i];
        if (f->there && (kept == 0 || by_path(&w->files[kept - 1], f) != 0))
            w->files[kept++] = *f;
        else
            free(f->path);
    }
    w->count = w->sorted = kept;
}

enum err watch_scan(struct watch *w, const char *const *folders,
                    bool (*answers)(void *user, const char *folder), void *user, double now)
{
    enum err e = ERR_OK;
    const size_t left_out = w->left_out;
    w->left_out = 0;
    for (size_t i = 0; i < w->count; i++)
        w->files[i].there = false;
    for (; !e && *folders; folders++) {
        if (answers && !answers(user, *folders))
            leave(w, *folders);
        else
            e = scan_folder(w, *folders, now);
    }
    tidy(w);
    if (w->left_out && !left_out)
        log_warn(
            "%zu watched files are left alone: no more than %d are looked after; move away those that are done",
            w->left_out, WATCH_MOST_FILES);
    return e;
}

void watch_finish(struct watch *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->files[i].path);
    free(w->files);
    *w = (struct watch){ 0 };
}

struct watched_file *watch_take(struct watch *w, double settle_s, double now)
{
    for (size_t i = 0; i < w->count; i++) {
        struct watched_file *f = &w->files[i];
        if (f->taken || f->bytes == 0 || now - f->since_s < settle_s)
            continue;
        f->taken = true;
        return f;
    }
    return NULL;
}
