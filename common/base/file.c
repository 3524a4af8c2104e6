#include "common/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/log.h"

// Of a name, in ".NAME.PID.part": what file systems take is 255.
#define TEMPORARY_MOST 240

enum err file_map(struct file_map *out, const char *path)
{
    *out = (struct file_map){ 0 };
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        log_error("%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return ERR_MISSING;
    }
    if (!S_ISREG(st.st_mode)) {
        log_error("%s: not a regular file", path);
        close(fd);
        return ERR_MISSING;
    }
    if (st.st_size == 0) {
        close(fd);
        return ERR_OK;
    }
    void *data = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int failed = errno;
    close(fd);
    if (data == MAP_FAILED) {
        log_error("%s: cannot map: %s", path, strerror(failed));
        return ERR_MISSING;
    }
    *out = (struct file_map){ data, (uint64_t) st.st_size };
    return ERR_OK;
}

bool file_is_same(const char *a, const char *b)
{
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

void file_unmap(struct file_map *m)
{
    if (m->data)
        munmap((void *) (uintptr_t) m->data, (size_t) m->bytes);
    *m = (struct file_map){ 0 };
}

const char *file_name_end(const char *name, size_t most)
{
    const size_t n = strlen(name);
    if (n <= most)
        return name;
    for (name += n - most; (*name & 0xc0) == 0x80;)
        name++;
    return name;
}

char *file_temporary_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const int directory = slash ? (int) (slash - path) + 1 : 0;
    char *name = NULL;
    if (asprintf(&name, "%.*s.%s.%ld.part", directory, path,
                 file_name_end(path + directory, TEMPORARY_MOST), (long) getpid()) < 0)
        return NULL;
    return name;
}

// Nobody there, or dead and not yet buried: a container may have nobody who does that.
static bool is_gone(long pid)
{
    char path[64], stat[512] = "";
    if (pid <= 0)
        return false;
    if (kill((pid_t) pid, 0) < 0)
        return errno == ESRCH;
    snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const bool read = fgets(stat, sizeof(stat), f) != NULL;
    fclose(f);
    const char *state = read ? strrchr(stat, ')') : NULL;
    return state && (!strncmp(state, ") Z", 3) || !strncmp(state, ") X", 3));
}

// ".NAME.PID.part", of a process that is no more.
static bool is_stray(const char *entry, const char *name)
{
    long pid;
    int end = 0;
    const size_t n = strlen(name), bytes = strlen(entry);
    const char *tail = entry + bytes; // of "PID.part"
    if (bytes < 7 || entry[0] != '.' || strcmp(tail - 5, ".part") != 0)
        return false;
    for (tail -= 5; tail > entry + 1 && tail[-1] != '.';)
        tail--;
    if (n && ((size_t) (tail - entry) != n + 2 || strncmp(entry + 1, name, n) != 0))
        return false;
    return sscanf(tail, "%ld.part%n", &pid, &end) == 1 && end > 0 && !tail[end] && is_gone(pid);
}

void file_remove_strays(const char *directory, const char *name)
{
    DIR *d = opendir(directory);
    name = file_name_end(name, TEMPORARY_MOST);
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (is_stray(entry->d_name, name))
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d)
        closedir(d);
}

void file_remove_strays_of(const char *path)
{
    const char *name = strrchr(path, '/');
    char *directory = name ? strndup(path, (size_t) (name - path) + 1) : strdup(".");
    if (directory)
        file_remove_strays(directory, name ? name + 1 : path);
    free(directory);
}

enum err file_full_or(int why, enum err otherwise)
{
    return why == ENOSPC || why == EDQUOT ? ERR_FULL : otherwise;
}

enum err out_file_open(struct out_file *out, const char *path)
{
    *out = (struct out_file){ .path = strdup(path), .temporary = file_temporary_name(path) };
    if (!out->path || !out->temporary) {
        log_error("%s: out of memory", path);
        out_file_discard(out);
        return ERR_NOMEM;
    }
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { // /dev/null would become a file
        log_error("%s: cannot create: it exists and is not a file", path);
        out_file_discard(out);
        return ERR_CREATE;
    }
    out->stream = fopen(out->temporary, "wbe");
    if (!out->stream) {
        const int why = errno;
        log_error("%s: cannot create: %s", path, strerror(why));
        out_file_discard(out);
        return file_full_or(why, ERR_CREATE);
    }
    return ERR_OK;
}

enum err out_file_commit(struct out_file *out)
{
    const int broken = ferror(out->stream) | fflush(out->stream);
    const int failed = errno;
    fclose(out->stream);
    out->stream = NULL;
    enum err e = ERR_OK;
    if (broken) {
        log_error("%s: cannot write: %s", out->path, strerror(failed));
        e = file_full_or(failed, ERR_IO);
    } else {
        e = file_publish(out->temporary, out->path);
    }
    out_file_discard(out); // after a rename there is nothing left to remove
    return e;
}

void out_file_discard(struct out_file *out)
{
    if (out->stream)
        fclose(out->stream);
    if (out->temporary)
        unlink(out->temporary);
    free(out->path);
    free(out->temporary);
    *out = (struct out_file){ 0 };
}

static int sync_path(const char *path, int flags)
{
    const int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return -1;
    const int r = fsync(fd);
    const int failed = errno;
    close(fd);
    errno = failed;
    return r;
}

static int sync_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *directory = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
    if (!directory)
        return -1;
    int r = sync_path(directory, O_RDONLY | O_DIRECTORY);
    if (r < 0 && (errno == EINVAL || errno == EACCES))
        // Some file systems cannot sync a directory, nor can who may write there and not read.
        r = 0;
    free(directory);
    return r;
}

enum err file_sync_directory_of(const char *path)
{
    if (sync_directory_of(path) == 0)
        return ERR_OK;
    const int why = errno;
    log_error("%s: cannot write: %s", path, strerror(why));
    return file_full_or(why, ERR_IO);
}

enum err file_publish(const char *temporary, const char *path)
{
    if (sync_path(temporary, O_RDONLY) == 0 && rename(temporary, path) == 0 &&
        sync_directory_of(path) == 0)
        return ERR_OK;
    const int why = errno;
    log_error("%s: cannot write: %s", path, strerror(why));
    unlink(temporary);
    return file_full_or(why, ERR_IO);
}

bool file_lock_directory(const char *path, int *lock)
{
    *lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return true;
    close(*lock);
    *lock = -1;
    return false;
}

enum err file_make_directory(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return ERR_NOMEM;
    int above = 0; // what kept a folder above it from being made
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(copy, 0777) < 0 && errno != EEXIST)
            above = errno;
        *p = '/';
    }
    struct stat st;
    const bool ok = mkdir(copy, 0777) == 0 ||
                    (errno == EEXIST && stat(copy, &st) == 0 && S_ISDIR(st.st_mode));
    const int why = errno == ENOENT && above ? above : errno;
    free(copy);
    if (ok)
        return ERR_OK;
    log_error("%s: cannot create directory: %s", path, strerror(why));
    return file_full_or(why, ERR_CREATE);
}
