// bench_farm: what the files of `underscore bench farm` share.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

#define BENCH_FARM_SEGMENTS 200 // of each film

// A coordinator with work, of its own, below a folder that is removed with it.
struct bench_site {
    char directory[256], control[288], bulk[288];
    pid_t coordinator; // 0: not running
    uint32_t films;
    double made_s, ready_s; // how long making it and starting the coordinator took
};

// The program of that name beside this one. ERR_UNAVAILABLE: logged.
#define BENCH_PROGRAM_BYTES 4200
ERR_CHECKED enum err bench_site_find(char out[BENCH_PROGRAM_BYTES], const char *name);
// `films` planned ones, as if they had been submitted; the pictures of the first `pictured`
// are there, but for the last segment of each. ERR_CREATE, ERR_IO: logged.
ERR_CHECKED enum err bench_site_make(struct bench_site *s, const char *folder, uint32_t films,
                                     uint32_t pictured);
// Starts the underscored beside this program and waits until it answers.
ERR_CHECKED enum err bench_site_start(struct bench_site *s);
double bench_site_cpu_s(const struct bench_site *s);   // that the coordinator has used
double bench_site_most_mb(const struct bench_site *s); // of memory that it has had
void bench_site_stop(struct bench_site *s);            // the coordinator
void bench_site_finish(struct bench_site *s);

struct bench_crew {
    const struct bench_site *site;
    uint32_t workers;
    double compose_s;           // that a segment takes
    double seconds;             // to measure for
    uint64_t most;              // segments, then it is enough
    bool (*attend)(void *user); // now and then; false: that is not over yet; or NULL
    void *user;
};

struct bench_crew_result {
    uint64_t accepted;
    double seconds, cpu_s; // of the coordinator
    uint64_t refused;      // STALE, DUP and the like
};

// Workers that compose silence, in this process and thread, each with its own connections.
// ERR_UNAVAILABLE: the coordinator does not answer; logged.
ERR_CHECKED enum err bench_crew_run(struct bench_crew_result *out,
                                    const struct bench_crew *crew);

// MB/s of chunks as results are sent, over TCP on this machine; both ends in this process.
ERR_CHECKED enum err bench_bulk(double *mb_s, bool curve, double seconds);
