// The farm that `bench farm` measures: a ledger with planned films, a spool to go with it, and
// the real underscored upon both. Files that are the same for each film are one file with many
// names.
#include "cli/bench_farm.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/wire/wire.h"
#include "coordinator/ledger/ledger.h"

#define PATIENCE_S 120
// Names that one file may have, on the file systems that allow the fewest.
#define NAMES 30000
#define CUES 20
static const int64_t cue_ms = 15500;

static const struct ledger_model model = {
    .sha256 = "0000000000000000000000000000000000000000000000000000000000000000",
    .sample_rate = 1000,
    .hop = 100,
    .max_duration_ms = 2000,
    .image = 1,
    .codebooks = 1,
    .frames_per_s = 0.01,
};

// 20 cues of 10 segments of 2 s each.
static enum err make_plan(struct plan **out)
{
    struct plan_scene scenes[CUES];
    struct plan_settings settings =
        plan_settings_default(&(struct plan_model){ model.sample_rate, model.hop, 2000 });
    settings.segment_ms = 2000;
    settings.overlap_ms = 500;
    settings.crossfade_ms = 0;
    settings.min_cue_ms = 8000;
    settings.max_cue_ms = 30000;
    for (uint32_t i = 0; i < CUES; i++)
        scenes[i] = (struct plan_scene){ (int64_t) (i + 1) * cue_ms, 10 };
    enum err e = plan_build(
        out, &(struct plan_film){ .path = "/dev/null", .duration_ms = CUES * cue_ms }, scenes,
        CUES - 1, &settings);
    if (!e && (*out)->segment_count != BENCH_FARM_SEGMENTS) {
        log_error("the plan has %u segments", (*out)->segment_count);
        e = ERR_BUG;
    }
    return e;
}

static enum err make_request(uint8_t **out, size_t *bytes)
{
    struct wire_message *m = calloc(1, sizeof(*m));
    *out = NULL;
    if (!m)
        return ERR_NOMEM;
    m->type = WIRE_SUBMIT;
    m->submit = (struct wire_submit){ .film = "/dev/null",
                                      .output = "/dev/null",
                                      .owner = "bench",
                                      .segment_ms = -1,
                                      .overlap_ms = -1,
                                      .crossfade_ms = -1,
                                      .min_cue_ms = -1,
                                      .max_cue_ms = -1,
                                      .guidance = 1,
                                      .temperature = 1,
                                      .top_k = 250,
                                      .bitrate = 256000 };
    const enum err e = wire_encode(out, bytes, m);
    free(m);
    return e;
}

// The ledger

static enum err add_film(struct ledger *l, uint32_t number, const struct plan *plan,
                         const struct ledger_planned *segments)
{
    char name[32];
    int64_t job;
    bool existed;
    uint8_t *request;
    size_t bytes;
    enum err e = make_request(&request, &bytes);
    snprintf(name, sizeof(name), "/films/%05u.mkv", number);
    if (!e)
        e = ledger_submit(l,
                          &(struct ledger_submission){
                              .film = name,
                              .output = name,
                              .owner = "bench",
                              .model = model.sha256,
                              .identity = name,
                              .request = request,
                              .request_bytes = bytes,
                          },
                          clock_unix_ms(), &job, &existed);
    free(request);
    if (!e)
        e = ledger_move_job(l, job, JOB_PROBING, NULL, 0);
    if (!e)
        e = ledger_plan(l, job, plan->film.duration_ms, plan->cue_count, segments,
                        plan->segment_count);
    return e;
}

// In memory first: there each commit is not a write to the disk.
static enum err make_ledger(const struct bench_site *s, const struct plan *plan)
{
    struct ledger_planned segments[BENCH_FARM_SEGMENTS];
    char draft[64], path[300];
    struct ledger *l = NULL;
    snprintf(draft, sizeof(draft), "/dev/shm/underscore-bench-%ld.db", (long) getpid());
    snprintf(path, sizeof(path), "%s/ledger.db", s->directory);
    for (uint32_t i = 0; i < BENCH_FARM_SEGMENTS; i++) {
        const struct plan_segment *g = &plan->segments[i];
        segments[i] =
            (struct ledger_planned){ g->cue, g->index, g->end_ms - g->start_ms - g->overlap_ms,
                                     plan->cues[g->cue].end_ms - g->start_ms - g->overlap_ms };
    }
    enum err e = ledger_open(&l, draft);
    if (!e)
        e = ledger_put_model(l, &model);
    for (uint32_t i = 0; !e && i < s->films; i++)
        e = interrupt_asked() ? ERR_STOP : add_film(l, i, plan, segments);
    if (!e)
        e = ledger_backup(l, path);
    ledger_close(&l);
    unlink(draft);
    return e;
}

// The spool

static enum err write_file(const char *path, const void *data, size_t bytes)
{
    struct out_file out;
    enum err e = out_file_open(&out, path);
    if (e)
        return e;
    if (bytes && fwrite(data, bytes, 1, out.stream) != 1) {
        out_file_discard(&out);
        return ERR_IO;
    }
    return out_file_commit(&out);
}

static bool name_also(const char *file, const char *folder, const char *name)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (link(file, path) == 0)
        return true;
    log_error("%s: %s", path, strerror(errno));
    return false;
}

static bool make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return true;
    log_error("%s: %s", path, strerror(errno));
    return false;
}

// The pictures of all segments but the last: so no film is ever finished and delivered, which
// is not what is measured here.
static enum err add_pictures(const struct bench_site *s, const char *folder, uint32_t film)
{
    char picture[300], name[16];
    snprintf(picture, sizeof(picture), "%s/picture-%u", s->directory,
             film * BENCH_FARM_SEGMENTS / NAMES);
    enum err e = access(picture, F_OK) == 0 ? ERR_OK : write_file(picture, "rgb", 3);
    for (uint32_t i = 0; !e && i + 1 < BENCH_FARM_SEGMENTS; i++) {
        snprintf(name, sizeof(name), "%u", i);
        e = name_also(picture, folder, name) ? ERR_OK : ERR_CREATE;
    }
    return e;
}

static enum err add_folder(const struct bench_site *s, uint32_t film, bool pictured)
{
    static const char *const names[] = { "request", "plan.json", "identity" };
    char folder[300], below[320], file[300];
    snprintf(folder, sizeof(folder), "%s/jobs/%u", s->directory, film + 1);
    if (!make_folder(folder))
        return ERR_CREATE;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(file, sizeof(file), "%s/%s", s->directory, names[i]);
        if (!name_also(file, folder, names[i]))
            return ERR_CREATE;
    }
    snprintf(below, sizeof(below), "%s/parts", folder);
    if (!make_folder(below))
        return ERR_CREATE;
    snprintf(below, sizeof(below), "%s/frames", folder);
    if (!make_folder(below))
        return ERR_CREATE;
    return pictured ? add_pictures(s, below, film) : ERR_OK;
}

static enum err make_spool(const struct bench_site *s, const struct plan *plan,
                           uint32_t pictured)
{
    char path[300];
    uint8_t *request;
    size_t n;
    enum err e = make_request(&request, &n);
    snprintf(path, sizeof(path), "%s/request", s->directory);
    if (!e)
        e = write_file(path, request, n);
    snprintf(path, sizeof(path), "%s/identity", s->directory);
    if (!e)
        e = write_file(path, "0-0", 3);
    snprintf(path, sizeof(path), "%s/plan.json", s->directory);
    if (!e)
        e = film_plan_write(plan, path);
    snprintf(path, sizeof(path), "%s/jobs", s->directory);
    if (!e && !make_folder(path))
        e = ERR_CREATE;
    for (uint32_t i = 0; !e && i < s->films; i++)
        e = interrupt_asked() ? ERR_STOP : add_folder(s, i, i < pictured);
    free(request);
    return e;
}

enum err bench_site_make(struct bench_site *s, const char *folder, uint32_t films,
                         uint32_t pictured)
{
    struct plan *plan = NULL;
    const double begun = clock_seconds();
    *s = (struct bench_site){ .films = films };
    if (snprintf(s->directory, sizeof(s->directory), "%.200s/underscore-farm-XXXXXX", folder) <
            0 ||
        !mkdtemp(s->directory)) {
        log_error("%s: %s", s->directory, strerror(errno));
        s->directory[0] = 0;
        return ERR_CREATE;
    }
    snprintf(s->control, sizeof(s->control), "ipc://%s/control", s->directory);
    snprintf(s->bulk, sizeof(s->bulk), "ipc://%s/bulk", s->directory);
    enum err e = make_plan(&plan);
    if (!e)
        e = make_spool(s, plan, pictured);
    if (!e)
        e = make_ledger(s, plan);
    plan_destroy(&plan);
    s->made_s = clock_seconds() - begun;
    return e;
}

// The coordinator

enum err bench_site_find(char out[BENCH_PROGRAM_BYTES], const char *name)
{
    char self[4000];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self));
    const char *slash = n > 0 ? memrchr(self, '/', (size_t) n) : NULL;
    snprintf(out, BENCH_PROGRAM_BYTES, "%.*s/%.100s", slash ? (int) (slash - self) : 0, self,
             name);
    if (access(out, X_OK) == 0)
        return ERR_OK;
    log_error("%s: not there; `bench farm` needs it beside this program", out);
    return ERR_UNAVAILABLE;
}

static void become_coordinator(const struct bench_site *s, const char *program)
{
    char log[300];
    snprintf(log, sizeof(log), "%s/log", s->directory);
    const int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        _exit(1);
    execl(program, program, "--dir", s->directory, "--media", "/dev", "--control", s->control,
          "--bulk", s->bulk, "--status", "none", "--lease", "120", "--beat", "5",
          (char *) NULL);
    _exit(1);
}

// It answers anything: a hello without a name is refused.
static enum err wait_for_answer(const struct bench_site *s)
{
    const int patience = PATIENCE_S * 1000, linger = 0;
    struct wire_message *m = calloc(1, sizeof(*m));
    uint8_t *bytes = NULL;
    size_t n = 0;
    char answer[64];
    void *zmq = zmq_ctx_new(), *socket = zmq ? zmq_socket(zmq, ZMQ_DEALER) : NULL;
    enum err e = m && socket ? ERR_OK : ERR_NOMEM;
    if (!e) {
        m->type = WIRE_QUEUE;
        e = wire_encode(&bytes, &n, m);
    }
    if (!e) {
        zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof(patience));
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
        if (zmq_connect(socket, s->control) != 0 || zmq_send(socket, bytes, n, 0) < 0 ||
            zmq_recv(socket, answer, sizeof(answer), 0) < 0)
            e = interrupt_asked() ? ERR_STOP : ERR_UNAVAILABLE;
        if (e == ERR_UNAVAILABLE)
            log_error("the coordinator does not answer; it said so much: %s/log", s->directory);
    }
    if (socket)
        zmq_close(socket);
    if (zmq)
        zmq_ctx_term(zmq);
    free(bytes), free(m);
    return e;
}

enum err bench_site_start(struct bench_site *s)
{
    char program[BENCH_PROGRAM_BYTES];
    const double begun = clock_seconds();
    const enum err found = bench_site_find(program, "underscored");
    if (found)
        return found;
    s->coordinator = fork();
    if (s->coordinator == 0)
        become_coordinator(s, program);
    if (s->coordinator < 0) {
        s->coordinator = 0;
        log_error("cannot start a process: %s", strerror(errno));
        return ERR_UNAVAILABLE;
    }
    const enum err e = wait_for_answer(s);
    s->ready_s = clock_seconds() - begun;
    return e;
}

double bench_site_cpu_s(const struct bench_site *s)
{
    char path[64], line[1024] = "";
    unsigned long long user = 0, system = 0;
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long) s->coordinator);
    FILE *f = fopen(path, "r");
    if (f && fgets(line, sizeof(line), f) && strrchr(line, ')'))
        sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
               &user, &system);
    if (f)
        fclose(f);
    return (double) (user + system) / (double) sysconf(_SC_CLK_TCK);
}

double bench_site_most_mb(const struct bench_site *s)
{
    char path[64], line[256];
    double kb = 0;
    snprintf(path, sizeof(path), "/proc/%ld/status", (long) s->coordinator);
    FILE *f = fopen(path, "r");
    while (f && kb <= 0 && fgets(line, sizeof(line), f))
        sscanf(line, "VmHWM: %lf", &kb);
    if (f)
        fclose(f);
    return kb / 1024;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void) st, (void) type, (void) at;
    return remove(path);
}

void bench_site_stop(struct bench_site *s)
{
    if (!s->coordinator)
        return;
    kill(s->coordinator, SIGTERM);
    waitpid(s->coordinator, NULL, 0);
    s->coordinator = 0;
}

void bench_site_finish(struct bench_site *s)
{
    bench_site_stop(s);
    if (*s->directory)
        nftw(s->directory, remove_one, 32, FTW_DEPTH | FTW_PHYS);
    *s = (struct bench_site){ 0 };
}
