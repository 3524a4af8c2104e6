// The simulated worker: what worker/link does, without sockets, files and GPU.
#include "tests/simulation/sim.h"

#include <math.h>
#include <stdio.h>

#define HELLO_EVERY_S 2.0
#define ANSWER_S 8.0
#define TICK_S 1.0
#define NOT_YET_S 3.0

static struct sim_message says(const struct sim *s, size_t worker, enum sim_type type)
{
    return (struct sim_message){ .type = type,
                                 .worker = worker,
                                 .incarnation = s->workers[worker].incarnation };
}

static void say(struct sim *s, struct sim_message m)
{
    sim_send(s, SIM_TO_COORDINATOR, &m);
}

static void list_held(const struct sim_worker *w, struct sim_ids *out)
{
    for (uint32_t i = 0; i < w->task_count; i++)
        out->id[out->count++] = (uint64_t) w->tasks[i].attempt;
}

static struct sim_task *find_task(struct sim_worker *w, int64_t attempt)
{
    for (uint32_t i = 0; i < w->task_count; i++)
        if (w->tasks[i].attempt == attempt)
            return &w->tasks[i];
    return NULL;
}

static void drop_task(struct sim_worker *w, struct sim_task *t)
{
    *t = w->tasks[--w->task_count];
}

static uint32_t count_unfinished(const struct sim_worker *w)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->task_count; i++)
        n += w->tasks[i].state != TASK_IS_SPOOLED;
    return n;
}

static void pull(struct sim *s, size_t worker, bool again)
{
    struct sim_worker *w = &s->workers[worker];
    const uint32_t room = w->slots + w->ahead, has = count_unfinished(w);
    const bool none =
        w->quiet || w->draining || has >= room || w->task_count + room > SIM_TASKS;
    const uint32_t want = none ? 0 : room - has;
    if (want == w->wanted && !again)
        return;
    struct sim_message m = says(s, worker, SIM_PULL);
    m.want = w->wanted = want;
    say(s, m);
}

static void give_up(struct sim *s, size_t worker, const struct sim_task *t, enum outcome why)
{
    struct sim_message m = says(s, worker, SIM_FAILED);
    m.attempt = t->attempt;
    m.fence = t->fence;
    m.why = why;
    sim_trace(s, "%s gives up attempt %lld: %s", s->workers[worker].name,
              (long long) t->attempt, outcome_name(why));
    say(s, m);
}

void sim_worker_start(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (w->up)
        return;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->task_count; i++)
        if (w->tasks[i].state == TASK_IS_SPOOLED) {
            w->tasks[kept] = w->tasks[i];
            w->tasks[kept++].sent_s = -ANSWER_S;
        }
    w->task_count = kept;
    w->up = true;
    w->stopped = w->welcome = w->quiet = w->draining = false;
    w->incarnation = ++s->incarnations;
    w->wanted = 0;
    w->progress = 0;
    w->ticked_s = s->now;
    w->next_hello_s = w->next_beat_s = s->now;
    w->beat_sent_s = 0;
    sim_trace(s, "%s starts with %u results", w->name, kept);
    sim_at(s, 0, SIM_TICK, worker, ++w->chain);
}

void sim_worker_kill(struct sim *s, size_t worker, double down_s)
{
    struct sim_worker *w = &s->workers[worker];
    if (!w->up)
        return;
    sim_trace(s, "%s is gone for %.1f s", w->name, down_s);
    w->up = false;
    sim_at(s, down_s, SIM_START, worker, 0);
}

// The process comes to an end by itself, and says so.
static void leave(struct sim *s, size_t worker, double down_s)
{
    say(s, says(s, worker, SIM_GOODBYE));
    sim_worker_kill(s, worker, down_s);
}

void sim_worker_drain(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (!w->up || w->draining || w->stopped)
        return;
    sim_trace(s, "%s drains", w->name);
    w->draining = true;
    pull(s, worker, true);
    for (uint32_t i = w->task_count; i-- > 0;)
        if (w->tasks[i].state == TASK_WAITS) {
            give_up(s, worker, &w->tasks[i], OUTCOME_SHUTDOWN);
            drop_task(w, &w->tasks[i]);
        }
}

// A GPU that is lost ends the process; memory that it lacks, only that segment. True: the
// task is no more.
static bool fails(struct sim *s, size_t worker, struct sim_task *t)
{
    struct sim_worker *w = &s->workers[worker];
    const bool poison = sim_job(s, t->job)->segments[t->segment].poison;
    if (!poison && sim_below(s, 100) >= w->fails)
        return false;
    const struct sim_task failed = *t;
    const bool lost = !poison && sim_chance(s, 500);
    drop_task(w, t);
    give_up(s, worker, &failed,
            poison ? OUTCOME_INPUT
            : lost ? OUTCOME_DEVICE_LOST
                   : OUTCOME_OOM);
    if (!lost)
        return true;
    for (uint32_t i = w->task_count; i-- > 0;)
        if (w->tasks[i].state != TASK_IS_SPOOLED)
            give_up(s, worker, &w->tasks[i], OUTCOME_SHUTDOWN);
    leave(s, worker, 1);
    return true;
}

static void compose(struct sim *s, size_t worker, double dt)
{
    struct sim_worker *w = &s->workers[worker];
    uint32_t at_once = 0;
    for (uint32_t i = 0; i < w->task_count; i++)
        at_once += w->tasks[i].state == TASK_COMPOSES;
    for (uint32_t i = w->task_count; i-- > 0;) {
        struct sim_task *t = &w->tasks[i];
        if (t->state != TASK_COMPOSES)
            continue;
        t->left_s -= dt * w->speed / at_once;
        w->progress += dt;
        if (t->left_s > 0)
            continue;
        if (fails(s, worker, t)) {
            if (!w->up)
                return;
            continue;
        }
        t->state = TASK_IS_SPOOLED;
        t->sent_s = -ANSWER_S;
        sim_trace(s, "%s has composed attempt %lld", w->name, (long long) t->attempt);
    }
}

static void begin_composing(struct sim_worker *w)
{
    uint32_t at_once = 0;
    for (uint32_t i = 0; i < w->task_count; i++)
        at_once += w->tasks[i].state == TASK_COMPOSES;
    for (uint32_t i = 0; i < w->task_count && at_once < w->slots; i++)
        if (w->tasks[i].state == TASK_WAITS) {
            w->tasks[i].state = TASK_COMPOSES;
            at_once++;
        }
}

static void tend(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    for (uint32_t i = w->task_count; i-- > 0;) {
        struct sim_task *t = &w->tasks[i];
        if (t->state != TASK_IS_SPOOLED) {
            if (s->now - t->renewed_s > SIM_LEASE_S)
                drop_task(w, t); // its lease has ended
        } else if (s->now >= t->not_before_s && s->now - t->sent_s >= ANSWER_S) {
            struct sim_message m = says(s, worker, SIM_RESULT);
            m.attempt = t->attempt;
            m.fence = t->fence - sim_chance(s, 5); // or somebody plays an old message again
            m.job = t->job;
            m.segment = t->segment;
            m.sound = w->fails == 0 || !sim_chance(s, 20);
            t->sent_s = s->now;
            say(s, m);
        }
    }
    begin_composing(w);
}

static void hello(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (s->now < w->next_hello_s)
        return;
    struct sim_message m = says(s, worker, SIM_HELLO);
    list_held(w, &m.held);
    w->next_hello_s = s->now + HELLO_EVERY_S;
    say(s, m);
}

static bool beat(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (s->now < w->next_beat_s)
        return false;
    struct sim_message m = says(s, worker, SIM_BEAT);
    m.progress = (uint64_t) (w->progress * 1000);
    list_held(w, &m.held);
    if (w->beat_sent_s <= 0)
        w->beat_sent_s = s->now;
    w->next_beat_s = s->now + SIM_BEAT_S;
    say(s, m);
    return true;
}

static void act(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (!w->welcome) {
        hello(s, worker);
        return;
    }
    const bool beats = beat(s, worker);
    tend(s, worker);
    pull(s, worker, beats);
    if (w->draining && w->task_count == 0)
        leave(s, worker, 2);
}

static void pass_time(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    compose(s, worker, s->now - w->ticked_s);
    w->ticked_s = s->now;
}

void sim_worker_tick(struct sim *s, size_t worker, uint32_t chain)
{
    const struct sim_worker *w = &s->workers[worker];
    if (!w->up || w->stopped || chain != w->chain)
        return;
    pass_time(s, worker);
    if (w->up)
        act(s, worker);
    if (w->up)
        sim_at(s, TICK_S, SIM_TICK, worker, chain);
}

void sim_worker_stop(struct sim *s, size_t worker, double for_s)
{
    struct sim_worker *w = &s->workers[worker];
    if (!w->up || w->stopped)
        return;
    sim_trace(s, "%s is stopped for %.1f s", w->name, for_s);
    pass_time(s, worker);
    w->stopped = true;
    w->wake_s = s->now + for_s;
    sim_at(s, for_s, SIM_WAKE, worker, w->chain);
}

void sim_worker_wake(struct sim *s, size_t worker)
{
    struct sim_worker *w = &s->workers[worker];
    if (!w->up || !w->stopped)
        return;
    sim_trace(s, "%s goes on", w->name);
    w->stopped = false;
    w->ticked_s = s->now; // it has composed nothing meanwhile
    sim_worker_tick(s, worker, ++w->chain);
}

static void on_lease(struct sim *s, size_t worker, const struct sim_message *l)
{
    struct sim_worker *w = &s->workers[worker];
    struct sim_message m = says(s, worker, SIM_LEASE_ACK);
    m.attempt = l->attempt;
    const struct sim_task t = {
        .attempt = l->attempt,
        .fence = l->fence,
        .job = l->job,
        .segment = l->segment,
        .left_s = (double) sim_job(s, l->job)->segments[l->segment].audio_ms / 1000,
        .renewed_s = s->now
    };
    if (!find_task(w, l->attempt)) {
        if (w->draining || w->task_count == SIM_TASKS) {
            give_up(s, worker, &t, OUTCOME_SHUTDOWN);
            return;
        }
        w->tasks[w->task_count++] = t;
        w->wanted -= w->wanted > 0;
    }
    say(s, m);
}

static void abandon(struct sim_worker *w, int64_t attempt)
{
    struct sim_task *t = find_task(w, attempt);
    if (t && t->state != TASK_IS_SPOOLED)
        drop_task(w, t);
}

static void on_beat_ack(struct sim *s, size_t worker, const struct sim_message *m)
{
    struct sim_worker *w = &s->workers[worker];
    if (m->rehello) {
        w->welcome = false;
        w->next_hello_s = s->now;
        return;
    }
    for (uint32_t i = 0; i < m->cancel.count; i++)
        abandon(w, (int64_t) m->cancel.id[i]);
    for (uint32_t i = 0; i < m->renewed.count; i++) {
        struct sim_task *t = find_task(w, (int64_t) m->renewed.id[i]);
        if (t && w->beat_sent_s > 0)
            t->renewed_s = w->beat_sent_s;
    }
    w->beat_sent_s = 0;
    w->quiet = m->quiet;
    if (m->terminate) {
        w->welcome = true;
        sim_worker_drain(s, worker);
    }
}

static void settle(struct sim_worker *w, int64_t attempt)
{
    struct sim_task *t = find_task(w, attempt);
    w->progress += 1;
    if (t)
        drop_task(w, t);
}

void sim_worker_message(struct sim *s, const struct sim_message *m)
{
    struct sim_worker *w = &s->workers[m->worker];
    struct sim_task *t;
    if (!w->up || w->incarnation != m->incarnation)
        return;       // nobody is there any more
    if (w->stopped) { // the system keeps it
        sim_send_later(s, w->wake_s - s->now + 0.01, SIM_TO_WORKER, m);
        return;
    }
    pass_time(s, m->worker);
    if (!w->up)
        return;
    switch ((int) m->type) {
    case SIM_WELCOME:
        w->welcome = true;
        w->next_beat_s = s->now;
        w->beat_sent_s = 0;
        pull(s, m->worker, true);
        break;
    case SIM_LEASE: on_lease(s, m->worker, m); break;
    case SIM_BEAT_ACK: on_beat_ack(s, m->worker, m); break;
    case SIM_CANCEL: abandon(w, m->attempt); break;
    case SIM_ACCEPTED:
    case SIM_STALE:
    case SIM_DUP: settle(w, m->attempt); break;
    case SIM_NOSPACE:
        t = find_task(w, m->attempt);
        if (t)
            t->not_before_s = s->now + NOT_YET_S;
        break;
    default: break;
    }
    act(s, m->worker);
}
