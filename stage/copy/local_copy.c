#include "stage/copy/local_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "stage/copy/model_hash.h"

#define STEP_BYTES (1u << 20)

static void close_all(struct local_copy *c)
{
    if (c->out >= 0)
        close(c->out);
    if (c->old >= 0)
        close(c->old);
    c->out = c->old = -1;
}

void local_copy_discard(struct local_copy *c)
{
    if (!c->path && !c->temporary)
        return;
    if (c->out >= 0 && c->temporary)
        unlink(c->temporary);
    close_all(c);
    free(c->path);
    free(c->temporary);
    *c = (struct local_copy){ .out = -1, .old = -1 };
}

static enum err fail(struct local_copy *c, const char *what, enum err e)
{
    log_error("%s: %s: %s", c->path, what, strerror(errno));
    local_copy_discard(c);
    return e;
}

// A regular file of that size under that name; -1: there is none.
static int open_old(const char *path, uint64_t bytes)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a FIFO must not hold us up
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t) st.st_size == bytes)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

enum err local_copy_begin(struct local_copy *c, const char *directory, const char *name,
                          uint64_t bytes)
{
    *c = (struct local_copy){ .bytes = bytes, .out = -1, .old = -1 };
    enum err e = file_make_directory(directory);
    if (e)
        return e;
    if (asprintf(&c->path, "%s/%s", directory, name) < 0)
        c->path = NULL;
    c->temporary = c->path ? file_temporary_name(c->path) : NULL;
    if (!c->temporary) {
        local_copy_discard(c);
        return ERR_NOMEM;
    }
    file_remove_strays(directory, name);
    c->old = open_old(c->path, bytes);
    return ERR_OK;
}

static bool write_all(int fd, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        data += n;
        bytes -= (size_t) n;
    }
    return true;
}

// Up to here the old file was the same.
static bool copy_from_old(struct local_copy *c)
{
    uint8_t *step = malloc(STEP_BYTES);
    uint64_t at = 0;
    while (step && at < c->at) {
        const uint64_t left = c->at - at;
        const ssize_t n =
            pread(c->old, step, left < STEP_BYTES ? (size_t) left : STEP_BYTES, (off_t) at);
        if (n <= 0 || !write_all(c->out, step, (size_t) n))
            break;
        at += (uint64_t) n;
    }
    free(step);
    return at == c->at;
}

static enum err open_new(struct local_copy *c)
{
    c->out = open(c->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (c->out < 0)
        return fail(c, "cannot create", ERR_CREATE);
    // A disk that has no room for it says so now; some file systems cannot tell.
    if (fallocate(c->out, 0, 0, (off_t) c->bytes) < 0 && errno != EOPNOTSUPP && errno != EINTR)
        return fail(c, "no room for it", ERR_IO);
    if (c->old < 0)
        return ERR_OK;
    errno = 0;
    if (!copy_from_old(c))
        return fail(c, "cannot copy what is there", ERR_IO);
    close(c->old);
    c->old = -1;
    return ERR_OK;
}

static bool is_the_same(const struct local_copy *c, const uint8_t *data, size_t bytes)
{
    uint8_t *there = malloc(bytes);
    const bool same = there && pread(c->old, there, bytes, (off_t) c->at) == (ssize_t) bytes &&
                      !memcmp(there, data, bytes);
    free(there);
    return same;
}

enum err local_copy_add(struct local_copy *c, const uint8_t *data, size_t bytes)
{
    if (bytes > c->bytes - c->at) {
        errno = EFBIG;
        return fail(c, "more came than was announced", ERR_IO);
    }
    if (c->out < 0 && c->old >= 0 && is_the_same(c, data, bytes)) {
        c->at += bytes;
        return ERR_OK;
    }
    const enum err e = c->out < 0 ? open_new(c) : ERR_OK;
    if (e)
        return e;
    if (!write_all(c->out, data, bytes))
        return fail(c, "cannot write", ERR_IO);
    c->at += bytes;
    return ERR_OK;
}

static enum err wrong(struct local_copy *c, const char *what)
{
    log_error("%s: %s; it is not kept", c->path, what);
    local_copy_discard(c);
    return ERR_IO;
}

enum err local_copy_finish(struct local_copy *c, const char *sha256, bool *was_there)
{
    char has[MODEL_HASH_TEXT];
    *was_there = c->out < 0;
    if (c->at != c->bytes)
        return wrong(c, "not all of it came");
    if (c->out >= 0 && fsync(c->out) < 0)
        return fail(c, "cannot write", ERR_IO);
    enum err e = model_hash_file(*was_there ? c->old : c->out, c->path, has);
    if (!e && strcmp(has, sha256) != 0)
        return wrong(c, "its SHA-256 is not the model's");
    if (!e && !*was_there)
        e = file_publish(c->temporary, c->path);
    local_copy_discard(c);
    return e;
}

bool local_copy_is_there(const char *directory, const char *name, const char *sha256,
                         uint64_t *bytes)
{
    char *path = NULL, has[MODEL_HASH_TEXT];
    struct stat st;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return false;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool there = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                       !model_hash_file(fd, path, has) && !strcmp(has, sha256);
    *bytes = there ? (uint64_t) st.st_size : 0;
    if (fd >= 0)
        close(fd);
    free(path);
    return there;
}
