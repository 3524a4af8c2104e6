// bench farm: a real coordinator with as much work as an archive has, and as many workers.
#include "cli/bench_farm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/farm/job_print.h"
#include "cli/settings.h"
#include "cli/verb.h"
#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"

// What is asked for.
#define BAR_DISPATCH 2000.0
#define BAR_LIST_MS 100.0
#define BAR_MB 512.0
#define BAR_FLAT 1.5
#define BAR_BULK 500.0
// Calls of `underscore list`, of which the median counts, and the seconds between them.
#define LISTS 5
#define LIST_EVERY_S 0.5
// Films whose pictures are there; the workers do not get further in the time.
#define PICTURED 400
// From 5 films on, each 20 times the one before.
#define SIZES 4

struct farm_bench {
    struct talk_settings talk;
    const char *folder;
    int64_t films, workers;
    double seconds, compose_ms;
    bool quick;
};

// Of one size.
struct measurement {
    uint64_t segments;
    uint32_t workers;
    double made_s, ready_s, rate, us, list_ms, mb;
    uint64_t refused;
};

// `underscore list` while the farm is at it, timed again and again.
struct listing {
    const struct bench_site *site;
    const char *program;
    double next_s, begun_s, ms[LISTS];
    int count;
    pid_t pid; // 0: none runs
};

static void become_list(const struct listing *l)
{
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, 1) < 0)
        _exit(1);
    execl(l->program, "underscore", "list", "--farm", l->site->control, (char *) NULL);
    _exit(1);
}

static bool attend_list(void *user)
{
    struct listing *l = user;
    int status;
    if (l->count == LISTS)
        return true;
    if (!l->pid) {
        if (clock_seconds() < l->next_s)
            return false;
        l->begun_s = clock_seconds();
        l->pid = fork();
        if (l->pid == 0)
            become_list(l);
    }
    const bool failed = l->pid < 0;
    if (failed || waitpid(l->pid, &status, WNOHANG) == l->pid) {
        const double now = clock_seconds();
        const bool done = !failed && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        l->ms[l->count++] = done ? (now - l->begun_s) * 1000 : (double) 1e9;
        l->next_s = now + LIST_EVERY_S;
        l->pid = 0;
    }
    return l->count == LISTS;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static double median_of_lists(struct listing *l)
{
    qsort(l->ms, (size_t) l->count, sizeof(l->ms[0]), by_size);
    return l->count ? l->ms[l->count / 2] : (double) 1e9;
}

// The site is the caller's to remove, when all has been measured: ext4 is slow to make files
// for some seconds after many were removed.
static enum err measure(struct measurement *m, struct bench_site *site,
                        const struct farm_bench *v, uint32_t films)
{
    struct bench_crew_result result = { 0 };
    const uint64_t segments = (uint64_t) films * BENCH_FARM_SEGMENTS;
    // Few segments keep few workers busy; and what has no pictures must not be reached.
    const uint32_t workers =
        (uint32_t) (segments / 5 < (uint64_t) v->workers ? segments / 5
                                                         : (uint64_t) v->workers);
    const uint32_t pictured = films < PICTURED ? films : PICTURED;
    char program[BENCH_PROGRAM_BYTES];
    enum err e = bench_site_find(program, "underscore");
    if (!e)
        e = bench_site_make(site, v->folder, films, pictured);
    if (!e)
        e = bench_site_start(site);
    struct listing list = { .site = site,
                            .program = program,
                            .next_s = clock_seconds() + LIST_EVERY_S };
    if (!e)
        e = bench_crew_run(&result, &(struct bench_crew){ .site = site,
                                                          .workers = workers,
                                                          .compose_s = v->compose_ms / 1000,
                                                          .seconds = v->seconds,
                                                          .most = (uint64_t) pictured *
                                                                  BENCH_FARM_SEGMENTS * 7 / 10,
                                                          .attend = attend_list,
                                                          .user = &list });
    if (!e && result.accepted == 0) {
        log_error("not one result was accepted");
        e = ERR_UNAVAILABLE;
    }
    if (!e)
        *m = (struct measurement){ segments,
                                   workers,
                                   site->made_s,
                                   site->ready_s,
                                   (double) result.accepted / result.seconds,
                                   result.cpu_s * 1e6 / (double) result.accepted,
                                   median_of_lists(&list),
                                   bench_site_most_mb(site),
                                   result.refused };
    bench_site_stop(site);
    return e;
}

static const char *verdict(bool met)
{
    return met ? "met" : "NOT met";
}

static void print_bulk(double curve, double plain)
{
    printf(
        "\nbulk over loopback, chunks of 256 KiB, one stream: %.0f MB/s over CURVE, %.0f MB/s without keys\n"
        "  bar: over CURVE >= %.0f MB/s: %s\n",
        curve, plain, BAR_BULK, verdict(curve >= BAR_BULK));
}

static void print_row(const struct measurement *m)
{
    printf("%9llu %8u %8.0f/s %9.0f us %8.0f ms %7.0f MB %8.1f s %8.1f s\n",
           (unsigned long long) m->segments, m->workers, m->rate, m->us, m->list_ms, m->mb,
           m->ready_s, m->made_s);
    if (m->refused)
        printf("          %llu results were refused or segments called off\n",
               (unsigned long long) m->refused);
    fflush(stdout);
}

static void print_bars(const struct measurement *first, const struct measurement *last)
{
    const double flat = last->us / first->us;
    printf("bars, at %llu segments and %u workers:\n", (unsigned long long) last->segments,
           last->workers);
    printf("  dispatched and accepted >= %.0f/s: %s\n", BAR_DISPATCH,
           verdict(last->rate >= BAR_DISPATCH));
    printf("  `underscore list` meanwhile <= %.0f ms: %s\n", BAR_LIST_MS,
           verdict(last->list_ms <= BAR_LIST_MS));
    printf("  the coordinator's memory <= %.0f MB: %s\n", BAR_MB, verdict(last->mb <= BAR_MB));
    printf(
        "  its time for a segment, beside that with %llu in all: %.2f times (flat: <= %.1f): %s\n",
        (unsigned long long) first->segments, flat, BAR_FLAT, verdict(flat <= BAR_FLAT));
}

static json_t *row_json(const struct measurement *m)
{
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "segments",
                     (json_int_t) m->segments, "workers", (json_int_t) m->workers, "per_s",
                     m->rate, "cpu_us", m->us, "list_ms", m->list_ms, "memory_mb", m->mb,
                     "ready_s", m->ready_s, "made_s", m->made_s, "refused",
                     (json_int_t) m->refused);
}

// Two connections for each worker, on either side.
static void raise_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void print_heading(const struct farm_bench *v)
{
    printf(
        "workers compose silence in %.0f ms a segment; films of %d segments, 20 cues; %.0f s each\n",
        v->compose_ms, BENCH_FARM_SEGMENTS, v->seconds);
    printf("%9s %8s %10s %12s %11s %10s %10s %10s\n", "segments", "workers", "done", "CPU each",
           "list", "memory", "ready in", "made in");
}

static void print_json(const struct measurement *rows, size_t count, double curve, double plain)
{
    json_t *sizes = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(sizes, row_json(&rows[i]));
    json_print(
        json_pack("{s:o, s:f, s:f}", "sizes", sizes, "curve_mb_s", curve, "plain_mb_s", plain));
}

static enum err run(const struct farm_bench *v)
{
    struct measurement rows[SIZES] = { 0 };
    struct bench_site sites[SIZES] = { 0 };
    size_t count = 0;
    double plain = 0, curve = 0;
    enum err e = ERR_OK;
    raise_limit();
    interrupt_watch();
    if (!v->talk.json)
        print_heading(v);
    for (int64_t films = 5, done = 0; !e && count < SIZES && done < v->films;
         films *= 20, count++) {
        done = films < v->films ? films : v->films;
        e = measure(&rows[count], &sites[count], v, (uint32_t) done);
        if (!e && !v->talk.json)
            print_row(&rows[count]);
    }
    if (!e && !v->talk.json)
        print_bars(&rows[0], &rows[count - 1]);
    for (size_t i = 0; i < SIZES; i++)
        bench_site_finish(&sites[i]);
    if (!e)
        e = bench_bulk(&plain, false, v->quick ? 0.5 : 3);
    if (!e)
        e = bench_bulk(&curve, true, v->quick ? 0.5 : 3);
    if (!e && !v->talk.json)
        print_bulk(curve, plain);
    else if (!e)
        print_json(rows, count, curve, plain);
    return e;
}

enum err verb_bench_farm(int argc, char **argv)
{
    struct farm_bench v = { .folder = "/var/tmp",
                            .films = 10000,
                            .workers = 1000,
                            .seconds = 10,
                            .compose_ms = 250 };
    struct option_spec talk[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Bench", .kind = OPTION_HEADING },
        { .name = "films",
          .kind = OPTION_INT,
          .target = &v.films,
          .value = "N",
          .min = 5,
          .max = 40000,
          .help = "of 200 segments each, in the largest ledger" },
        { .name = "workers",
          .kind = OPTION_INT,
          .target = &v.workers,
          .value = "N",
          .min = 1,
          .max = 5000,
          .help = "each with two connections, from this process" },
        { .name = "seconds",
          .kind = OPTION_NUMBER,
          .target = &v.seconds,
          .value = "N",
          .min = 1,
          .max = 600,
          .help = "that each size is measured for" },
        { .name = "compose",
          .kind = OPTION_NUMBER,
          .target = &v.compose_ms,
          .value = "MS",
          .min = 1,
          .max = 60000,
          .help = "milliseconds that a worker takes for a segment" },
        { .name = "dir",
          .kind = OPTION_STRING,
          .target = &v.folder,
          .value = "DIR",
          .help = "on the disk to measure; what is made there is removed" },
        { .name = "quick",
          .kind = OPTION_FLAG,
          .target = &v.quick,
          .help = "a few seconds, with few of all: a test of this bench" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    const struct option_spec *const tables[] = { own, talk };
    const struct verb_page page = {
        .usage = "underscore bench farm [OPTIONS]",
        .summary =
            "A coordinator of its own with 10,000 planned films, and 1,000 workers in this process that\n"
            "compose silence: segments a second, the coordinator's time and memory, how long `list` takes.\n"
            "What child processes do (plans, pictures, delivery) is left out.",
        .tables = tables,
        .table_count = 2,
        .min_arguments = 0,
        .max_arguments = 0,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    if (v.quick) {
        v.films = v.films < 10000 ? v.films : 20;
        v.workers = v.workers < 1000 ? v.workers : 40;
        v.seconds = 2;
    }
    return run(&v);
}
