#include "coordinator/shelf/shelf.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/log.h"
#include "common/media/sha256.h"

#define LOOK_EVERY_S 2
#define ENDING ".safetensors"

_Static_assert(SHELF_SHA256_BYTES == SHA256_TEXT_BYTES, "one text");

struct shelf_file {
    char *path;
    char sha256[SHELF_SHA256_BYTES]; // "": it could not be read
    uint64_t bytes;
    struct timespec changed;
    bool seen; // in the round under way
};

struct shelf {
    char **folders;
    size_t folder_count;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; // over what follows
    pthread_cond_t close;
    bool closing;
    bool whole; // every folder has been looked through once
    struct shelf_file *files;
    size_t count;
};

static struct shelf_file *find_path(struct shelf *s, const char *path)
{
    for (size_t i = 0; i < s->count; i++)
        if (!strcmp(s->files[i].path, path))
            return &s->files[i];
    return NULL;
}

// Under the lock. Another place for it, or the one it has.
static struct shelf_file *place_for(struct shelf *s, const char *path)
{
    struct shelf_file *f = find_path(s, path);
    if (f)
        return f;
    struct shelf_file *more = realloc(s->files, (s->count + 1) * sizeof(*more));
    if (!more)
        return NULL;
    s->files = more;
    f = &s->files[s->count];
    *f = (struct shelf_file){ .path = strdup(path) };
    s->count += f->path != NULL;
    return f->path ? f : NULL;
}

static void take_up(struct shelf *s, const char *path, const struct stat *st)
{
    char sha256[SHELF_SHA256_BYTES];
    pthread_mutex_lock(&s->lock);
    struct shelf_file *f = find_path(s, path);
    const bool known = f && f->bytes == (uint64_t) st->st_size &&
                       f->changed.tv_sec == st->st_mtim.tv_sec &&
                       f->changed.tv_nsec == st->st_mtim.tv_nsec;
    if (f)
        f->seen = true;
    if (f && !known)
        f->sha256[0] = 0; // it is not what it was
    pthread_mutex_unlock(&s->lock);
    if (known)
        return;
    if (sha256_file(sha256, path))
        sha256[0] = 0; // logged; once, until it changes
    pthread_mutex_lock(&s->lock);
    f = place_for(s, path);
    if (f) {
        f->bytes = (uint64_t) st->st_size;
        f->changed = st->st_mtim;
        f->seen = true;
        memcpy(f->sha256, sha256, sizeof(f->sha256));
    }
    pthread_mutex_unlock(&s->lock);
    if (*sha256)
        log_info("%s can be handed out: %s", path, sha256);
}

static bool is_closing(struct shelf *s)
{
    pthread_mutex_lock(&s->lock);
    const bool closing = s->closing;
    pthread_mutex_unlock(&s->lock);
    return closing;
}

static void look_through(struct shelf *s, const char *folder)
{
    DIR *d = opendir(folder); // one that is not there may come
    for (const struct dirent *entry; d && !is_closing(s) && (entry = readdir(d));) {
        const size_t n = strlen(entry->d_name), ending = strlen(ENDING);
        char *path = NULL;
        struct stat st;
        if (entry->d_name[0] == '.' || n <= ending ||
            strcmp(entry->d_name + n - ending, ENDING) != 0)
            continue;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
            break;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
            take_up(s, path, &st);
        free(path);
    }
    if (d)
        closedir(d);
}

static void forget_what_is_gone(struct shelf *s)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = s->count; i-- > 0;) {
        struct shelf_file *f = &s->files[i];
        if (!f->seen && !s->closing) {
            free(f->path);
            *f = s->files[--s->count];
            continue;
        }
        f->seen = false;
    }
    s->whole = true;
    pthread_mutex_unlock(&s->lock);
}

static void *look(void *user)
{
    struct shelf *s = user;
    while (!is_closing(s)) {
        struct timespec until;
        for (size_t i = 0; i < s->folder_count; i++)
            look_through(s, s->folders[i]);
        forget_what_is_gone(s);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_EVERY_S;
        pthread_mutex_lock(&s->lock);
        while (!s->closing && pthread_cond_timedwait(&s->close, &s->lock, &until) == 0)
            continue;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static enum err copy_folders(struct shelf *s, const char *const *folders)
{
    size_t n = 0;
    while (folders[n])
        n++;
    s->folders = calloc(n + 1, sizeof(*s->folders));
    for (; s->folders && s->folder_count < n; s->folder_count++)
        if (!(s->folders[s->folder_count] = strdup(folders[s->folder_count])))
            return ERR_NOMEM;
    return s->folders ? ERR_OK : ERR_NOMEM;
}

enum err shelf_open(struct shelf **out, const char *const *folders)
{
    pthread_condattr_t monotonic;
    *out = NULL;
    struct shelf *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->close, &monotonic);
    pthread_condattr_destroy(&monotonic);
    s->started = !copy_folders(s, folders) && pthread_create(&s->thread, NULL, look, s) == 0;
    if (!s->started) {
        log_error("cannot look through the folders of models");
        shelf_close(&s);
        return ERR_NOMEM;
    }
    *out = s;
    return ERR_OK;
}

void shelf_close(struct shelf **sp)
{
    struct shelf *s = *sp;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->close);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    for (size_t i = 0; i < s->count; i++)
        free(s->files[i].path);
    for (size_t i = 0; i < s->folder_count; i++)
        free(s->folders[i]);
    free(s->files);
    free(s->folders);
    pthread_cond_destroy(&s->close);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *sp = NULL;
}

bool shelf_find(struct shelf *s, const char *sha256, char *path, size_t room, uint64_t *bytes)
{
    bool found = false;
    if (!s || !*sha256)
        return false;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count && !found; i++) {
        found = !strcmp(s->files[i].sha256, sha256);
        if (found) {
            snprintf(path, room, "%s", s->files[i].path);
            *bytes = s->files[i].bytes;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

bool shelf_only(struct shelf *s, char sha256[SHELF_SHA256_BYTES])
{
    *sha256 = 0;
    bool only;
    if (!s)
        return false;
    pthread_mutex_lock(&s->lock);
    only = s->whole;
    for (size_t i = 0; i < s->count; i++) {
        only =
            only && (!*sha256 || !*s->files[i].sha256 || !strcmp(sha256, s->files[i].sha256));
        if (*s->files[i].sha256)
            memcpy(sha256, s->files[i].sha256, SHELF_SHA256_BYTES);
    }
    pthread_mutex_unlock(&s->lock);
    return only && *sha256;
}
