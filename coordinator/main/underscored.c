// underscored: the coordinator. Options, signals, wiring; and, told --child, one piece of
// work on one film.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "coordinator/children/children.h"
#include "coordinator/extract/extract.h"
#include "coordinator/hub/hub.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/page/status_server.h"
#include "coordinator/publish/publish.h"

#define MOST_MEDIA 64
#define MOST_SEGMENTS 64

static atomic_bool stopping; // a signal handler can reach nothing else

static void on_signal(int number)
{
    (void) number;
    atomic_store(&stopping, true);
}

static void print_help(void)
{
    printf("underscored %s: the coordinator of a farm that composes music for films\n\n"
           "usage: underscored --dir DIR --media DIR [OPTIONS]\n"
           "       underscored --check-ledger FILE\n\n"
           "  --dir DIR          where its ledger and the work under way are kept\n"
           "  --media DIR        films and outputs must lie here; may be given again\n"
           "  --control ADDRESS  where workers and clients find it (" HUB_CONTROL ")\n"
           "  --bulk ADDRESS     where what is large travels (" HUB_BULK ")\n"
           "  --status ADDRESS   of the status page and /metrics, ADDRESS:PORT, or none (" STATUS_ADDRESS ")\n"
           "  --lease SECONDS    a worker that gets on with nothing for so long has lost it (30)\n"
           "  --beat SECONDS     how often workers report (1)\n"
           "  --films N          films looked at or written side by side (2)\n"
           "  -v, --verbose      say more\n"
           "      --version\n", UNDERSCORE_VERSION);
}

static enum err bad_number(const char *name, const char *text)
{
    log_error("--%s %s: not a number in its range; underscored --help tells more", name, text);
    return ERR_USAGE;
}

static enum err take_number(const char *name, const char *text, double least, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= least && *out <= most ? ERR_OK : bad_number(name, text);
}

struct command {
    struct hub_params p;
    const char *media[MOST_MEDIA + 1];
    size_t media_count;
    char program[4096]; // its own path
    bool done; // --help or --version: nothing more to do
    bool verbose;
};

static enum err take_option(struct command *c, int letter)
{
    double n = 0;
    enum err e = ERR_OK;
    switch (letter) {
    case 'd': c->p.directory = optarg; break;
    case 'm':
        if (c->media_count == MOST_MEDIA)
            return ERR_USAGE;
        c->media[c->media_count++] = optarg;
        break;
    case 'c': c->p.control = optarg; break;
    case 'b': c->p.bulk = optarg; break;
    case 's': c->p.status = optarg; break;
    case 'l': e = take_number("lease", optarg, 1, 86400, &c->p.lease_s); break;
    case 't': e = take_number("beat", optarg, 0.05, 60, &c->p.beat_s); break;
    case 'f':
        e = take_number("films", optarg, 1, CHILDREN_MOST, &n);
        c->p.children = (uint32_t) n;
        break;
    case 'v': c->verbose = true; break;
    case 'h':
        print_help();
        c->done = true;
        break;
    case 'V':
        printf("underscored %s\n", UNDERSCORE_VERSION);
        c->done = true;
        break;
    default: return ERR_USAGE; // getopt has said why
    }
    return e;
}

static enum err take_options(struct command *c, int argc, char **argv)
{
    static const struct option options[] = {
        { "dir", required_argument, NULL, 'd' },    { "media", required_argument, NULL, 'm' },
        { "control", required_argument, NULL, 'c' }, { "bulk", required_argument, NULL, 'b' },
        { "lease", required_argument, NULL, 'l' },   { "beat", required_argument, NULL, 't' },
        { "status", required_argument, NULL, 's' },
        { "films", required_argument, NULL, 'f' },   { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },          { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    enum err e = ERR_OK;
    for (int letter; !e && !c->done && (letter = getopt_long(argc, argv, "vh", options, NULL)) != -1;)
        e = take_option(c, letter);
    if (!e && !c->done && (!c->p.directory || !c->media_count || optind < argc)) {
        log_error("--dir DIR and --media DIR are needed, and nothing but options; underscored --help tells more");
        e = ERR_USAGE;
    }
    return e;
}

static enum err run(struct command *c)
{
    struct hub *h;
    const ssize_t n = readlink("/proc/self/exe", c->program, sizeof(c->program) - 1);
    if (n <= 0) {
        log_error("/proc/self/exe: %s", strerror(errno));
        return ERR_UNAVAILABLE;
    }
    c->program[n] = 0;
    c->p.program = c->program;
    c->p.media = c->media;
    c->p.stop = &stopping;
    const struct sigaction once = { .sa_handler = on_signal, .sa_flags = (int) SA_RESETHAND };
    sigaction(SIGINT, &once, NULL);
    sigaction(SIGTERM, &once, NULL);
    signal(SIGPIPE, SIG_IGN);
    enum err e = hub_open(&h, &c->p);
    if (e)
        return e;
    log_info("listening at %s and %s", c->p.control, c->p.bulk);
    e = hub_run(h);
    hub_close(&h);
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
static enum err check_ledger(const char *path)
{
    const enum err e = ledger_check_file(path);
    if (!e)
        printf("%s: in order\n", path);
    return e;
}

int main(int argc, char **argv)
{
    log_init("underscored", LOG_INFO);
    if (argc == 3 && !strcmp(argv[1], "--check-ledger"))
        return err_exit_code(check_ledger(argv[2]));
    if (argc > 2 && !strcmp(argv[1], "--child"))
        return err_exit_code(run_child(argc - 2, argv + 2));
    struct command c = {
        .p = { .control = HUB_CONTROL, .bulk = HUB_BULK, .beat_s = 1, .lease_s = 30, .children = 2,
               .child_memory = 4ull << 30, .child_cpu_s = 24 * 3600 },
    };
    const enum err e = take_options(&c, argc, argv);
    if (e || c.done)
        return err_exit_code(e);
    log_init("underscored", c.verbose ? LOG_DEBUG : LOG_INFO);
    return err_exit_code(run(&c));
}
