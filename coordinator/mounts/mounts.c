#include "coordinator/mounts/mounts.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define PATIENCE_S 1.0
#define WAITS 10

static bool lies_in(const char *path, const char *root, size_t bytes)
{
    return bytes && !strncmp(path, root, bytes) &&
           (root[bytes - 1] == '/' || path[bytes] == '/' || path[bytes] == 0);
}

// How long the root that stands for a path is; 0: it lies in none.
static size_t root_of(const char *const *roots, const char *path)
{
    size_t most = 0;
    for (; roots && *roots; roots++) {
        const size_t n = strlen(*roots);
        if (n > most && lies_in(path, *roots, n))
            most = n;
    }
    return most;
}

// Asked about the whole file system, for what is known of a file may be kept on this machine. The folder that a file
// is to come into answers for it.
static void *ask(void *path)
{
    struct statvfs s;
    char *slash;
    while (statvfs(path, &s) != 0 && errno == ENOENT && (slash = strrchr(path, '/')) &&
           slash != path)
        *slash = 0;
    free(path);
    return NULL;
}

static bool comes_back_until(pthread_t thread, double until_s)
{
#if defined(__SANITIZE_THREAD__) // GCC's does not know the other call
    while (pthread_tryjoin_np(thread, NULL) != 0) {
        if (clock_seconds() >= until_s)
            return false;
        usleep(100);
    }
    return true;
#else
    const struct timespec until = { (time_t) until_s, (long) (fmod(until_s, 1) * 1e9) };
    return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0;
#endif
}

// False: the thread is still at it. While this process is stopped the clock goes on and the thread does not: that
// counts as one of many waits.
static bool comes_back(pthread_t thread, double within_s)
{
    bool back = false;
    for (int i = 0; !back && i < WAITS; i++)
        back = comes_back_until(thread, clock_seconds() + within_s / WAITS);
    return back;
}

bool mounts_answer(struct mounts *m, const char *const *roots, const char *path, double now)
{
    const size_t n = root_of(roots, path);
    for (size_t i = 0; i < m->count; i++)
        if (!strncmp(m->silent[i].root, path, n) && m->silent[i].root[n] == 0)
            return false;
    char *copy = strdup(path), *root = strndup(path, n);
    pthread_t thread;
    bool answers = false;
    if (m->count == MOUNTS_MOST || !copy || !root ||
        pthread_create(&thread, NULL, ask, copy) != 0) {
        free(copy);
    } else if (comes_back(thread, m->patience_s > 0 ? m->patience_s : PATIENCE_S)) {
        answers = true;
    } else {
        log_warn("%s: its file system does not answer; what lies there waits until it does",
                 n ? root : path);
        m->silent[m->count++] = (struct mount){ root, thread, now };
        root = NULL;
    }
    free(root);
    return answers;
}

enum place mounts_place(struct mounts *m, const char *const *roots, const char *path,
                        double now)
{
    char real[PATH_MAX], root[PATH_MAX];
    enum place otherwise = PLACE_ELSEWHERE;
    if (path[0] != '/')
        return PLACE_ELSEWHERE;
    if (!mounts_answer(m, roots, path, now))
        return PLACE_SILENT;
    if (!realpath(path, real))
        return PLACE_MISSING;
    for (; *roots; roots++) {
        if (!mounts_answer(m, roots, *roots, now))
            otherwise = PLACE_SILENT;
        else if (!realpath(*roots, root))
            otherwise = otherwise == PLACE_SILENT ? otherwise : PLACE_MISSING;
        else if (lies_in(real, root, strlen(root)))
            return PLACE_MEDIA;
    }
    return otherwise;
}

void mounts_tick(struct mounts *m, double now)
{
    for (size_t i = m->count; i-- > 0;) {
        struct mount *silent = &m->silent[i];
        if (now - silent->since_s < MOUNTS_SILENT_S ||
            pthread_tryjoin_np(silent->thread, NULL) != 0)
            continue;
        log_info("%s: answers again",
                 *silent->root ? silent->root : "what lies in no media folder");
        free(silent->root);
        *silent = m->silent[--m->count];
    }
}

void mounts_finish(struct mounts *m)
{
    for (size_t i = 0; i < m->count; i++) {
        pthread_detach(m->silent[i].thread);
        free(m->silent[i].root);
    }
    *m = (struct mounts){ 0 };
}
