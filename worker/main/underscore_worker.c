// underscore-worker: one GPU at the service of a coordinator. Options, signals, wiring.
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/media/frames.h"
#include "common/media/sha256.h"
#include "worker/composer/composer.h"
#include "worker/link/desk.h"
#include "worker/link/link.h"
#include "worker/model/config.h"
#include "worker/weights/model_file.h"

#define DEFAULT_CONTROL "tcp://127.0.0.1:7480"
#define DEFAULT_BULK "tcp://127.0.0.1:7481"

static atomic_uint signals; // a signal handler can reach nothing else

static void on_signal(int number)
{
    if (atomic_fetch_add(&signals, 1) >= 2) { // twice was not enough
        signal(number, SIG_DFL);
        raise(number);
    }
}

struct command {
    const char *control, *bulk, *directory, *model, *device, *name, *cache;
    uint32_t batch, prefetch;
    uint64_t memory;
    bool verbose, done;
};

static void print_help(void)
{
    printf("underscore-worker %s: composes for a coordinator, on one GPU\n\n"
           "usage: underscore-worker --model FILE --dir DIR [OPTIONS]\n\n"
           "  -m, --model FILE       as `underscore import` writes it\n"
           "      --dir DIR          where results are kept until they are accepted\n"
           "      --control ADDRESS  where the coordinator listens (" DEFAULT_CONTROL ")\n"
           "      --bulk ADDRESS     likewise, for what is large (" DEFAULT_BULK ")\n"
           "  -d, --device WHICH     index, name or UUID, as `underscore devices` lists them (the best)\n"
           "      --name NAME        what the farm calls this GPU (HOST/INDEX)\n"
           "      --batch N          segments composed side by side (as many as fit)\n"
           "      --prefetch N       segments fetched beyond those (2)\n"
           "      --memory MIB       device memory to use at most (what the driver says is free)\n"
           "      --cache-dir DIR    for compiled kernels\n"
           "  -v, --verbose          say more\n"
           "      --version\n", UNDERSCORE_VERSION);
}

static enum err take_number(const char *text, unsigned long most, unsigned long *out)
{
    char *end;
    errno = 0;
    *out = strtoul(text, &end, 10);
    if (end != text && !*end && !errno && *out <= most)
        return ERR_OK;
    log_error("%s: not a number in its range; underscore-worker --help tells more", text);
    return ERR_USAGE;
}

static enum err take_option(struct command *c, int letter)
{
    unsigned long n = 0;
    enum err e = ERR_OK;
    switch (letter) {
    case 'm': c->model = optarg; break;
    case 'o': c->directory = optarg; break;
    case 'c': c->control = optarg; break;
    case 'b': c->bulk = optarg; break;
    case 'd': c->device = optarg; break;
    case 'n': c->name = optarg; break;
    case 'k': c->cache = optarg; break;
    case 'B':
        e = take_number(optarg, WIRE_MAX_WANT, &n);
        c->batch = (uint32_t) n;
        break;
    case 'p':
        e = take_number(optarg, WIRE_MAX_WANT, &n);
        c->prefetch = (uint32_t) n;
        break;
    case 'M':
        e = take_number(optarg, 1ul << 30, &n);
        c->memory = (uint64_t) n << 20;
        break;
    case 'v': c->verbose = true; break;
    case 'h':
        print_help();
        c->done = true;
        break;
    case 'V':
        printf("underscore-worker %s\n", UNDERSCORE_VERSION);
        c->done = true;
        break;
    default: e = ERR_USAGE; // getopt has said why
    }
    return e;
}

static enum err take_options(struct command *c, int argc, char **argv)
{
    static const struct option options[] = {
        { "model", required_argument, NULL, 'm' },   { "dir", required_argument, NULL, 'o' },
        { "control", required_argument, NULL, 'c' }, { "bulk", required_argument, NULL, 'b' },
        { "device", required_argument, NULL, 'd' },  { "name", required_argument, NULL, 'n' },
        { "batch", required_argument, NULL, 'B' },   { "prefetch", required_argument, NULL, 'p' },
        { "memory", required_argument, NULL, 'M' },  { "cache-dir", required_argument, NULL, 'k' },
        { "verbose", no_argument, NULL, 'v' },       { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },       { NULL, 0, NULL, 0 },
    };
    enum err e = ERR_OK;
    for (int letter; !e && !c->done && (letter = getopt_long(argc, argv, "m:d:vh", options, NULL)) != -1;)
        e = take_option(c, letter);
    if (!e && !c->done && (!c->model || !c->directory || optind < argc)) {
        log_error("--model FILE and --dir DIR are needed, and nothing but options; underscore-worker --help tells more");
        e = ERR_USAGE;
    }
    return e;
}

// The model's numbers, while somebody counts: a stage that is being loaded gets on, and what
// the worker holds is not to be taken from it meanwhile, however slow the disk.
struct counted_tensors {
    struct tensor_source source; // first: `find` gets a pointer to it
    struct tensor_source *inner;
    struct desk *desk;
};

static enum err find_counted(struct tensor_source *self, const char *name, struct tensor_view *out)
{
    struct counted_tensors *t = (struct counted_tensors *) self;
    atomic_fetch_add(&t->desk->steps, 1);
    return t->inner->find(t->inner, name, out);
}

// All that this process is made of; zeroed is empty.
struct worker {
    struct model_file *model;
    struct counted_tensors tensors;
    struct device *device;
    struct composer *composer;
    struct desk desk;
    struct link_params link;
};

static void name_it(struct wire_hello *h, const struct command *c, const struct device_facts *f)
{
    char host[64] = "";
    gethostname(host, sizeof(host) - 1);
    if (c->name)
        snprintf(h->name, sizeof(h->name), "%s", c->name);
    else
        snprintf(h->name, sizeof(h->name), "%s/%u", host, f->index);
    snprintf(h->device, sizeof(h->device), "%.127s", f->name);
    snprintf(h->vendor, sizeof(h->vendor), "%.127s", device_vendor_text(f->vendor_id));
    snprintf(h->driver, sizeof(h->driver), "%.127s", f->driver);
    snprintf(h->software, sizeof(h->software), "%s", UNDERSCORE_VERSION);
    h->memory = f->memory;
}

static enum err describe_model(struct wire_model *out, const struct command *c, const struct model_config *m)
{
    *out = (struct wire_model){
        .sample_rate = m->codec.sample_rate,
        .hop = codec_hop(&m->codec),
        .max_duration_ms = (uint32_t) (m->lm.max_duration_s * 1000),
        .frames_per_s = m->frames_per_s,
        .image = m->vit.image,
        .codebooks = m->lm.codebooks,
        .guidance = (double) m->lm.guidance,
    };
    return sha256_file(out->sha256, c->model);
}

// The longest segment there can be decides how much memory each slot takes.
static enum err open_composer(struct worker *w, const struct command *c)
{
    const struct model_config *m = model_file_config(w->model);
    w->tensors = (struct counted_tensors){ *model_file_tensors(w->model), model_file_tensors(w->model), &w->desk };
    w->tensors.source.find = find_counted;
    w->link.max_columns = codec_columns(&m->codec, m->lm.max_duration_s);
    w->link.max_frames = (uint32_t) frame_count(m->frames_per_s, 0, (int64_t) (m->lm.max_duration_s * 1000)) + 1;
    return composer_open(&w->composer, &(struct composer_params){
        .device = w->device,
        .tensors = &w->tensors.source,
        .temperature = 1,
        .top_k = 250,
        .guidance = (double) m->lm.guidance,
        .batch = c->batch,
        .max_columns = w->link.max_columns,
        .max_frames = w->link.max_frames,
    });
}

static enum err prepare(struct worker *w, const struct command *c)
{
    enum err e = model_file_open(&w->model, c->model);
    if (!e)
        e = describe_model(&w->link.hello.model, c, model_file_config(w->model));
    if (!e)
        e = device_open(&w->device, &(struct device_params){ .select = c->device, .memory_limit = c->memory,
                                                             .cache_dir = c->cache });
    if (!e)
        e = open_composer(w, c);
    if (e)
        return e;
    name_it(&w->link.hello, c, device_facts(w->device));
    w->link.hello.slots = composer_timings(w->composer).batch;
    w->link.control = c->control;
    w->link.bulk = c->bulk;
    w->link.outbox = c->directory;
    w->link.desk = &w->desk;
    w->link.prefetch = c->prefetch;
    w->link.signals = &signals;
    return ERR_OK;
}

static void catch_signals(void)
{
    const struct sigaction a = { .sa_handler = on_signal };
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static enum err run(const struct command *c)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    catch_signals();
    enum err e = prepare(w, c);
    if (!e)
        e = desk_start(&w->desk, &(struct desk_params){
            .composer = w->composer, .outbox = c->directory,
            .columns_per_s = codec_frame_rate(&model_file_config(w->model)->codec) });
    if (!e) {
        log_info("%s: %u segments side by side", w->link.hello.device, w->link.hello.slots);
        e = link_run(&w->link);
        desk_close(&w->desk);
    }
    desk_join(&w->desk);
    composer_close(&w->composer);
    device_close(&w->device);
    model_file_close(&w->model);
    free(w);
    return e;
}

int main(int argc, char **argv)
{
    struct command c = { .control = DEFAULT_CONTROL, .bulk = DEFAULT_BULK, .prefetch = 2 };
    log_init("underscore-worker", LOG_INFO);
    const enum err e = take_options(&c, argc, argv);
    if (e || c.done)
        return err_exit_code(e);
    log_init("underscore-worker", c.verbose ? LOG_DEBUG : LOG_INFO);
    return err_exit_code(run(&c));
}
