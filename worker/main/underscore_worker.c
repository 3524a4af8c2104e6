// underscore-worker: one GPU at the service of a coordinator. Options, signals, wiring.
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/daemon/daemon.h"
#include "common/media/sha256.h"
#include "common/timeline/frame_grid.h"
#include "worker/composer/composer.h"
#include "worker/link/desk.h"
#include "worker/link/link.h"
#include "worker/link/model_errand.h"
#include "worker/main/worker_settings.h"
#include "worker/model/config.h"
#include "worker/weights/model_file.h"

#define LOADING_USEC "1800000000" // half an hour

static atomic_uint signals; // a signal handler can reach nothing else

static void on_signal(int number)
{
    if (atomic_fetch_add(&signals, 1) >= 2) { // twice was not enough
        signal(number, SIG_DFL);
        raise(number);
    }
}

// The model's numbers, while somebody counts: a stage that is being loaded gets on, and what
// the worker holds is not to be taken from it meanwhile, however slow the disk.
struct counted_tensors {
    struct tensor_source source; // first: `find` gets a pointer to it
    struct tensor_source *inner;
    struct desk *desk;
};

static enum err find_counted(struct tensor_source *self, const char *name,
                             struct tensor_view *out)
{
    struct counted_tensors *t = (struct counted_tensors *) self;
    atomic_fetch_add(&t->desk->steps, 1);
    return t->inner->find(t->inner, name, out);
}

// All that this process is made of; zeroed is empty.
struct worker {
    struct daemon_reload daemon;
    char *fetched; // the path of a model that the coordinator wanted; or NULL
    struct model_file *model;
    struct counted_tensors tensors;
    struct device *device;
    struct composer *composer;
    struct desk desk;
    struct link_params link;
};

static void name_it(struct wire_hello *h, const struct worker_settings *c,
                    const struct device_facts *f)
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

static void describe_model(struct wire_model *out, const struct model_file *f)
{
    const struct model_config *m = model_file_config(f);
    *out = (struct wire_model){
        .sample_rate = m->codec.sample_rate,
        .hop = codec_hop(&m->codec),
        .max_duration_ms = (uint32_t) (m->lm.max_duration_s * 1000),
        .frames_per_s = m->frames_per_s,
        .image = m->vit.image,
        .codebooks = m->lm.codebooks,
        .guidance = (double) m->lm.guidance,
    };
    utf8_clean(out->license, sizeof(out->license), model_file_license(f), true);
    if (*out->license)
        log_info("the model's licence: %.60s (underscore inspect shows all of it)",
                 out->license);
    sha256_mapped(out->sha256, model_file_map(f));
}

// The longest segment there can be decides how much memory each slot takes.
static enum err open_composer(struct worker *w, const struct worker_settings *c)
{
    const struct model_config *m = model_file_config(w->model);
    w->tensors = (struct counted_tensors){ *model_file_tensors(w->model),
                                           model_file_tensors(w->model), &w->desk };
    w->tensors.source.find = find_counted;
    w->link.max_columns = codec_columns(&m->codec, m->lm.max_duration_s);
    w->link.max_frames =
        (uint32_t) frame_count(m->frames_per_s, 0, (int64_t) (m->lm.max_duration_s * 1000)) + 1;
    return composer_open(&w->composer, &(struct composer_params){
                                           .device = w->device,
                                           .tensors = &w->tensors.source,
                                           .temperature = 1,
                                           .top_k = 250,
                                           .guidance = (double) m->lm.guidance,
                                           .batch = (uint32_t) c->batch,
                                           .max_columns = w->link.max_columns,
                                           .max_frames = w->link.max_frames,
                                       });
}

static const struct worker_settings *settings_of(const struct worker *w)
{
    return w->daemon.now.settings;
}

static enum err read_settings(struct daemon_settings *out, int argc, char **argv)
{
    struct worker_settings *s = calloc(1, sizeof(*s));
    out->settings = s;
    if (!s)
        return ERR_NOMEM;
    out->table = s->table;
    return worker_settings_read(s, argc, argv);
}

static void finish_settings(struct daemon_settings *d)
{
    if (d->settings)
        worker_settings_finish(d->settings);
    free(d->settings);
}

static void apply(void *user)
{
    struct worker *w = user;
    log_init("underscore-worker", settings_of(w)->verbose ? LOG_DEBUG : LOG_INFO);
    w->link.prefetch = (uint32_t) settings_of(w)->prefetch;
    w->link.idle_s = (double) settings_of(w)->idle_ms / 1000;
}

static void describe(void *user, char *out, size_t room)
{
    struct worker *w = user;
    uint32_t tasks = 0;
    desk_lock(&w->desk);
    for (const struct task *t = w->desk.tasks; t; t = t->next)
        tasks++;
    desk_unlock(&w->desk);
    snprintf(out, room, "%s: %u segments here, %.2f s of music a second", w->link.hello.device,
             tasks, desk_rate(&w->desk));
}

static void attend(void *user)
{
    struct worker *w = user;
    daemon_attend_hangup(&w->daemon);
    daemon_alive(clock_seconds(), describe, w);
}

// Without a model of its own it is ready all the same, for one that the coordinator wants it to
// have. Loading that may then take longer than a watchdog waits.
static enum err fetch_model(struct worker *w, const struct worker_settings *c)
{
    const char *watchdog = getenv("WATCHDOG_USEC");
    w->link.hello.slots = 1; // as far as anybody knows
    log_info("%s: no model yet: the coordinator says which it is to have",
             w->link.hello.device);
    daemon_notify("READY=1");
    const enum err e =
        model_errand_run(&(struct model_errand_params){ .control = c->control,
                                                        .bulk = c->bulk,
                                                        .keys = c->keys,
                                                        .directory = c->models,
                                                        .hello = &w->link.hello,
                                                        .idle_s = (double) c->idle_ms / 1000,
                                                        .signals = &signals,
                                                        .attend = attend,
                                                        .user = w },
                         &w->fetched);
    if (watchdog)
        daemon_notify("WATCHDOG_USEC=" LOADING_USEC);
    return e;
}

static void watch_as_before(const struct worker *w)
{
    char text[64];
    const char *watchdog = getenv("WATCHDOG_USEC");
    if (!w->fetched || !watchdog)
        return;
    snprintf(text, sizeof(text), "WATCHDOG_USEC=%.32s", watchdog);
    daemon_notify("%s", text);
}

static enum err load(struct worker *w, const struct worker_settings *c, const char *path)
{
    const enum err e = model_file_open(&w->model, path);
    if (e)
        return e;
    describe_model(&w->link.hello.model, w->model);
    return open_composer(w, c);
}

// Two workers in one folder would take each other's results for their own. The process keeps it.
static enum err take_directory(const char *path)
{
    int lock;
    const enum err e = file_make_directory(path);
    if (e || file_lock_directory(path, &lock))
        return e;
    log_error("%s: another worker keeps its results there; give each a --dir of its own", path);
    return ERR_UNAVAILABLE;
}

// ERR_STOP: it is to end before it has a model.
static enum err prepare(struct worker *w, const struct worker_settings *c)
{
    enum err e = take_directory(c->directory);
    if (!e)
        e = device_open(&w->device, &(struct device_params){ .select = c->device,
                                                             .memory_limit = c->memory,
                                                             .cache_dir = c->cache });
    if (e)
        return e;
    name_it(&w->link.hello, c, device_facts(w->device));
    if (!c->model)
        e = fetch_model(w, c);
    if (!e && !c->model && !w->fetched)
        return ERR_STOP;
    if (!e)
        e = load(w, c, c->model ? c->model : w->fetched);
    if (e)
        return e;
    watch_as_before(w);
    w->link.hello.slots = composer_timings(w->composer).batch;
    w->link.control = c->control;
    w->link.bulk = c->bulk;
    w->link.keys = c->keys;
    w->link.outbox = c->directory;
    w->link.desk = &w->desk;
    w->link.prefetch = (uint32_t) c->prefetch;
    w->link.idle_s = (double) c->idle_ms / 1000;
    w->link.signals = &signals;
    w->link.attend = attend;
    w->link.user = w;
    return ERR_OK;
}

static void catch_signals(void)
{
    const struct sigaction a = { .sa_handler = on_signal };
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    signal(SIGPIPE, SIG_IGN);
    daemon_watch_hangup();
}

static enum err serve(struct worker *w)
{
    const struct worker_settings *s = settings_of(w);
    catch_signals();
    enum err e = prepare(w, s);
    if (e == ERR_STOP) {
        device_close(&w->device);
        return ERR_OK;
    }
    if (!e)
        e = desk_start(&w->desk,
                       &(struct desk_params){ .composer = w->composer,
                                              .outbox = s->directory,
                                              .columns_per_s = codec_frame_rate(
                                                  &model_file_config(w->model)->codec) });
    if (!e) {
        log_info("%s: %u segments side by side", w->link.hello.device, w->link.hello.slots);
        daemon_notify("READY=1");
        e = link_run(&w->link);
        daemon_notify("STOPPING=1");
        desk_close(&w->desk);
    }
    desk_join(&w->desk);
    composer_close(&w->composer);
    device_close(&w->device);
    model_file_close(&w->model);
    free(w->fetched);
    return e;
}

static enum err run(int argc, char **argv)
{
    struct worker *w = calloc(1, sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    w->daemon = (struct daemon_reload){
        .argc = argc,
        .argv = argv,
        .read = read_settings,
        .finish = finish_settings,
        .apply = apply,
        .user = w,
    };
    wire_keep_memory();
    enum err e = daemon_begin(&w->daemon);
    if (!e && !settings_of(w)->command.done) {
        log_init("underscore-worker", settings_of(w)->verbose ? LOG_DEBUG : LOG_INFO);
        e = serve(w);
    }
    daemon_end(&w->daemon);
    free(w);
    return e;
}

int main(int argc, char **argv)
{
    log_init("underscore-worker", LOG_INFO);
    return err_exit_code(run(argc, argv));
}
