// underscored: the coordinator. Options, signals, wiring; and, told --child, one piece of
// work on one film.
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/daemon/daemon.h"
#include "coordinator/children/children.h"
#include "coordinator/extract/extract.h"
#include "coordinator/hub/hub.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/main/coordinator_settings.h"
#include "coordinator/publish/publish.h"

#define MOST_SEGMENTS 64
// For itself and the status page, and two for each worker: with fewer it would soon be able to open nothing.
#define LEAST_FILES 256

static atomic_bool stopping; // a signal handler can reach nothing else

static void on_signal(int number)
{
    (void) number;
    atomic_store(&stopping, true);
}

// All that this process is made of.
struct coordinator {
    struct daemon_reload daemon;
    struct hub *hub;
    char program[4096]; // its own path
};

static const struct coordinator_settings *settings_of(const struct coordinator *c)
{
    return c->daemon.now.settings;
}

static enum err read_settings(struct daemon_settings *out, int argc, char **argv)
{
    struct coordinator_settings *s = calloc(1, sizeof(*s));
    out->settings = s;
    if (!s)
        return ERR_NOMEM;
    out->table = s->table;
    return coordinator_settings_read(s, argc, argv);
}

static void finish_settings(struct daemon_settings *d)
{
    if (d->settings)
        coordinator_settings_finish(d->settings);
    free(d->settings);
}

static void apply(void *user)
{
    const struct coordinator *c = user;
    struct hub_params p = { 0 };
    log_init("underscored", settings_of(c)->verbose ? LOG_DEBUG : LOG_INFO);
    coordinator_settings_to_hub(settings_of(c), &p);
    hub_reload(c->hub, &p);
}

static void describe(void *user, char *out, size_t room)
{
    const struct coordinator *c = user;
    hub_describe(c->hub, out, room);
}

static void attend(void *user)
{
    struct coordinator *c = user;
    daemon_attend_hangup(&c->daemon);
    daemon_alive(clock_seconds(), describe, c);
}

static enum err configure(void *user, enum wire_config what,
                          void (*line)(void *to, const char *text), void *to)
{
    struct coordinator *c = user;
    if (what != WIRE_CONFIG_DUMP)
        return daemon_reload(&c->daemon, what == WIRE_CONFIG_CHECK, line, to);
    config_dump(c->daemon.now.table, line, to);
    return ERR_OK;
}

// Two connections for each worker: more than a process has files by default.
static enum err raise_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return ERR_OK;
    if (files.rlim_max < LEAST_FILES) {
        log_error(
            "no more than %llu files may be open at once here, and at least %d are needed: see ulimit -Hn, or "
            "LimitNOFILE= of the service",
            (unsigned long long) files.rlim_max, LEAST_FILES);
        return ERR_UNAVAILABLE;
    }
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        log_warn("no more than the usual number of connections: %s", strerror(errno));
    return ERR_OK;
}

static enum err find_program(struct coordinator *c)
{
    const ssize_t n = readlink("/proc/self/exe", c->program, sizeof(c->program) - 1);
    if (n > 0)
        return ERR_OK;
    log_error("/proc/self/exe: %s", strerror(errno));
    return ERR_UNAVAILABLE;
}

static enum err serve(struct coordinator *c)
{
    const struct coordinator_settings *s = settings_of(c);
    struct hub_params p = {
        .program = c->program,
        .stop = &stopping,
        .attend = attend,
        .configure = configure,
        .user = c,
    };
    const struct sigaction once = { .sa_handler = on_signal, .sa_flags = (int) SA_RESETHAND };
    sigaction(SIGINT, &once, NULL);
    sigaction(SIGTERM, &once, NULL);
    signal(SIGPIPE, SIG_IGN);
    daemon_watch_hangup();
    coordinator_settings_to_hub(s, &p);
    enum err e = raise_limit();
    if (!e)
        e = find_program(c);
    if (!e)
        e = hub_open(&c->hub, &p);
    if (e)
        return e;
    log_info("listening at %s and %s", s->control, s->bulk);
    daemon_notify("READY=1");
    e = hub_run(c->hub);
    daemon_notify("STOPPING=1");
    hub_close(&c->hub);
    return e;
}

static enum err run(int argc, char **argv)
{
    struct coordinator c = {
        .daemon = { .argc = argc,
                    .argv = argv,
                    .read = read_settings,
                    .finish = finish_settings,
                    .apply = apply },
    };
    c.daemon.user = &c;
    wire_keep_memory();
    enum err e = daemon_begin(&c.daemon);
    if (!e && !settings_of(&c)->command.done) {
        log_init("underscored", settings_of(&c)->verbose ? LOG_DEBUG : LOG_INFO);
        e = serve(&c);
    }
    daemon_end(&c.daemon);
    return e;
}

static uint32_t number(const char *text)
{
    return (uint32_t) strtoul(text, NULL, 10);
}

// --child WHAT FOLDER ...: as children_start() is told by the hub.
static enum err run_child(int argc, char **argv)
{
    child_confine();
    if (argc == 5 && !strcmp(argv[0], "plan"))
        return extract_plan(argv[1], number(argv[2]), number(argv[3]), number(argv[4]));
    if (argc == 3 && !strcmp(argv[0], "publish"))
        return publish(argv[1], strtoll(argv[2], NULL, 10));
    if (argc > 4 && argc - 4 <= MOST_SEGMENTS && !strcmp(argv[0], "frames")) {
        uint32_t segments[MOST_SEGMENTS], count = 0;
        for (int i = 4; i < argc; i++)
            segments[count++] = number(argv[i]);
        return extract_frames(argv[1], strtod(argv[2], NULL), number(argv[3]), segments, count);
    }
    return ERR_USAGE;
}

// Of a coordinator that does not run, or a copy.
static enum err check_ledger(const char *path, bool json)
{
    const enum err e = ledger_check_file(path);
    if (!e && json)
        // As `underscore db check --json` says it of a ledger in use.
        puts("{\n  \"sound\": true\n}");
    else if (!e)
        printf("%s: in order\n", path);
    return e;
}

int main(int argc, char **argv)
{
    log_init("underscored", LOG_INFO);
    if (argc >= 3 && !strcmp(argv[1], "--check-ledger"))
        return err_exit_code(check_ledger(argv[2], argc > 3));
    if (argc > 2 && !strcmp(argv[1], "--child"))
        return child_status(run_child(argc - 2, argv + 2));
    return err_exit_code(run(argc, argv));
}
