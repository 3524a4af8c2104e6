#include "worker/link/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/parts/parts.h"

// Between two tries to write to a disk that is full.
#define PAUSE_S 2
#define DISK_TRIES 5

void desk_lock(struct desk *d)
{
    pthread_mutex_lock(&d->lock);
}

void desk_unlock(struct desk *d)
{
    pthread_mutex_unlock(&d->lock);
}

void desk_ready(struct desk *d)
{
    pthread_cond_signal(&d->work);
}

void desk_add(struct desk *d, struct task *t)
{
    struct task **end = &d->tasks;
    while (*end)
        end = &(*end)->next;
    t->next = NULL;
    *end = t;
}

void desk_drop(struct desk *d, struct task *t)
{
    for (struct task **at = &d->tasks; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            task_free(t);
            return;
        }
}

struct task *desk_find(const struct desk *d, uint64_t attempt)
{
    for (struct task *t = d->tasks; t; t = t->next)
        if (t->lease.attempt == attempt)
            return t;
    return NULL;
}

char *desk_result_path(const char *outbox, uint64_t attempt, uint64_t fence)
{
    char *path = NULL;
    return asprintf(&path, "%s/%llu-%llu.safetensors", outbox, (unsigned long long) attempt,
                    (unsigned long long) fence) < 0
               ? NULL
               : path;
}

double desk_rate(struct desk *d)
{
    desk_lock(d);
    const double rate = d->busy_s > 0 ? d->columns / d->p.columns_per_s / d->busy_s : 0;
    desk_unlock(d);
    return rate;
}

static void wake_talker(struct desk *d)
{
    const uint64_t one = 1;
    if (write(d->wake, &one, sizeof(one)) < 0)
        return; // it is awake: the counter is full
}

// The composer's hooks, called from the composing thread

static struct task *next_waiting(const struct desk *d)
{
    for (struct task *t = d->tasks; t; t = t->next)
        if (t->state == TASK_WAITING && !t->abandoned)
            return t;
    return NULL;
}

static enum err take(void *user, struct composer_segment *out, bool *got)
{
    static _Thread_local struct composer_sampling sampling; // until the next call
    struct desk *d = user;
    desk_lock(d);
    struct task *t = next_waiting(d);
    if (t)
        t->state = TASK_COMPOSING;
    desk_unlock(d);
    *got = t != NULL;
    if (!t)
        return ERR_OK;
    const struct wire_lease *l = &t->lease;
    log_debug("attempt %llu begun: segment %u of job %llu", (unsigned long long) l->attempt,
              l->segment, (unsigned long long) l->job);
    sampling = (struct composer_sampling){ l->temperature, l->top_k, l->top_p, l->guidance };
    *out = (struct composer_segment){
        .id = l->attempt,
        .frames = t->frames.data,
        .frame_count = l->frame_count,
        .columns = l->columns,
        .prompt_columns = l->prompt_columns,
        .prompt = (const int32_t *) (const void *) t->prompt.data, // from malloc
        .seed = l->seed,
        .sampling = &sampling,
    };
    return ERR_OK;
}

static bool is_wanted(struct desk *d, const struct task *t)
{
    desk_lock(d);
    const bool wanted = !t->abandoned && !atomic_load(&d->stop);
    desk_unlock(d);
    return wanted;
}

// A full disk is waited for, as long as somebody wants the result; one that fails, a little:
// a worker that cannot deliver is to leave, so that others have its work.
static enum err keep_result(struct desk *d, const struct task *t, const char *path,
                            const struct part_content *content)
{
    static const struct timespec pause = { .tv_sec = PAUSE_S };
    enum err e;
    for (unsigned failures = 0;
         err_is_disk(e = part_file_write(path, content)) && is_wanted(d, t);) {
        failures += e != ERR_FULL;
        if (failures == DISK_TRIES)
            return e;
        if (!atomic_exchange(&d->paused, true))
            log_warn(
                "paused: the disk does not take what has to be kept; going on when it does");
        nanosleep(&pause, NULL);
    }
    if (atomic_exchange(&d->paused, false) && !e)
        log_info("going on");
    return e;
}

static enum err deliver(void *user, const struct composed *c)
{
    struct desk *d = user;
    desk_lock(d);
    struct task *t = desk_find(d, c->id);
    desk_unlock(d);
    if (!t)
        return ERR_BUG;
    char *path = desk_result_path(d->p.outbox, t->lease.attempt, t->lease.fence);
    if (!path)
        return ERR_NOMEM;
    const enum err e = is_wanted(d, t)
                           ? keep_result(d, t, path,
                                         &(struct part_content){ .key = t->lease.key,
                                                                 .codebooks = c->codebooks,
                                                                 .columns = c->columns,
                                                                 .tokens = c->tokens,
                                                                 .samples = c->samples,
                                                                 .pcm = c->pcm })
                           : ERR_STOP;
    desk_lock(d);
    const bool dropped = e && t->abandoned;
    if (!e) {
        t->path = path;
        t->state = TASK_SPOOLED;
        t->abandoned = false; // what is made is offered: it is for the coordinator to refuse
    } else if (dropped) {
        t->state = TASK_DROPPED;
    }
    desk_unlock(d);
    if (e)
        free(path);
    wake_talker(d);
    return dropped ? ERR_OK : err_is_disk(e) && atomic_load(&d->stop) ? ERR_STOP : e;
}

static void on_progress(void *user, uint64_t columns)
{
    struct desk *d = user;
    desk_lock(d);
    d->columns += (double) columns;
    desk_unlock(d);
}

static bool cancelled(void *user)
{
    struct desk *d = user;
    atomic_fetch_add(&d->steps, 1);
    return atomic_load(&d->stop);
}

static bool unwanted(void *user, uint64_t id)
{
    struct desk *d = user;
    desk_lock(d);
    struct task *t = desk_find(d, id);
    const bool drop = !t || t->abandoned;
    if (t && drop)
        t->state = TASK_DROPPED;
    desk_unlock(d);
    if (drop)
        wake_talker(d);
    return drop;
}

// False: there is nothing more to come.
static bool wait_for_work(struct desk *d)
{
    desk_lock(d);
    while (!d->closing && !atomic_load(&d->stop) && !next_waiting(d))
        pthread_cond_wait(&d->work, &d->lock);
    const bool more = !atomic_load(&d->stop) && next_waiting(d);
    desk_unlock(d);
    return more;
}

static void *compose(void *user)
{
    struct desk *d = user;
    enum err e = ERR_OK;
    while (!e && wait_for_work(d)) {
        const double start = clock_seconds();
        e = composer_run(d->p.composer, &(struct composer_hooks){ .take = take,
                                                                  .deliver = deliver,
                                                                  .progress = on_progress,
                                                                  .cancelled = cancelled,
                                                                  .unwanted = unwanted,
                                                                  .user = d });
        desk_lock(d);
        d->busy_s += clock_seconds() - start;
        desk_unlock(d);
    }
    desk_lock(d);
    d->error = e == ERR_STOP ? ERR_OK : e;
    d->ended = true;
    desk_unlock(d);
    wake_talker(d);
    return NULL;
}

enum err desk_start(struct desk *d, const struct desk_params *p)
{
    *d = (struct desk){ .p = *p, .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (d->wake < 0)
        return ERR_NOMEM;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    d->started = true;
    if (pthread_create(&d->thread, NULL, compose, d) == 0)
        return ERR_OK;
    log_error("cannot start a thread");
    d->started = false;
    close(d->wake);
    return ERR_NOMEM;
}

void desk_close(struct desk *d)
{
    desk_lock(d);
    d->closing = true;
    pthread_cond_signal(&d->work);
    desk_unlock(d);
}

void desk_join(struct desk *d)
{
    if (!d->started)
        return;
    pthread_join(d->thread, NULL);
    while (d->tasks)
        desk_drop(d, d->tasks);
    pthread_cond_destroy(&d->work);
    pthread_mutex_destroy(&d->lock);
    close(d->wake);
    d->started = false;
}
