// The hub and the workers: who is there, what they get, what becomes of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/timeline/frame_grid.h"
#include "coordinator/hub/hub_internal.h"

static bool a_worker_has(const struct hub *h, const char *sha256)
{
    for (size_t i = 0; i < h->fleet.count; i++)
        if (!fleet_is_gone(&h->fleet.workers[i]) && !strcmp(h->fleet.workers[i].model, sha256))
            return true;
    return false;
}

// Those that no job names and no worker here has: they come and go over the years.
static enum err drop_models(struct hub *h)
{
    enum err e = ERR_OK;
    for (size_t i = h->model_count; !e && i-- > 0;) {
        bool gone = false;
        if (!a_worker_has(h, h->models[i].sha256))
            e = ledger_drop_model(h->ledger, h->models[i].sha256, &gone);
        if (gone)
            h->models[i] = h->models[--h->model_count];
    }
    return e;
}

static enum err learn_model(struct hub *h, const struct wire_model *w)
{
    struct ledger_model m = {
        .sample_rate = w->sample_rate,
        .hop = w->hop,
        .max_duration_ms = w->max_duration_ms,
        .image = w->image,
        .codebooks = w->codebooks,
        .frames_per_s = w->frames_per_s,
        .guidance = w->guidance,
    };
    snprintf(m.sha256, sizeof(m.sha256), "%s", w->sha256);
    snprintf(m.license, sizeof(m.license), "%s", w->license);
    for (size_t i = 0; i < h->model_count; i++)
        if (!strcmp(h->models[i].sha256, m.sha256)) {
            if (*h->models[i].license || !*m.license)
                return ERR_OK;
            h->models[i] = m; // known since before licences were
            return ledger_put_model(h->ledger, &m);
        }
    enum err e = h->model_count == HUB_MODELS ? drop_models(h) : ERR_OK;
    if (!e && h->model_count == HUB_MODELS) {
        log_warn("jobs and workers have %d models, and no more can be known: prune old jobs",
                 HUB_MODELS);
        return ERR_UNAVAILABLE;
    }
    if (!e)
        e = ledger_put_model(h->ledger, &m);
    if (!e) {
        h->models[h->model_count++] = m;
        h->models_learnt++;
    }
    return e;
}

static bool model_makes_sense(const struct wire_model *m)
{
    return strlen(m->sha256) == WIRE_SHA256_BYTES - 1 && m->sample_rate > 0 && m->hop > 0 &&
           m->max_duration_ms > 0 && m->frames_per_s > 0 && m->image > 0 && m->codebooks > 0;
}

static enum err keep_route(struct hub *h, size_t place, const struct hub_route *from)
{
    while (place >= h->route_room) {
        const enum err e =
            array_grow((void **) &h->routes, h->route_room, &h->route_room, sizeof(*h->routes));
        if (e)
            return e;
    }
    h->routes[place] = *from;
    return ERR_OK;
}

// With keys a worker is called NODE/GPU: the node is its key's, and of what it calls itself
// only what follows a '/' counts.
static void name_worker(char name[WIRE_NAME_BYTES], const struct hub_route *from)
{
    char gpu[WIRE_NAME_BYTES];
    const char *slash = strchr(name, '/');
    if (!*from->node)
        return;
    snprintf(gpu, sizeof(gpu), "%s", slash ? slash + 1 : name);
    snprintf(name, WIRE_NAME_BYTES, "%s/%.*s", from->node,
             (int) (WIRE_NAME_BYTES - KEY_NAME_BYTES - 1), gpu);
}

static bool is_of(const struct hub_route *from, const char *worker_name)
{
    const size_t n = strlen(from->node);
    return n == 0 || (!strncmp(worker_name, from->node, n) && worker_name[n] == '/');
}

const struct work_lease *hub_lease_of(const struct hub *h, const struct hub_route *from,
                                      int64_t attempt)
{
    const struct work_lease *l = schedule_find(&h->schedule, attempt);
    return l && is_of(from, l->worker_name) ? l : NULL;
}

static void welcome(struct hub *h, const struct hub_route *to)
{
    struct wire_message *m = hub_answer(h, WIRE_WELCOME);
    m->welcome.beat_ms = (uint32_t) (h->p.beat_s * 1000);
    m->welcome.lease_ms = (uint32_t) (h->p.lease_s * 1000);
    hub_send(h, to);
}

// One that another has taken the name of is to leave: two would take each other's leases
// for ever.
static bool is_replaced(struct hub *h, const struct hub_route *from)
{
    if (!fleet_is_replaced(&h->fleet, h->in.incarnation))
        return false;
    hub_answer(h, WIRE_BEAT_ACK)->beat_ack.order = WIRE_TERMINATE;
    hub_send(h, from);
    return true;
}

static void on_hello(struct hub *h, const struct hub_route *from, double now)
{
    struct wire_hello *hello = &h->in.hello;
    size_t place;
    if (is_replaced(h, from))
        return;
    // Otherwise it is told which one it is to have.
    const bool has_model = *hello->model.sha256 != 0;
    if ((has_model && !model_makes_sense(&hello->model)) || !*hello->name ||
        hello->slots == 0) {
        hub_reject(h, from, "a hello without a name, slots or a model");
        return;
    }
    name_worker(hello->name, from);
    // It has not heard the answer yet.
    const bool again = fleet_find(&h->fleet, h->in.incarnation) >= 0;
    enum err e = has_model ? learn_model(h, &hello->model) : ERR_OK;
    if (!e)
        e = fleet_join(&h->fleet,
                       &(struct fleet_hello){
                           .name = hello->name,
                           .device = hello->device,
                           .vendor = hello->vendor,
                           .driver = hello->driver,
                           .software = hello->software,
                           .model = hello->model.sha256,
                           .has = hello->has,
                           .memory = hello->memory,
                           .incarnation = h->in.incarnation,
                           .slots = hello->slots,
                           .rate = hello->rate,
                       },
                       now, &place);
    if (!e)
        e = keep_route(h, place, from);
    if (e) {
        hub_reject(h, from, "%s", err_text(e));
        return;
    }
    foreman_hello(&h->foreman, place, &hello->held, now);
    log_event(again ? LOG_DEBUG : LOG_INFO, &(struct log_subject){ .worker = hello->name },
              "worker %s is here%s: %s", hello->name, again ? " still" : "", hello->device);
    welcome(h, from);
}

void hub_tell_times(struct hub *h)
{
    for (size_t i = 0; i < h->fleet.count; i++)
        if (!fleet_is_gone(&h->fleet.workers[i]))
            welcome(h, &h->routes[i]);
}

// Whose message this is; -1: somebody who is to say hello again, and has been told.
static int64_t sender(struct hub *h, const struct hub_route *from)
{
    const int64_t place = fleet_find(&h->fleet, h->in.incarnation);
    if (place >= 0 && is_of(from, h->fleet.workers[place].name)) {
        h->routes[place] = *from;
        return place;
    }
    if (is_replaced(h, from))
        return -1;
    hub_answer(h, WIRE_BEAT_ACK)->beat_ack.rehello = true;
    hub_send(h, from);
    return -1;
}

static struct log_subject subject_of(const struct work_lease *l)
{
    return (struct log_subject){ .job = l->job,
                                 .has_segment = true,
                                 .segment = l->segment,
                                 .worker = l->worker_name };
}

// What is leased has pictures, so its plan has been read.
static void send_lease(void *user, const struct work_lease *l)
{
    struct hub *h = user;
    const struct hub_job *j = hub_job_find(h, l->job);
    const struct plan_segment *g = &j->plan->segments[l->segment];
    const struct plan_span watch = plan_watch(j->plan, l->segment);
    struct wire_message *m = hub_answer(h, WIRE_LEASE);
    m->lease = (struct wire_lease){
        .attempt = (uint64_t) l->attempt,
        .fence = (uint64_t) l->fence,
        .job = (uint64_t) l->job,
        .segment = l->segment,
        .columns = g->columns,
        .prompt_columns = g->prompt_columns,
        .frame_count =
            (uint32_t) frame_count(j->model.frames_per_s, watch.from_ms, watch.to_ms),
        .lease_ms = (uint32_t) (h->p.lease_s * 1000),
        .seed = g->seed,
        .temperature = j->inputs.temperature,
        .top_p = j->inputs.top_p,
        .guidance = j->inputs.guidance,
        .top_k = (uint32_t) j->inputs.top_k,
    };
    part_key(m->lease.key, &j->inputs, j->plan, l->segment);
    hub_send(h, &h->routes[l->worker]);
    const struct log_subject subject = subject_of(l);
    log_event(LOG_DEBUG, &subject, "segment %u of job %lld to %s", l->segment,
              (long long) l->job, l->worker_name);
}

static void on_beat(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t place = sender(h, from);
    if (place < 0)
        return;
    struct wire_message *m = hub_answer(h, WIRE_BEAT_ACK);
    m->beat_ack.order = h->fleet.workers[place].drained ? WIRE_QUIET : WIRE_RUN;
    foreman_beat(&h->foreman, (size_t) place, h->in.beat.progress, h->in.beat.rate,
                 &h->in.beat.held, &m->beat_ack.cancel, &m->beat_ack.renewed, now);
    hub_send(h, from);
    foreman_look_after(&h->foreman, (size_t) place, &h->in.beat.held, now);
    hub_offer_model(h, (size_t) place, from);
}

static void on_failed(struct hub *h, const struct hub_route *from, double now)
{
    static const enum outcome outcomes[WIRE_FAILURES] = {
        [WIRE_FAIL_INPUT] = OUTCOME_INPUT,
        [WIRE_FAIL_OOM] = OUTCOME_OOM,
        [WIRE_FAIL_DEVICE_LOST] = OUTCOME_DEVICE_LOST,
        [WIRE_FAIL_LOST] = OUTCOME_LOST,
        [WIRE_FAIL_SHUTDOWN] = OUTCOME_SHUTDOWN,
    };
    const int64_t attempt = (int64_t) h->in.failed.attempt;
    const struct work_lease *l = hub_lease_of(h, from, attempt);
    if (!l || (uint64_t) l->fence != h->in.failed.fence)
        return;
    const enum wire_failure why = (enum wire_failure) h->in.failed.failure;
    const struct log_subject subject = subject_of(l);
    log_event(LOG_WARN, &subject, "worker %s gave up segment %u of job %lld (%s): %s",
              l->worker_name, l->segment, (long long) l->job, wire_failure_name(why),
              h->in.failed.log_tail);
    char detail[WIRE_TEXT_BYTES];
    snprintf(detail, sizeof(detail), "%s", h->in.failed.log_tail);
    if (foreman_failed(&h->foreman, attempt, outcomes[why], detail, now))
        log_error("the ledger did not take that; the lease will end by itself");
}

static void on_goodbye(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t place = fleet_find(&h->fleet, h->in.incarnation);
    if (place < 0 || !is_of(from, h->fleet.workers[place].name))
        return;
    log_event(LOG_INFO, &(struct log_subject){ .worker = h->fleet.workers[place].name },
              "worker %s leaves: %s", h->fleet.workers[place].name, h->in.goodbye.reason);
    foreman_part_with(&h->foreman, (size_t) place, now);
}

void hub_expel(struct hub *h, double now)
{
    for (size_t i = 0; i < h->fleet.count; i++) {
        struct fleet_worker *w = &h->fleet.workers[i];
        if (fleet_is_gone(w) || gate_allows(&h->gate, h->routes[i].node))
            continue;
        log_warn("worker %s is sent away: its key is not allowed any more", w->name);
        hub_reject(h, &h->routes[i], "this key is not allowed any more");
        foreman_part_with(&h->foreman, i, now);
    }
}

void hub_worker_message(struct hub *h, const struct hub_route *from, double now)
{
    int64_t place;
    switch ((int) h->in.type) {
    case WIRE_HELLO: on_hello(h, from, now); break;
    case WIRE_BEAT: on_beat(h, from, now); break;
    case WIRE_FAILED: on_failed(h, from, now); break;
    case WIRE_GOODBYE: on_goodbye(h, from, now); break;
    case WIRE_PULL:
        place = sender(h, from);
        if (place >= 0)
            fleet_pull(&h->fleet, (size_t) place, h->in.pull.want, now);
        break;
    case WIRE_LEASE_ACK:
        place = sender(h, from);
        if (place >= 0)
            foreman_acknowledged(&h->foreman, (size_t) place,
                                 (int64_t) h->in.lease_ack.attempt);
        break;
    case WIRE_CANCELLED:
        place = sender(h, from);
        if (place >= 0)
            log_debug("worker %s has stopped attempt %llu", h->fleet.workers[place].name,
                      (unsigned long long) h->in.cancelled.attempt);
        break;
    default: break;
    }
}

// What the foreman has others told

static void send_cancel(void *user, size_t place, int64_t attempt)
{
    struct hub *h = user;
    hub_answer(h, WIRE_CANCEL)->cancel.attempt = (uint64_t) attempt;
    hub_send(h, &h->routes[place]);
}

static void count_ended(void *user, enum outcome why, double music_s, double gpu_s, double now)
{
    hub_count(user, why, music_s, gpu_s, now);
}

static enum err follow(void *user, int64_t job, double now)
{
    return hub_job_follow(user, job, now);
}

const struct foreman_hooks hub_hooks = {
    .lease = send_lease,
    .cancel = send_cancel,
    .ended = count_ended,
    .activate = hub_job_activate,
    .changed = follow,
    .secure = hub_bulk_secure,
    .settled = hub_bulk_settled,
    .wake = hub_job_wake,
    .find_result = hub_job_find_result,
};
