// underscore-stage: a model to the local disks of all nodes of an MPI job: read once, checked
// on each. Options, signals, wiring.
//
// One rank of each node does the work; the others of it wait, and may each start a worker.
// MPI is here and nowhere else: a rank that dies takes the whole job along.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mpi.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/config/options.h"
#include "stage/copy/local_copy.h"
#include "stage/copy/model_hash.h"
#include "stage/main/chain.h"
#include "stage/main/stage_report.h"
#include "stage/main/start_worker.h"

static char half_written[PATH_MAX]; // a signal handler can reach nothing else

static void on_signal(int number)
{
    unlink(half_written);
    _exit(128 + number);
}

struct stage_settings {
    const char *model;
    const char *directory, *sha256, *worker, *worker_log;
    bool start_workers, ranks_are_nodes, json, version;
    bool done;             // --help or --version: nothing more to do
    char **worker_options; // what follows "--"; ends with NULL
};

// All that this rank is made of; zeroed is empty.
struct stage {
    struct stage_settings s;
    int rank, local;      // of all, and on this node
    MPI_Comm node, nodes; // nodes: of those that do the work, MPI_COMM_NULL on others
    char *directory;
    const char *name;
    char program[256]; // what the log calls this rank
    // Of the first rank.
    int fd;
    struct model_hash hash;
    uint64_t read;
    // Of each node.
    struct facts {
        uint64_t bytes;
        char sha256[MODEL_HASH_TEXT];
        int32_t error;
    } facts;
    struct local_copy copy;
    struct stage_result result;
};

// Options

static enum err check(struct stage_settings *s)
{
    const bool hex =
        !s->sha256 || (strlen(s->sha256) == MODEL_HASH_TEXT - 1 &&
                       strspn(s->sha256, "0123456789abcdef") == MODEL_HASH_TEXT - 1);
    if (!s->directory)
        log_error("where to? --to DIR");
    else if (!hex)
        log_error("--sha256 %.80s: 64 hex digits in lower case are wanted", s->sha256);
    else if (s->worker_options[0] && !s->start_workers)
        log_error("options after -- are for the workers of --start-workers");
    else
        return ERR_OK;
    return ERR_USAGE;
}

static enum err read_options(struct stage_settings *s, int argc, char **argv)
{
    const struct option_spec table[] = {
        { .name = "Staging", .kind = OPTION_HEADING },
        { .name = "to",
          .kind = OPTION_STRING,
          .target = &s->directory,
          .value = "DIR",
          .help =
              "a folder on each node's own disk; it is made.\n{rank} in it becomes the rank's number" },
        { .name = "sha256",
          .kind = OPTION_STRING,
          .target = &s->sha256,
          .value = "HEX",
          .help =
              "what the model must be; where all nodes have that already,\nnothing is read or sent" },
        { .name = "ranks-are-nodes",
          .kind = OPTION_FLAG,
          .target = &s->ranks_are_nodes,
          .help = "every rank does the work, as if on a node of its own" },
        { .name = "json", .kind = OPTION_FLAG, .target = &s->json, .help = "print JSON" },
        { .name = "version",
          .kind = OPTION_FLAG,
          .target = &s->version,
          .help = "print it, and end" },
        { .name = "Workers", .kind = OPTION_HEADING },
        { .name = "start-workers",
          .kind = OPTION_FLAG,
          .target = &s->start_workers,
          .help =
              "then each rank starts one with that model and the options\nafter --, where {rank} and {local} become its number in all\nand on its node" },
        { .name = "worker",
          .kind = OPTION_STRING,
          .target = &s->worker,
          .value = "PROGRAM",
          .fallback = "underscore-worker",
          .help = "which program that is" },
        { .name = "worker-log",
          .kind = OPTION_STRING,
          .target = &s->worker_log,
          .value = "FILE",
          .help = "what they say goes there; by default\nDIR/underscore-worker-{local}.log" },
        { 0 },
    };
    const struct option_spec *const tables[] = { table };
    const struct verb_page page = {
        .usage = "mpirun underscore-stage MODEL --to DIR [OPTIONS] [-- OPTIONS OF THE WORKERS]",
        .summary = "Copies a model to every node of an MPI job, and checks it there.",
        .examples =
            "  mpirun -N 1 --hostfile nodes underscore-stage gvmgen.safetensors --to /scratch/models\n",
        .tables = tables,
        .table_count = 1,
        .max_arguments = 1,
    };
    struct verb_arguments arguments;
    int own = 1;
    while (own < argc && strcmp(argv[own], "--") != 0)
        own++;
    s->worker_options = argv + (own < argc ? own + 1 : own);
    enum err e = options_default(table);
    if (!e)
        e = options_parse(&page, own, argv, &arguments);
    if (e)
        return e;
    if (s->version)
        printf("underscore-stage %s\n", UNDERSCORE_VERSION);
    s->done = arguments.help_shown || s->version;
    if (s->done)
        return ERR_OK;
    if (arguments.count == 0) {
        log_error("which model? usage: %s", page.usage);
        return ERR_USAGE;
    }
    s->model = arguments.values[0];
    return check(s);
}

// All ranks are told the same: the first says what is wrong with it.
static enum err read_options_once(struct stage *g, int argc, char **argv)
{
    int first[2] = { 0 };
    if (g->rank == 0) {
        first[0] = (int) read_options(&g->s, argc, argv);
        first[1] = g->s.done;
    }
    MPI_Bcast(first, 2, MPI_INT, 0, MPI_COMM_WORLD);
    if (first[0] || first[1]) {
        g->s.done = true;
        return (enum err) first[0];
    }
    return g->rank == 0 ? ERR_OK : read_options(&g->s, argc, argv);
}

// The first rank's side

static enum err open_model(struct stage *g)
{
    struct stat st;
    g->fd = open(g->s.model, O_RDONLY | O_CLOEXEC);
    if (g->fd < 0 || fstat(g->fd, &st) < 0) {
        log_error("%s: %s", g->s.model, strerror(errno));
        return ERR_MISSING;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        log_error("%s: %s", g->s.model,
                  S_ISREG(st.st_mode) ? "is empty" : "not a regular file");
        return ERR_MISSING;
    }
    posix_fadvise(g->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    g->facts.bytes = (uint64_t) st.st_size;
    model_hash_begin(&g->hash);
    return ERR_OK;
}

static enum err next_piece(void *user, uint8_t *out, size_t room, size_t *bytes)
{
    struct stage *g = user;
    size_t got = 0;
    ssize_t n = 1;
    while (got < room && n > 0) {
        n = read(g->fd, out + got, room - got);
        got += n > 0 ? (size_t) n : 0;
    }
    if (n < 0) {
        log_error("%s: cannot read: %s", g->s.model, strerror(errno));
        return ERR_IO;
    }
    model_hash_add(&g->hash, out, got);
    g->read += got;
    *bytes = got;
    if (got > 0 || g->read == g->facts.bytes)
        return ERR_OK;
    log_error("%s: has become shorter while it was read", g->s.model);
    return ERR_IO;
}

// Known when all of it has been read: what it was, and whether it is what was asked for.
static enum err judge_model(struct stage *g)
{
    model_hash_end(&g->hash, g->facts.sha256);
    if (!g->s.sha256 || !strcmp(g->s.sha256, g->facts.sha256))
        return ERR_OK;
    log_error("%s: its SHA-256 is %s, not the one asked for; nothing is staged", g->s.model,
              g->facts.sha256);
    return ERR_INPUT;
}

// Each node's side

static void take_piece(void *user, const uint8_t *data, size_t bytes)
{
    struct stage *g = user;
    if (!g->result.error)
        g->result.error = (int32_t) local_copy_add(&g->copy, data, bytes);
}

// Does every node have what was asked for?
static bool all_have_it(struct stage *g)
{
    int mine = g->s.sha256 &&
               local_copy_is_there(g->directory, g->name, g->s.sha256, &g->result.bytes),
        all = 0;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_LAND, g->nodes);
    if (all) {
        g->result.was_there = true;
        snprintf(g->facts.sha256, sizeof(g->facts.sha256), "%s", g->s.sha256);
    }
    return all;
}

static void begin_copy(struct stage *g)
{
    g->result.bytes = g->facts.bytes;
    g->result.error =
        (int32_t) local_copy_begin(&g->copy, g->directory, g->name, g->facts.bytes);
    if (!g->result.error)
        snprintf(half_written, sizeof(half_written), "%s", g->copy.temporary);
}

static void finish_copy(struct stage *g)
{
    if (!g->result.error)
        g->result.error =
            (int32_t) local_copy_finish(&g->copy, g->facts.sha256, &g->result.was_there);
    half_written[0] = 0;
}

static void share_facts(struct stage *g)
{
    MPI_Bcast(&g->facts, (int) sizeof(g->facts), MPI_BYTE, 0, g->nodes);
}

// The model itself is no good: nobody keeps any of it. ERR_OK with a result of its own on each
// node otherwise.
static enum err transfer(struct stage *g)
{
    const struct chain_hooks hooks = { .next = next_piece, .take = take_piece, .user = g };
    const bool first = g->rank == 0;
    if (first)
        g->facts.error = (int32_t) open_model(g);
    share_facts(g);
    if (g->facts.error)
        return (enum err) g->facts.error;
    begin_copy(g);
    const enum err e = chain_run(g->nodes, &hooks);
    if (first)
        g->facts.error = (int32_t) (e ? e : judge_model(g));
    share_facts(g);
    if (g->facts.error)
        local_copy_discard(&g->copy);
    else
        finish_copy(g);
    return (enum err) g->facts.error;
}

static enum err stage_model(struct stage *g)
{
    const double start = clock_seconds();
    log_keep_error(g->result.why, sizeof(g->result.why));
    const enum err e = all_have_it(g) ? ERR_OK : transfer(g);
    log_keep_error(NULL, 0);
    g->result.seconds = clock_seconds() - start;
    return e;
}

// Workers

// On every rank of a node where the model is. What failed is the node's.
static void start_workers(struct stage *g)
{
    struct started {
        int32_t error;
        char why[sizeof(g->result.why)];
    } mine = { 0 }, *all = NULL;
    int ranks, staged = !g->result.error;
    MPI_Comm_size(g->node, &ranks);
    MPI_Bcast(&staged, 1, MPI_INT, 0, g->node);
    if (!staged)
        return;
    char model[PATH_MAX], log[PATH_MAX];
    snprintf(model, sizeof(model), "%s/%s", g->directory, g->name);
    snprintf(log, sizeof(log), "%s/underscore-worker-{local}.log", g->directory);
    log_keep_error(mine.why, sizeof(mine.why));
    mine.error = (int32_t) start_worker(
        &(struct start_worker_params){ .program = g->s.worker,
                                       .model = model,
                                       .options = g->s.worker_options,
                                       .rank = g->rank,
                                       .local = g->local,
                                       .log = g->s.worker_log ? g->s.worker_log : log });
    log_keep_error(NULL, 0);
    if (g->local == 0)
        all = calloc((size_t) ranks, sizeof(*all));
    MPI_Gather(&mine, (int) sizeof(mine), MPI_BYTE, all, (int) sizeof(mine), MPI_BYTE, 0,
               g->node);
    for (int i = 0; all && i < ranks; i++) {
        g->result.workers += !all[i].error;
        if (!all[i].error || g->result.error)
            continue;
        g->result.error = all[i].error;
        memcpy(g->result.why, all[i].why, sizeof(g->result.why));
    }
    free(all);
}

// Together

static enum err report(struct stage *g)
{
    int count;
    enum err e = ERR_OK;
    MPI_Comm_size(g->nodes, &count);
    struct stage_result *all = g->rank == 0 ? calloc((size_t) count, sizeof(*all)) : NULL;
    MPI_Gather(&g->result, (int) sizeof(g->result), MPI_BYTE, all, (int) sizeof(g->result),
               MPI_BYTE, 0, g->nodes);
    for (int i = 0; all && i < count; i++)
        e = e ? e : (enum err) all[i].error;
    if (all && g->s.json)
        stage_report_print_json(g->name, g->facts.sha256, all, count);
    else if (all)
        stage_report_print(all, count);
    free(all);
    return e;
}

static void find_place(struct stage *g)
{
    size_t n;
    gethostname(g->result.node, sizeof(g->result.node) - 1);
    n = strlen(g->result.node);
    if (g->s.ranks_are_nodes)
        snprintf(g->result.node + n, sizeof(g->result.node) - n, ":%d", g->rank);
    snprintf(g->program, sizeof(g->program), "underscore-stage: %s", g->result.node);
    log_init(g->program, LOG_INFO);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, g->rank, MPI_INFO_NULL, &g->node);
    if (g->s.ranks_are_nodes) {
        MPI_Comm_free(&g->node);
        MPI_Comm_split(MPI_COMM_WORLD, g->rank, 0, &g->node);
    }
    MPI_Comm_rank(g->node, &g->local);
    MPI_Comm_split(MPI_COMM_WORLD, g->local == 0 ? 0 : MPI_UNDEFINED, g->rank, &g->nodes);
    const char *slash = strrchr(g->s.model, '/');
    g->name = slash ? slash + 1 : g->s.model;
    g->directory = with_numbers(g->s.directory, g->rank, g->local);
}

static enum err run(struct stage *g, int argc, char **argv)
{
    enum err e = read_options_once(g, argc, argv);
    if (e || g->s.done)
        return e;
    find_place(g);
    if (g->nodes != MPI_COMM_NULL)
        e = stage_model(g);
    int none = (int) e; // the model cannot be staged anywhere
    MPI_Bcast(&none, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (none)
        return (enum err) none;
    if (g->s.start_workers)
        start_workers(g);
    return g->nodes != MPI_COMM_NULL ? report(g) : ERR_OK;
}

static void finish(struct stage *g)
{
    local_copy_discard(&g->copy);
    free(g->directory);
    if (g->fd >= 0)
        close(g->fd);
    if (g->nodes != MPI_COMM_NULL)
        MPI_Comm_free(&g->nodes);
    if (g->node != MPI_COMM_NULL)
        MPI_Comm_free(&g->node);
}

int main(int argc, char **argv)
{
    struct stage g = { .fd = -1, .node = MPI_COMM_NULL, .nodes = MPI_COMM_NULL };
    const struct sigaction a = { .sa_handler = on_signal };
    log_init("underscore-stage", LOG_INFO);
    MPI_Init(&argc, &argv);
    sigaction(SIGINT, &a, NULL); // after MPI, which may have set its own
    sigaction(SIGTERM, &a, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &g.rank);
    const enum err e = run(&g, argc, argv);
    finish(&g);
    MPI_Finalize();
    // mpirun ends with the status of the first: one line of its own is enough.
    return fflush(stdout) == 0 ? g.rank == 0 ? err_exit_code(e) : 0 : err_exit_code(ERR_IO);
}
