// What a kill at a bad moment, a wall clock that jumps and a disk that fails do to a program,
// for tests: loaded before the C library by LD_PRELOAD.
//
//   FAULT_DIE=N     kill -9 of itself instead of the N-th time it has something written down
//                   (fsync, fdatasync, rename); FAULT_DIE=N+: right after it
//   FAULT_CLOCK=F   seconds that the wall clock is off, as the file F says at that moment;
//                   the monotonic clock goes right
//   FAULT_SYNC=D    what is written below the folder D cannot be written down: EIO
//   FAULT_BAD=F     what the file F names cannot be read: EIO
//   FAULT_HANG=D    what is asked of the file system at the folder D has no answer while there is a D.dead beside it,
//                   and no file there is opened while there is a D.slow
//   FAULT_PLAIN     file systems can neither link nor keep a rename from replacing, as many of those in user space
//
// FAULT_DIE is for the program itself and not for those that it starts.
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static atomic_long to_go; // until it dies; 0: it does not
static bool after;

__attribute__((constructor)) static void begin(void)
{
    const char *die = getenv("FAULT_DIE");
    if (!die)
        return;
    char *end;
    atomic_store(&to_go, strtol(die, &end, 10));
    after = *end == '+';
    unsetenv("FAULT_DIE");
}

static void die(void)
{
    kill(getpid(), SIGKILL);
}

// True: this is the one, and it comes first.
static bool is_last(void)
{
    if (atomic_load(&to_go) == 0 || atomic_fetch_sub(&to_go, 1) != 1)
        return false;
    if (!after)
        die();
    return true;
}

static int done(bool last, int result)
{
    if (last)
        die();
    return result;
}

static bool is_on_a_bad_disk(int fd)
{
    const char *folder = getenv("FAULT_SYNC");
    char link[64], name[PATH_MAX] = "";
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return folder && readlink(link, name, sizeof(name) - 1) > 0 &&
           !strncmp(name, folder, strlen(folder));
}

int fsync(int fd)
{
    const bool last = is_last();
    if (is_on_a_bad_disk(fd)) {
        errno = EIO;
        return -1;
    }
    return done(last, (int) syscall(SYS_fsync, fd));
}

int fdatasync(int fd)
{
    const bool last = is_last();
    return done(last, (int) syscall(SYS_fdatasync, fd));
}

int rename(const char *from, const char *to)
{
    const bool last = is_last();
    return done(last, (int) syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (!getenv("FAULT_PLAIN"))
        return (int) syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    errno = EINVAL;
    return -1;
}

int link(const char *from, const char *to)
{
    if (!getenv("FAULT_PLAIN"))
        return (int) syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
    errno = EPERM;
    return -1;
}

static bool is_bad(int fd)
{
    const char *path = getenv("FAULT_BAD");
    char link[64], bad[PATH_MAX] = "", name[PATH_MAX] = "";
    const int list =
        path ? (int) syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    if (list < 0)
        return false;
    syscall(SYS_read, list, bad, sizeof(bad) - 1);
    close(list);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    return *bad && readlink(link, name, sizeof(name) - 1) > 0 && !strcmp(name, bad);
}

ssize_t read(int fd, void *out, size_t bytes)
{
    if (!is_bad(fd))
        return syscall(SYS_read, fd, out, bytes);
    errno = EIO;
    return -1;
}

// Those of the calls that take a path which a coordinator and FFmpeg make there.
static void hang_while(const char *path, const char *how)
{
    const char *folder = getenv("FAULT_HANG");
    char sign[PATH_MAX];
    if (!folder || !path || strncmp(path, folder, strlen(folder)) != 0)
        return;
    snprintf(sign, sizeof(sign), "%s.%s", folder, how);
    while (syscall(SYS_faccessat, AT_FDCWD, sign, F_OK) == 0)
        usleep(20000);
}

static void hang(const char *path)
{
    hang_while(path, "dead");
}

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

char *realpath(const char *restrict path, char *restrict out)
{
    char *(*real)(const char *, char *) = (char *(*) (const char *, char *) ) next("realpath");
    hang(path);
    return real(path, out);
}

// As the C library's fortified realpath() is called.
char *checked_realpath(const char *restrict path, char *restrict out,
                       size_t room) __asm__("__realpath_chk");
char *checked_realpath(const char *restrict path, char *restrict out, size_t room)
{
    (void) room;
    return realpath(path, out);
}

int access(const char *path, int how)
{
    hang(path);
    return (int) syscall(SYS_faccessat, AT_FDCWD, path, how);
}

int stat(const char *restrict path, struct stat *restrict out)
{
    hang(path);
    return (int) syscall(SYS_newfstatat, AT_FDCWD, path, out, 0);
}

int statvfs(const char *restrict path, struct statvfs *restrict out)
{
    int (*real)(const char *, struct statvfs *) =
        (int (*)(const char *, struct statvfs *)) next("statvfs");
    hang(path);
    return real(path, out);
}

int unlink(const char *path)
{
    hang(path);
    return (int) syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

DIR *opendir(const char *path)
{
    DIR *(*real)(const char *) = (DIR * (*) (const char *) ) next("opendir");
    hang(path);
    return real(path);
}

static int open_with(const char *path, int how, mode_t mode)
{
    hang_while(path, "slow");
    hang(path);
    return (int) syscall(SYS_openat, AT_FDCWD, path, how, mode);
}

static bool has_mode(int how)
{
    return how & O_CREAT || (how & O_TMPFILE) == O_TMPFILE;
}

int open(const char *path, int how, ...)
{
    va_list more;
    va_start(more, how);
    const mode_t mode = has_mode(how) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(path, how, mode);
}

int open64(const char *path, int how, ...)
{
    va_list more;
    va_start(more, how);
    const mode_t mode = has_mode(how) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return open_with(path, how, mode);
}

static time_t off(void)
{
    const char *path = getenv("FAULT_CLOCK");
    char text[32] = "";
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    const ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 ? (time_t) strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    const int r = (int) syscall(SYS_clock_gettime, clock, out);
    if (r == 0 && clock == CLOCK_REALTIME)
        out->tv_sec += off();
    return r;
}

time_t time(time_t *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;
    (void) zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
    return 0;
}
