#include "common/daemon/daemon.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/base/log.h"

static atomic_uint hangups; // a signal handler can reach nothing else

static void on_hangup(int number)
{
    (void) number;
    atomic_fetch_add(&hangups, 1);
}

void daemon_watch_hangup(void)
{
    const struct sigaction a = { .sa_handler = on_hangup };
    sigaction(SIGHUP, &a, NULL);
}

bool daemon_hung_up(void)
{
    return atomic_exchange(&hangups, 0) > 0;
}

// Notifications

// '@' begins a name that is in no file system.
static bool find_manager(struct sockaddr_un *to, socklen_t *bytes)
{
    const char *name = getenv("NOTIFY_SOCKET");
    const size_t n = name ? strlen(name) : 0;
    if (n < 2 || n >= sizeof(to->sun_path) || (name[0] != '/' && name[0] != '@'))
        return false;
    *to = (struct sockaddr_un){ .sun_family = AF_UNIX };
    memcpy(to->sun_path, name, n);
    if (name[0] == '@')
        to->sun_path[0] = 0;
    *bytes = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + n);
    return true;
}

void daemon_notify(const char *format, ...)
{
    struct sockaddr_un to;
    socklen_t bytes;
    char text[1024];
    va_list args;
    if (!find_manager(&to, &bytes))
        return;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (n <= 0 || (size_t) n >= sizeof(text) || fd < 0 ||
        sendto(fd, text, (size_t) n, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *) &to,
               bytes) < 0)
        log_debug("the service manager was not told: %s", text);
    if (fd >= 0)
        close(fd);
}

// How often to say so; 0: nobody watches this process.
static double watchdog_s(void)
{
    const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (!us || (pid && strtol(pid, NULL, 10) != (long) getpid()))
        return 0;
    const double s = strtod(us, NULL) / 1e6;
    return s > 0 ? s : 0;
}

#define STATUS_EVERY_S 5.0

void daemon_alive(double now, void (*status)(void *user, char *out, size_t room), void *user)
{
    static double next_s; // of this process
    char text[512] = "";
    if (now < next_s)
        return;
    const double watch = watchdog_s();
    next_s = now + (watch > 0 && watch / 2 < STATUS_EVERY_S ? watch / 2 : STATUS_EVERY_S);
    status(user, text, sizeof(text));
    daemon_notify("%sSTATUS=%s", watch > 0 ? "WATCHDOG=1\n" : "", text);
}

// Settings

enum err daemon_begin(struct daemon_reload *d)
{
    return d->read(&d->now, d->argc, d->argv);
}

void daemon_end(struct daemon_reload *d)
{
    struct daemon_settings *next;
    for (struct daemon_settings *s = d->now.kept; s; s = next) {
        next = s->kept;
        d->finish(s);
        free(s);
    }
    d->finish(&d->now);
    d->now = (struct daemon_settings){ 0 };
}

enum err daemon_reload(struct daemon_reload *d, bool only_ask,
                       void (*line)(void *to, const char *text), void *to)
{
    struct daemon_settings *fresh = calloc(1, sizeof(*fresh));
    enum err e = fresh ? d->read(fresh, d->argc, d->argv) : ERR_NOMEM;
    if (!e)
        config_take_over(d->now.table, fresh->table, only_ask, line, to);
    if (e || only_ask) {
        if (fresh)
            d->finish(fresh);
        free(fresh);
        return e;
    }
    fresh->kept = d->now.kept;
    d->now.kept = fresh;
    d->apply(d->user);
    return ERR_OK;
}

static void log_line(void *to, const char *text)
{
    (void) to;
    log_info("%s", text);
}

void daemon_attend_hangup(struct daemon_reload *d)
{
    struct timespec t;
    if (!daemon_hung_up())
        return;
    clock_gettime(CLOCK_MONOTONIC, &t);
    daemon_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
                  (long long) t.tv_sec * 1000000 + t.tv_nsec / 1000);
    if (daemon_reload(d, false, log_line, NULL))
        log_error("nothing was changed: the settings stay as they were");
    else
        log_info("the settings were read again");
    daemon_notify("READY=1");
}
