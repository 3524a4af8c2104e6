// The hub and the workers: who is there, what they get, what becomes of it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/media/frames.h"
#include "coordinator/hub/hub_internal.h"

#define LEASES_AT_ONCE 64
// How long a worker may take to say that a lease has come.
#define ACKNOWLEDGE_S 2.0

static enum err learn_model(struct hub *h, const struct wire_model *w)
{
    struct ledger_model m = {
        .sample_rate = w->sample_rate, .hop = w->hop, .max_duration_ms = w->max_duration_ms, .image = w->image,
        .codebooks = w->codebooks, .frames_per_s = w->frames_per_s, .guidance = w->guidance,
    };
    snprintf(m.sha256, sizeof(m.sha256), "%s", w->sha256);
    for (size_t i = 0; i < h->model_count; i++)
        if (!strcmp(h->models[i].sha256, m.sha256))
            return ERR_OK;
    if (h->model_count == HUB_MODELS)
        return ERR_UNAVAILABLE;
    const enum err e = ledger_put_model(h->ledger, &m);
    if (!e)
        h->models[h->model_count++] = m;
    return e;
}

static bool model_makes_sense(const struct wire_model *m)
{
    return strlen(m->sha256) == WIRE_SHA256_BYTES - 1 && m->sample_rate > 0 && m->hop > 0 && m->max_duration_ms > 0 &&
           m->frames_per_s > 0 && m->image > 0 && m->codebooks > 0;
}

static enum err keep_route(struct hub *h, size_t place, const struct hub_route *from)
{
    while (place >= h->route_room) {
        const enum err e = hub_grow((void **) &h->routes, h->route_room, &h->route_room, sizeof(*h->routes));
        if (e)
            return e;
    }
    h->routes[place] = *from;
    return ERR_OK;
}

static bool holds(const struct wire_ids *held, int64_t attempt)
{
    for (uint32_t i = 0; i < held->count; i++)
        if (held->id[i] == (uint64_t) attempt)
            return true;
    return false;
}

// One of its attempts that it does not have; -1: none.
static int64_t not_held(const struct hub *h, size_t place, const struct wire_ids *held)
{
    for (size_t i = 0; i < h->schedule.lease_count; i++) {
        const struct work_lease *l = &h->schedule.leases[i];
        const bool its = l->worker == place || (l->worker == SCHEDULE_NOBODY &&
                                                !strcmp(l->worker_name, h->fleet.workers[place].name));
        if (its && !holds(held, l->attempt))
            return l->attempt;
    }
    return -1;
}

// A worker has begun anew, or left: what it had and does not have now is lost.
static void lose_what_is_not_held(struct hub *h, size_t place, const struct wire_ids *held, double now)
{
    for (int64_t attempt; (attempt = not_held(h, place, held)) >= 0;)
        if (hub_attempt_failed(h, attempt, OUTCOME_LOST, "its worker was started anew", now))
            return; // logged; the lease ends by itself
}

static void adopt(struct hub *h, size_t place, const struct wire_ids *held, double now)
{
    for (uint32_t i = 0; i < held->count; i++) {
        struct work_lease *l = schedule_find(&h->schedule, (int64_t) held->id[i]);
        if (l && !strcmp(l->worker_name, h->fleet.workers[place].name))
            schedule_adopt(&h->schedule, &h->fleet, l, place, now);
    }
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
    snprintf(name, WIRE_NAME_BYTES, "%s/%.*s", from->node, (int) (WIRE_NAME_BYTES - KEY_NAME_BYTES - 1), gpu);
}

static bool is_of(const struct hub_route *from, const char *worker_name)
{
    const size_t n = strlen(from->node);
    return n == 0 || (!strncmp(worker_name, from->node, n) && worker_name[n] == '/');
}

const struct work_lease *hub_lease_of(const struct hub *h, const struct hub_route *from, int64_t attempt)
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
    bool restarted;
    if (is_replaced(h, from))
        return;
    const bool has_model = *hello->model.sha256 != 0; // otherwise it is told which one it is to have
    if ((has_model && !model_makes_sense(&hello->model)) || !*hello->name || hello->slots == 0) {
        hub_reject(h, from, "a hello without a name, slots or a model");
        return;
    }
    name_worker(hello->name, from);
    enum err e = has_model ? learn_model(h, &hello->model) : ERR_OK;
    if (!e)
        e = fleet_join(&h->fleet, &(struct fleet_hello){
            .name = hello->name, .device = hello->device, .vendor = hello->vendor, .driver = hello->driver,
            .software = hello->software, .model = hello->model.sha256, .has = hello->has,
            .memory = hello->memory, .incarnation = h->in.incarnation, .slots = hello->slots, .rate = hello->rate,
        }, now, &place, &restarted);
    if (!e)
        e = keep_route(h, place, from);
    if (e) {
        hub_reject(h, from, "%s", err_text(e));
        return;
    }
    adopt(h, place, &hello->held, now);
    lose_what_is_not_held(h, place, &hello->held, now);
    log_info("worker %s is here: %s", hello->name, hello->device);
    welcome(h, from);
}

void hub_tell_times(struct hub *h)
{
    for (size_t i = 0; i < h->fleet.count; i++)
        if (h->fleet.workers[i].state != WORKER_OFFLINE && h->fleet.workers[i].state != WORKER_LOST)
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

static void add_id(struct wire_ids *ids, uint64_t id)
{
    if (ids->count < WIRE_MAX_IDS)
        ids->id[ids->count++] = id;
}

static void send_lease(struct hub *h, const struct work_lease *l)
{
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
        .frame_count = (uint32_t) frame_count(j->model.frames_per_s, watch.from_ms, watch.to_ms),
        .lease_ms = (uint32_t) (h->p.lease_s * 1000),
        .seed = g->seed,
        .temperature = j->inputs.temperature,
        .top_p = j->inputs.top_p,
        .guidance = j->inputs.guidance,
        .top_k = (uint32_t) j->inputs.top_k,
    };
    part_key(m->lease.key, &j->inputs, j->plan, l->segment);
    hub_send(h, &h->routes[l->worker]);
    log_debug("segment %u of job %lld to %s", l->segment, (long long) l->job, l->worker_name);
}

// The leases of a worker beside what it says it has: those that never came are sent again,
// those that it had and has no more are lost.
static void look_after_leases(struct hub *h, size_t place, double now)
{
    for (size_t i = h->schedule.lease_count; i-- > 0;) {
        struct work_lease *l = &h->schedule.leases[i];
        if (l->worker != place)
            continue;
        if (holds(&h->in.beat.held, l->attempt)) {
            l->acknowledged = true;
        } else if (l->acknowledged) {
            if (hub_attempt_failed(h, l->attempt, OUTCOME_LOST, "its worker has it no more", now))
                log_error("the ledger did not take that; the lease will end by itself");
            return; // the list has changed: the rest at the next beat
        } else if (now - l->sent_s > ACKNOWLEDGE_S) {
            send_lease(h, l);
            l->sent_s = now;
        }
    }
}

static void on_beat(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t place = sender(h, from);
    if (place < 0)
        return;
    const struct wire_ids *held = &h->in.beat.held;
    const bool moved = fleet_beat(&h->fleet, (size_t) place, h->in.beat.progress, h->in.beat.rate, now);
    struct wire_message *m = hub_answer(h, WIRE_BEAT_ACK);
    m->beat_ack.order = h->fleet.workers[place].drained ? WIRE_QUIET : WIRE_RUN;
    for (uint32_t i = 0; i < held->count; i++) {
        struct work_lease *l = schedule_find(&h->schedule, (int64_t) held->id[i]);
        if (!l || l->worker != (size_t) place) {
            add_id(&m->beat_ack.cancel, held->id[i]);
        } else if (moved) {
            schedule_renew(l, now);
            add_id(&m->beat_ack.renewed, held->id[i]);
        }
    }
    hub_send(h, from);
    look_after_leases(h, (size_t) place, now);
    hub_offer_model(h, (size_t) place, from);
}

static void on_acknowledged(struct hub *h, size_t place)
{
    struct work_lease *l = schedule_find(&h->schedule, (int64_t) h->in.lease_ack.attempt);
    if (l && l->worker == place)
        l->acknowledged = true;
}

static void on_failed(struct hub *h, const struct hub_route *from, double now)
{
    static const enum outcome outcomes[WIRE_FAILURES] = {
        [WIRE_FAIL_INPUT] = OUTCOME_INPUT, [WIRE_FAIL_OOM] = OUTCOME_OOM, [WIRE_FAIL_DEVICE_LOST] = OUTCOME_DEVICE_LOST,
        [WIRE_FAIL_LOST] = OUTCOME_LOST, [WIRE_FAIL_SHUTDOWN] = OUTCOME_SHUTDOWN,
    };
    const int64_t attempt = (int64_t) h->in.failed.attempt;
    const struct work_lease *l = hub_lease_of(h, from, attempt);
    if (!l || (uint64_t) l->fence != h->in.failed.fence)
        return;
    const enum wire_failure why = (enum wire_failure) h->in.failed.failure;
    log_warn("worker %s gave up segment %u of job %lld (%s): %s", l->worker_name, l->segment, (long long) l->job,
             wire_failure_name(why), h->in.failed.log_tail);
    char detail[WIRE_TEXT_BYTES];
    snprintf(detail, sizeof(detail), "%s", h->in.failed.log_tail);
    if (hub_attempt_failed(h, attempt, outcomes[why], detail, now))
        log_error("the ledger did not take that; the lease will end by itself");
}

static void part_with(struct hub *h, size_t place, double now)
{
    const struct wire_ids none = { 0 };
    fleet_goodbye(&h->fleet, place);
    lose_what_is_not_held(h, place, &none, now);
}

static void on_goodbye(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t place = fleet_find(&h->fleet, h->in.incarnation);
    if (place < 0 || !is_of(from, h->fleet.workers[place].name))
        return;
    log_info("worker %s leaves: %s", h->fleet.workers[place].name, h->in.goodbye.reason);
    part_with(h, (size_t) place, now);
}

void hub_expel(struct hub *h, double now)
{
    for (size_t i = 0; i < h->fleet.count; i++) {
        struct fleet_worker *w = &h->fleet.workers[i];
        if (w->state == WORKER_OFFLINE || w->state == WORKER_LOST || gate_allows(&h->gate, h->routes[i].node))
            continue;
        log_warn("worker %s is sent away: its key is not allowed any more", w->name);
        hub_reject(h, &h->routes[i], "this key is not allowed any more");
        part_with(h, i, now);
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
            on_acknowledged(h, (size_t) place);
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

// Giving out

// Decides as if each lease before had been granted; those are known by negative numbers
// until the ledger has them all, in one transaction.
static size_t decide(struct hub *h, struct ledger_lease *leases, double now)
{
    size_t n = 0;
    struct decision d;
    while (n < LEASES_AT_ONCE && schedule_next(&h->schedule, &h->fleet, now, &d)) {
        if (schedule_lease(&h->schedule, &h->fleet, &d, -(int64_t) n - 1, 0, now))
            break;
        leases[n++] = (struct ledger_lease){
            .job = d.job, .segment = d.segment, .worker = h->fleet.workers[d.worker].name,
        };
    }
    return n;
}

enum err hub_dispatch(struct hub *h, double now)
{
    struct ledger_lease leases[LEASES_AT_ONCE];
    const size_t n = h->queue.stopped ? 0 : decide(h, leases, now);
    if (n == 0)
        return ERR_OK;
    const enum err e = ledger_lease(h->ledger, leases, n, clock_unix_ms());
    for (size_t i = 0; i < n; i++) {
        struct work_lease *l = schedule_find(&h->schedule, -(int64_t) i - 1);
        if (e) {
            const bool others = schedule_job(&h->schedule, l->job)->segments[l->segment].live > 1;
            schedule_end(&h->schedule, &h->fleet, l->attempt, others ? WORK_LEASED : WORK_READY, now);
            continue;
        }
        l->attempt = leases[i].attempt;
        l->fence = leases[i].fence;
        send_lease(h, l);
    }
    return e == ERR_IO ? ERR_OK : e; // a full disk: again at the next turn
}

// Ending

void hub_call_off(struct hub *h, int64_t job, int64_t segment, double now)
{
    for (size_t i = h->schedule.lease_count; i-- > 0;) {
        const struct work_lease *l = &h->schedule.leases[i];
        if (l->job != job || (segment >= 0 && l->segment != segment))
            continue;
        if (l->worker != SCHEDULE_NOBODY) {
            hub_answer(h, WIRE_CANCEL)->cancel.attempt = (uint64_t) l->attempt;
            hub_send(h, &h->routes[l->worker]);
        }
        schedule_end(&h->schedule, &h->fleet, l->attempt, segment >= 0 ? WORK_DONE : WORK_BLOCKED, now);
    }
}

static enum work_state work_state_of(enum segment_state s)
{
    switch (s) {
    case SEGMENT_READY: return WORK_READY;
    case SEGMENT_LEASED: return WORK_LEASED;
    case SEGMENT_RETRY_WAIT: return WORK_RETRY_WAIT;
    case SEGMENT_DONE: return WORK_DONE;
    case SEGMENT_BLOCKED:
    case SEGMENT_FAILED:
    case SEGMENT_CANCELLED:
    case SEGMENT_STATES: break;
    }
    return WORK_BLOCKED;
}

static void blame(struct hub *h, size_t worker, enum outcome why)
{
    if (worker == SCHEDULE_NOBODY || (why != OUTCOME_OOM && why != OUTCOME_DEVICE_LOST))
        return;
    if (fleet_trouble(&h->fleet, worker))
        log_warn("worker %s: its GPU failed %d times in a row; it gets nothing more until it is released",
                 h->fleet.workers[worker].name, FLEET_MOST_TROUBLES);
}

enum err hub_attempt_failed(struct hub *h, int64_t attempt, enum outcome why, const char *detail, double now)
{
    const struct work_lease *l = schedule_find(&h->schedule, attempt);
    struct ledger_ending ending;
    if (!l)
        return ERR_OK;
    const double gpu_s = now - l->granted_s < l->promised_s ? now - l->granted_s : l->promised_s;
    const enum err e = ledger_end(h->ledger, attempt, why, detail, gpu_s, clock_unix_ms(), &ending);
    if (e)
        return e;
    hub_count(h, why, 0, gpu_s, now);
    blame(h, l->worker, why);
    schedule_end(&h->schedule, &h->fleet, attempt, work_state_of(ending.segment_state), now);
    return job_state_is_over(ending.job_state) ? hub_job_follow(h, ending.job, now) : ERR_OK;
}

enum err hub_lapse(struct hub *h, double now)
{
    enum err e = ERR_OK;
    for (int64_t lost; !e && (lost = fleet_tick(&h->fleet, now)) >= 0;) {
        log_warn("worker %s is lost: nothing heard of it for %.0f s", h->fleet.workers[lost].name, h->p.lease_s);
        for (int64_t a; !e && (a = schedule_of_worker(&h->schedule, (size_t) lost)) >= 0;)
            e = hub_attempt_failed(h, a, OUTCOME_LOST, "its worker was lost", now);
    }
    for (int64_t a; !e && (a = schedule_expired(&h->schedule, now)) >= 0;) {
        const struct work_lease *l = schedule_find(&h->schedule, a);
        log_warn("segment %u of job %lld: its lease has ended, %s did not get on with it", l->segment,
                 (long long) l->job, l->worker_name);
        e = hub_attempt_failed(h, a, OUTCOME_LOST, "its lease ended", now);
    }
    return e == ERR_IO ? ERR_OK : e;
}
