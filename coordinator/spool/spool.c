#include "coordinator/spool/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/parts/parts.h"
#include "common/wire/crc32c.h"

#define INCOMING_ENDING ".incoming"
// Results that are synced one by one: the file system as a whole may have more to do.
#define FEW 4

char *spool_path(const struct spool *s, int64_t job, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, name ? "%s/jobs/%lld/%s" : "%s/jobs/%lld%.0s", s->directory,
                 (long long) job, name ? name : "") < 0)
        return NULL;
    return path;
}

char *spool_frames_path(const struct spool *s, int64_t job, uint32_t segment)
{
    char name[32];
    snprintf(name, sizeof(name), "frames/%u", segment);
    return spool_path(s, job, name);
}

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

// Removes the files of a folder that end like this; "" is all.
static void sweep(const char *path, const char *ending)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (const struct dirent *e; (e = readdir(d));)
        if ((e->d_type == DT_REG || e->d_type == DT_UNKNOWN) && ends_with(e->d_name, ending))
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

enum err spool_jobs(const struct spool *s, int64_t **out, size_t *count)
{
    char *jobs = NULL;
    enum err e = ERR_OK;
    *out = NULL;
    *count = 0;
    if (asprintf(&jobs, "%s/jobs", s->directory) < 0)
        return ERR_NOMEM;
    DIR *d = opendir(jobs);
    free(jobs);
    for (const struct dirent *entry; !e && d && (entry = readdir(d));) {
        const int64_t job = strtoll(entry->d_name, NULL, 10);
        int64_t *more = job > 0 ? realloc(*out, (*count + 1) * sizeof(**out)) : *out;
        if (job > 0 && !more)
            e = ERR_NOMEM;
        else if (job > 0)
            (*out = more)[(*count)++] = job;
    }
    if (d)
        closedir(d);
    return e;
}

static enum err sweep_jobs(const struct spool *s)
{
    int64_t *jobs;
    size_t count;
    const enum err e = spool_jobs(s, &jobs, &count);
    for (size_t i = 0; !e && i < count; i++) {
        char *parts = spool_path(s, jobs[i], "parts");
        if (parts)
            sweep(parts, INCOMING_ENDING);
        free(parts);
    }
    free(jobs);
    return e;
}

enum err spool_open(struct spool *s, const char *directory)
{
    char *jobs = NULL;
    *s = (struct spool){ .directory = strdup(directory) };
    if (!s->directory || asprintf(&jobs, "%s/jobs", directory) < 0) {
        spool_close(s);
        return ERR_NOMEM;
    }
    enum err e = file_make_directory(jobs);
    free(jobs);
    if (!e)
        e = sweep_jobs(s);
    if (e)
        spool_close(s);
    return e;
}

void spool_close(struct spool *s)
{
    free(s->directory);
    *s = (struct spool){ 0 };
}

static enum err write_request(const struct spool *s, int64_t job, const void *request,
                              size_t bytes)
{
    struct out_file f;
    char *path = spool_path(s, job, "request");
    enum err e = path ? out_file_open(&f, path) : ERR_NOMEM;
    if (!e) {
        fwrite(request, 1, bytes, f.stream);
        e = out_file_commit(&f);
    }
    free(path);
    return e;
}

enum err spool_begin(const struct spool *s, int64_t job, const void *request, size_t bytes)
{
    const char *const folders[] = { "frames", "parts" };
    enum err e = ERR_OK;
    for (int i = 0; !e && i < 2; i++) {
        char *path = spool_path(s, job, folders[i]);
        e = path ? file_make_directory(path) : ERR_NOMEM;
        free(path);
    }
    return e ? e : write_request(s, job, request, bytes);
}

void spool_remove(const struct spool *s, int64_t job)
{
    const char *const folders[] = { "frames", "parts", NULL };
    for (int i = 0; i < 3; i++) {
        char *path = spool_path(s, job, folders[i]);
        if (path) {
            sweep(path, "");
            rmdir(path);
        }
        free(path);
    }
}

bool spool_has_frames(const struct spool *s, int64_t job, uint32_t segment, uint64_t bytes)
{
    char *path = spool_frames_path(s, job, segment);
    struct stat st;
    const bool there = path && stat(path, &st) == 0 && (uint64_t) st.st_size == bytes;
    free(path);
    return there;
}

bool spool_has_any_frames(const struct spool *s, int64_t job)
{
    char *path = spool_path(s, job, "frames");
    DIR *d = path ? opendir(path) : NULL;
    bool any = false;
    for (const struct dirent *entry; d && !any && (entry = readdir(d));)
        any = entry->d_name[0] != '.';
    if (d)
        closedir(d);
    free(path);
    return any;
}

bool spool_has_plan(const struct spool *s, int64_t job)
{
    char *path = spool_path(s, job, "plan.json");
    const bool there = path && access(path, R_OK) == 0;
    free(path);
    return there;
}

void spool_drop_frames(const struct spool *s, int64_t job, uint32_t segment)
{
    char *path = spool_frames_path(s, job, segment);
    if (path)
        unlink(path);
    free(path);
}

enum err spool_read(const char *path, uint64_t off, void *out, size_t room, size_t *got)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        log_error("%s: %s", path, strerror(errno));
        return ERR_MISSING;
    }
    const ssize_t n = pread(fd, out, room, (off_t) off);
    const int why = errno;
    close(fd);
    if (n < 0) {
        log_error("%s: cannot read: %s", path, strerror(why));
        return ERR_IO;
    }
    *got = (size_t) n;
    return ERR_OK;
}

static void remove_part(const char *parts, const struct plan *p, uint32_t segment)
{
    char *path = part_path(parts, p, segment);
    if (path)
        unlink(path);
    free(path);
}

static enum err open_predecessor(struct part *out, const char *parts, const struct plan *p,
                                 uint32_t segment)
{
    const uint32_t before = (uint32_t) p->segments[segment].prompt_from;
    enum err e = part_examine(parts, p, before);
    if (e == ERR_INPUT)
        part_put_aside(parts, p, before);
    if (e == ERR_INPUT || e == ERR_MISSING)
        remove_part(parts, p, segment);
    return e ? e : part_open(out, parts, p, before);
}

enum err spool_prompt(const struct spool *s, int64_t job, const struct plan *p,
                      uint32_t segment, int32_t **out, size_t *bytes)
{
    const struct plan_segment *g = &p->segments[segment];
    char *directory = spool_path(s, job, "parts");
    struct part part = { 0 };
    *out = NULL;
    enum err e = directory ? open_predecessor(&part, directory, p, segment) : ERR_NOMEM;
    free(directory);
    if (e)
        return e;
    const uint64_t columns = part.tokens.shape[1];
    const int32_t *tokens = part.tokens.data;
    *bytes = (size_t) part.codebooks * g->prompt_columns * sizeof(**out);
    *out = malloc(*bytes ? *bytes : 1);
    for (uint32_t k = 0; *out && k < part.codebooks; k++)
        memcpy(*out + (size_t) k * g->prompt_columns,
               tokens + k * columns + columns - g->prompt_columns,
               g->prompt_columns * sizeof(*tokens));
    part_close(&part);
    return *out ? ERR_OK : ERR_NOMEM;
}

uint32_t spool_lacks(const struct spool *s, int64_t job, const struct plan *p, uint32_t *out)
{
    char *directory = spool_path(s, job, "parts");
    bool lacks = false; // the one before in its cue
    uint32_t count = 0;
    for (uint32_t i = 0; directory && i < p->segment_count; i++) {
        const bool there = part_exists(directory, p, i),
                   follows = lacks && p->segments[i].index > 0;
        if (there && follows)
            remove_part(directory, p, i);
        if (!there)
            out[count++] = i;
        lacks = !there || follows;
    }
    free(directory);
    return count;
}

enum err incoming_open(struct incoming *in, struct spool *s, int64_t job, uint64_t bytes)
{
    char name[64];
    snprintf(name, sizeof(name), "parts/%llu" INCOMING_ENDING,
             (unsigned long long) ++s->receptions);
    *in = (struct incoming){ .path = spool_path(s, job, name), .fd = -1, .bytes = bytes };
    if (!in->path)
        return ERR_NOMEM;
    in->fd = open(in->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (in->fd >= 0)
        return ERR_OK;
    log_error("%s: cannot create: %s", in->path, strerror(errno));
    free(in->path);
    *in = (struct incoming){ .fd = -1 };
    return ERR_IO;
}

enum err incoming_add(struct incoming *in, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t done = 0; done < bytes;) {
        const ssize_t n = pwrite(in->fd, p + done, bytes - done, (off_t) (in->received + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            log_error("%s: cannot write: %s", in->path, strerror(errno));
            return ERR_IO;
        }
        done += (size_t) n;
    }
    in->crc32c = crc32c(in->crc32c, data, bytes);
    in->received += bytes;
    return ERR_OK;
}

void incoming_discard(struct incoming *in)
{
    if (in->path) {
        if (in->fd >= 0)
            close(in->fd);
        unlink(in->path);
    }
    free(in->path);
    *in = (struct incoming){ .fd = -1 };
}

static enum err look_at(const char *path, const struct plan *p, uint32_t segment,
                        const char *key)
{
    struct part part;
    enum err e = part_file_open(&part, path, p, segment);
    if (!e && strcmp(part.key, key) != 0) {
        log_error("%s: made of \"%s\", not of \"%s\"", path, part.key, key);
        e = ERR_INPUT;
    }
    if (!e && !part_is_finite(&part)) {
        log_error("%s: its sound is not finite", path);
        e = ERR_INPUT;
    }
    part_close(&part);
    return e == ERR_MISSING ? ERR_INPUT : e;
}

enum err incoming_finish(struct incoming *in, const struct spool *s, int64_t job,
                         const struct plan *p, uint32_t segment, const char *key,
                         struct spool_move *out)
{
    char *directory = spool_path(s, job, "parts");
    *out = (struct spool_move){ .to = directory ? part_path(directory, p, segment) : NULL };
    const enum err e = out->to ? look_at(in->path, p, segment, key) : ERR_NOMEM;
    free(directory);
    if (e) {
        free(out->to);
        *out = (struct spool_move){ 0 };
        incoming_discard(in);
        return e;
    }
    out->from = in->path;
    close(in->fd);
    *in = (struct incoming){ .fd = -1 };
    return ERR_OK;
}

void spool_forget(struct spool_move *m)
{
    if (m->from)
        unlink(m->from);
    free(m->from);
    free(m->to);
    *m = (struct spool_move){ 0 };
}

// First what is in the files, then their names: a name must never be there for less. Each
// time for all of them at once, which takes no longer than for two or three.
static enum err put_together(int folder, const struct spool_move *moves, size_t count)
{
    if (syncfs(folder) != 0)
        return ERR_IO;
    for (size_t i = 0; i < count; i++)
        if (moves[i].from && rename(moves[i].from, moves[i].to) != 0)
            return ERR_IO;
    return syncfs(folder) == 0 ? ERR_OK : ERR_IO;
}

static enum err put_each(const struct spool_move *moves, size_t count)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < count; i++)
        if (moves[i].from)
            e = file_publish(moves[i].from, moves[i].to);
    return e;
}

enum err spool_put(const struct spool *s, struct spool_move *moves, size_t count)
{
    const int folder =
        count < FEW ? -1 : open(s->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const enum err e = folder < 0 ? put_each(moves, count) : put_together(folder, moves, count);
    if (e && folder >= 0)
        log_error("%s: cannot write: %s", s->directory, strerror(errno));
    if (folder >= 0)
        close(folder);
    for (size_t i = 0; i < count; i++)
        spool_forget(&moves[i]); // after a rename there is nothing left to remove
    return e;
}

enum err incoming_commit(struct incoming *in, const struct spool *s, int64_t job,
                         const struct plan *p, uint32_t segment, const char *key)
{
    struct spool_move move;
    const enum err e = incoming_finish(in, s, job, p, segment, key, &move);
    return e ? e : spool_put(s, &move, 1);
}
