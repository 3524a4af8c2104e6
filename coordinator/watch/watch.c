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
    static const char *const endings[] = { ".mp4", ".mov", ".mkv", ".m4v", ".webm", ".avi", ".mpg", ".mpeg", ".ts",
                                           ".mts", ".m2ts", ".mxf", ".wmv", ".ogv", ".flv", ".3gp" };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot != name && name[0] != '.' && i < sizeof(endings) / sizeof(endings[0]); i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

static struct watched_file *find(struct watch *w, const char *path)
{
    for (size_t i = 0; i < w->count; i++) {
        // A folder is mostly read in the order of the last time.
        struct watched_file *f = &w->files[(w->next + i) % w->count];
        if (!strcmp(f->path, path)) {
            w->next = (size_t) (f - w->files) + 1;
            return f;
        }
    }
    return NULL;
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
    if (!f) {
        const enum err e = w->count < WATCH_MOST_FILES ? add(w, path, &f) : ERR_OK;
        if (e || !f)
            return e;
    }
    f->there = true;
    if (f->bytes == st->st_size && f->changed.tv_sec == st->st_mtim.tv_sec && f->changed.tv_nsec == st->st_mtim.tv_nsec)
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
        if (!is_film(entry->d_name) || fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
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

enum err watch_scan(struct watch *w, const char *const *folders, double now)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < w->count; i++)
        w->files[i].there = false;
    w->next = 0;
    for (; !e && *folders; folders++)
        e = scan_folder(w, *folders, now);
    for (size_t i = w->count; i-- > 0;)
        if (!w->files[i].there) {
            free(w->files[i].path);
            w->files[i] = w->files[--w->count];
        }
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
