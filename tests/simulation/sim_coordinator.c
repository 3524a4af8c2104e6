// The simulated coordinator: what coordinator/hub does with the foreman, on simulated
// messages, child processes and parts; and what operators and kills do to it.
#include "tests/simulation/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/ledger/ledger_internal.h"

#define LEDGER "file:/simulation?vfs=memdb"
#define EVERY_S 0.5
#define PICTURES_AHEAD 4
#define PICTURES_AT_ONCE 3

struct sim_job *sim_job(struct sim *s, int64_t job)
{
    for (size_t i = 0; i < s->job_count; i++)
        if (s->jobs[i].id == job)
            return &s->jobs[i];
    return NULL;
}

// An error that comes of the kill that the world has in store is no news.
static void expect(struct sim *s, enum err e, const char *what)
{
    if (e && !s->killed)
        sim_wrong(s, "%s: %s", what, err_text(e));
}

static void answer(struct sim *s, size_t worker, uint64_t incarnation, struct sim_message m)
{
    m.worker = worker;
    m.incarnation = incarnation;
    if (!s->killed)
        sim_send(s, SIM_TO_WORKER, &m);
}

static void answer_place(struct sim *s, size_t place, struct sim_message m)
{
    answer(s, s->routes[place], s->fleet.workers[place].incarnation, m);
}

// Child processes: those of a coordinator that is gone have ended with it.
static void start_child(struct sim *s, double after_s, enum sim_kind what, int64_t job,
                        uint32_t segment)
{
    sim_at(s, after_s, what, (uint64_t) job | s->restarts << 32, segment);
}

// Hooks

static void on_lease(void *user, const struct work_lease *l)
{
    struct sim *s = user;
    if (s->killed)
        return;
    if (l->attempt > s->last_attempt)
        sim_check_lease(s, l, s->routes[l->worker]);
    sim_trace(s, "segment %u of job %lld to %s: attempt %lld, fence %lld", l->segment,
              (long long) l->job, l->worker_name, (long long) l->attempt, (long long) l->fence);
    answer_place(s, l->worker,
                 (struct sim_message){ .type = SIM_LEASE,
                                       .attempt = l->attempt,
                                       .fence = l->fence,
                                       .job = l->job,
                                       .segment = l->segment });
}

static void on_cancel(void *user, size_t place, int64_t attempt)
{
    answer_place(user, place, (struct sim_message){ .type = SIM_CANCEL, .attempt = attempt });
}

static void on_ended(void *user, enum outcome why, double music_s, double gpu_s, double now)
{
    (void) now;
    struct sim *s = user;
    sim_trace(s, "an attempt ended: %s, %.1f s of music in %.1f s", outcome_name(why), music_s,
              gpu_s);
}

static enum err on_activate(void *user, const struct ledger_job *row, double now)
{
    struct sim *s = user;
    (void) now;
    const struct sim_job *job = sim_job(s, row->id);
    struct work_job j = { .id = row->id,
                          .priority = row->priority,
                          .paused = row->state == JOB_PAUSED,
                          .count = row->segments };
    char text[64], why[200];
    snprintf(j.model, sizeof(j.model), "%s", row->model);
    snprintf(text, sizeof(text), "vram>=%llu", (unsigned long long) job->memory);
    enum err e = job->memory ? require_parse(&j.require, text, why, sizeof(why)) : ERR_OK;
    if (!e)
        e = schedule_owner(&s->schedule, row->owner, 1, 0, &j.owner);
    if (!e)
        e = foreman_mirror(&s->foreman, row->id, row->segments, &j.segments);
    if (!e)
        e = schedule_add(&s->schedule, &j);
    if (e)
        free(j.segments);
    return e;
}

static enum err on_changed(void *user, int64_t job, double now)
{
    struct sim *s = user;
    struct ledger_job *row = malloc(sizeof(*row));
    enum err e = row ? ledger_job(s->foreman.ledger, job, row) : ERR_NOMEM;
    if (!e)
        sim_trace(s, "job %lld is %s %s", (long long) job, job_state_name(row->state),
                  row->reason);
    if (!e)
        e = foreman_follow(&s->foreman, row, now);
    if (!e && row->state == JOB_ASSEMBLING)
        start_child(s, 1, SIM_PUBLISHED, job, 0);
    free(row);
    return e;
}

// A part is replaced by the one that is taken after it, if it is not done by then.
static enum err on_secure(void *user, size_t count)
{
    struct sim *s = user;
    for (size_t i = 0; i < count; i++) {
        const struct ledger_result *r = &s->foreman.arrivals[i];
        struct sim_segment *g = &sim_job(s, r->job)->segments[r->segment];
        if (g->accepted)
            sim_wrong(s, "the part of segment %u of job %lld is replaced though it is done",
                      r->segment, (long long) r->job);
        g->on_disk = r->attempt;
    }
    return ERR_OK;
}

static void on_settled(void *user, size_t index, const struct ledger_result *r, bool written)
{
    static const enum sim_type answers[] = {
        [VERDICT_ACCEPTED] = SIM_ACCEPTED,
        [VERDICT_STALE] = SIM_STALE,
        [VERDICT_DUP] = SIM_DUP,
    };
    struct sim *s = user;
    (void) index;
    const struct work_lease *l = schedule_find(&s->schedule, r->attempt);
    const struct sim_message m = { .type = written ? answers[r->verdict] : SIM_NOSPACE,
                                   .attempt = r->attempt };
    if (written && r->verdict == VERDICT_ACCEPTED) {
        struct sim_segment *g = &sim_job(s, r->job)->segments[r->segment];
        if (g->accepted)
            sim_wrong(s, "segment %u of job %lld is accepted a second time", r->segment,
                      (long long) r->job);
        if (l && l->fence != r->fence)
            sim_wrong(s, "attempt %lld is accepted with another's fence",
                      (long long) r->attempt);
        if (g->on_disk != r->attempt)
            sim_wrong(s, "attempt %lld is accepted, and its part is that of attempt %lld",
                      (long long) r->attempt, (long long) g->on_disk);
        g->accepted = r->attempt;
        s->accepts++;
        if (l && l->worker != SCHEDULE_NOBODY)
            s->workers[s->routes[l->worker]].in_a_row = 0;
        sim_trace(s, "attempt %lld counts: segment %u of job %lld is done",
                  (long long) r->attempt, r->segment, (long long) r->job);
    }
    if (l && l->worker != SCHEDULE_NOBODY)
        answer_place(s, l->worker, m);
}

static enum err begin_planning(struct sim *s, int64_t job)
{
    const enum err e = ledger_move_job(s->foreman.ledger, job, JOB_PROBING, NULL, 0);
    if (!e)
        start_child(s, 1 + sim_unit(s), SIM_PLANNED, job, 0);
    return e;
}

static enum err on_wake(void *user, int64_t job, enum job_state state, double now)
{
    struct sim *s = user;
    enum err e = ERR_OK;
    if (state == JOB_PROBING)
        e = ledger_move_job(s->foreman.ledger, job, JOB_SUBMITTED, NULL, 0);
    if (!e && (state == JOB_PROBING || state == JOB_SUBMITTED))
        return begin_planning(s, job);
    return e ? e : on_changed(s, job, now);
}

static enum err on_find_result(void *user, const struct ledger_attempt *a, bool *goes_on,
                               bool *there, double now)
{
    (void) now;
    struct sim_segment *g = &sim_job(user, a->job)->segments[a->segment];
    *goes_on = true;
    *there = g->on_disk != 0;
    if (*there)
        g->on_disk = a->id; // whichever attempt it was, it is made of the right things
    return ERR_OK;
}

static const struct foreman_hooks hooks = {
    .lease = on_lease,
    .cancel = on_cancel,
    .ended = on_ended,
    .activate = on_activate,
    .changed = on_changed,
    .secure = on_secure,
    .settled = on_settled,
    .wake = on_wake,
    .find_result = on_find_result,
};

// Starting and being killed

static int on_commit(void *user)
{
    struct sim *s = user;
    if (s->killed)
        return 1; // it is not there any more
    if (s->kill_in == 0 || --s->kill_in > 0)
        return 0;
    s->killed = true;
    sim_trace(s, "killed %s a commit", s->kill_before ? "before" : "after");
    return s->kill_before;
}

// Segments have no row numbers and are not heard of: what changes them changes a job or an
// attempt, too, but for RETRY_WAIT -> READY.
static void on_change(void *user, int what, const char *database, const char *table,
                      sqlite3_int64 row)
{
    struct sim *s = user;
    (void) what, (void) database;
    const bool has_room =
        s->changed_attempt_count < sizeof(s->changed_attempts) / sizeof(s->changed_attempts[0]);
    if (!strcmp(table, "attempts") && has_room)
        s->changed_attempts[s->changed_attempt_count++] = row;
    else if (!strcmp(table, "attempts") || !strcmp(table, "jobs"))
        for (size_t i = 0; i < s->job_count; i++)
            s->changed[i] |= s->jobs[i].id == row || !s->jobs[i].id || *table == 'a';
}

static enum err open_ledger(struct sim *s)
{
    struct sim_disk *d = s->disk;
    if (!d->keeper &&
        sqlite3_open_v2(LEDGER, &d->keeper,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                        NULL) != SQLITE_OK)
        return ERR_NOMEM;
    if (sim_chance(s, 20)) // drawn in any case: a run is to be the same alone as among others
        ledger_close(&d->ledger);
    enum err e = d->ledger ? ERR_OK : ledger_open(&d->ledger, LEDGER);
    if (e)
        return e;
    sqlite3_commit_hook(d->ledger->sql.db, on_commit, s);
    sqlite3_update_hook(d->ledger->sql.db, on_change, s);
    s->foreman.ledger = d->ledger;
    s->has_started = true;
    return ERR_OK;
}

enum err sim_disk_clear(struct sim_disk *d)
{
    if (!d->ledger)
        return ERR_OK;
    sqlite3_commit_hook(d->ledger->sql.db, NULL, NULL);
    sqlite3_update_hook(d->ledger->sql.db, NULL, NULL);
    return sql_script(
        &d->ledger->sql,
        "BEGIN; DELETE FROM attempts; DELETE FROM segments; DELETE FROM jobs; DELETE FROM owners; DELETE FROM models; "
        "DELETE FROM nodes; DELETE FROM sqlite_sequence; UPDATE meta SET value = 0; COMMIT");
}

void sim_disk_finish(struct sim_disk *d)
{
    ledger_close(&d->ledger);
    sqlite3_close(d->keeper);
}

static enum err know_node(void *user, const struct ledger_node *n)
{
    struct sim *s = user;
    return fleet_know(&s->fleet, n->name, n->drained, n->quarantined);
}

// Places are given anew: by name.
static void find_routes(struct sim *s)
{
    for (size_t i = 0; i < s->fleet.count; i++)
        s->routes[i] = (size_t) (s->fleet.workers[i].name[1] - '0');
}

void sim_coordinator_start(struct sim *s)
{
    struct ledger_queue queue = { 0 };
    size_t jobs, leases;
    s->killed = false;
    s->restarts++;
    s->foreman = (struct foreman){ .fleet = &s->fleet,
                                   .schedule = &s->schedule,
                                   .hooks = &hooks,
                                   .user = s };
    fleet_init(&s->fleet, SIM_BEAT_S, SIM_LEASE_S);
    schedule_init(&s->schedule, SIM_LEASE_S);
    // A quarantine that nobody has ordered is for one life.
    for (size_t i = 0; i < s->worker_count; i++)
        s->workers[i].in_a_row = 0, s->workers[i].troubled_s = 0;
    enum err e = open_ledger(s);
    if (!e)
        e = ledger_queue(s->foreman.ledger, &queue);
    s->queue_stopped = queue.stopped;
    if (!e)
        e = ledger_each_node(s->foreman.ledger, know_node, s);
    if (!e)
        find_routes(s);
    if (!e)
        e = foreman_load(&s->foreman, &jobs, &leases, s->now);
    expect(s, e, "starting");
    if (!e) {
        sim_trace(s, "the coordinator starts, with %zu jobs and %zu leases", jobs, leases);
        sim_check_start(s);
    }
    for (size_t i = 0; i < s->job_count && !s->killed; i++)
        if (!s->jobs[i].id)
            sim_submit(s, &s->jobs[i]); // its client has heard nothing
    s->turn_is_due = false;
    sim_at(s, EVERY_S, SIM_TURN, s->restarts, 1);
}

void sim_coordinator_stop(struct sim *s)
{
    sim_trace(s, "the coordinator is gone");
    s->foreman.ledger = NULL;
    schedule_finish(&s->schedule);
    fleet_finish(&s->fleet);
    s->kill_in = 0;
    s->killed = false;
}

// Messages

static const struct wire_ids *ids_of(const struct sim_ids *from)
{
    static struct wire_ids ids; // one thread
    ids.count = from->count;
    memcpy(ids.id, from->id, from->count * sizeof(*from->id));
    return &ids;
}

static bool is_replaced(struct sim *s, const struct sim_message *m)
{
    if (!fleet_is_replaced(&s->fleet, m->incarnation))
        return false;
    answer(s, m->worker, m->incarnation,
           (struct sim_message){ .type = SIM_BEAT_ACK, .terminate = true });
    return true;
}

static void on_hello(struct sim *s, const struct sim_message *m)
{
    const struct sim_worker *w = &s->workers[m->worker];
    size_t place;
    if (is_replaced(s, m))
        return;
    expect(s,
           fleet_join(&s->fleet,
                      &(struct fleet_hello){
                          .name = w->name,
                          .device = "",
                          .vendor = "",
                          .driver = "",
                          .software = "",
                          .model = w->model,
                          .memory = w->memory,
                          .incarnation = m->incarnation,
                          .slots = w->slots,
                          .rate = 0,
                      },
                      s->now, &place),
           "a hello");
    s->routes[place] = m->worker;
    foreman_hello(&s->foreman, place, ids_of(&m->held), s->now);
    if (!s->killed)
        sim_check_held(s, place, ids_of(&m->held));
    answer(s, m->worker, m->incarnation, (struct sim_message){ .type = SIM_WELCOME });
}

static void on_beat(struct sim *s, const struct sim_message *m, size_t place)
{
    static struct wire_ids cancel, renewed; // one thread
    struct sim_message out = { .type = SIM_BEAT_ACK, .quiet = s->fleet.workers[place].drained };
    cancel.count = renewed.count = 0;
    foreman_beat(&s->foreman, place, m->progress, m->progress ? s->workers[m->worker].speed : 0,
                 ids_of(&m->held), &cancel, &renewed, s->now);
    out.cancel.count = cancel.count;
    out.renewed.count = renewed.count;
    memcpy(out.cancel.id, cancel.id, cancel.count * sizeof(*cancel.id));
    memcpy(out.renewed.id, renewed.id, renewed.count * sizeof(*renewed.id));
    answer(s, m->worker, m->incarnation, out);
    foreman_look_after(&s->foreman, place, ids_of(&m->held), s->now);
}

static void count_trouble(struct sim *s, const struct work_lease *l, enum outcome why)
{
    if (l->worker == SCHEDULE_NOBODY || (why != OUTCOME_OOM && why != OUTCOME_DEVICE_LOST))
        return;
    struct sim_worker *w = &s->workers[s->routes[l->worker]];
    if (l->granted_s < w->troubled_s)
        return; // it failed together with others
    w->in_a_row++;
    w->troubled_s = s->now;
}

static void on_failed(struct sim *s, const struct sim_message *m)
{
    const struct work_lease *l = schedule_find(&s->schedule, m->attempt);
    if (!l || l->fence != m->fence)
        return;
    count_trouble(s, l, m->why);
    expect(s, foreman_failed(&s->foreman, m->attempt, m->why, "", s->now), "a failure");
}

static void on_result(struct sim *s, const struct sim_message *m)
{
    enum offer o;
    const enum err e =
        foreman_offer(&s->foreman, m->attempt, m->fence, m->job, m->segment, &o, s->now);
    const struct work_lease *l = schedule_find(&s->schedule, m->attempt);
    expect(s, e, "a result");
    if (e || o == OFFER_TWICE)
        return;
    if (o != OFFER_TAKE || !l || !m->sound) {
        answer(s, m->worker, m->incarnation,
               (struct sim_message){ .type = o == OFFER_DUP ? SIM_DUP : SIM_STALE,
                                     .attempt = m->attempt });
        if (o == OFFER_TAKE && l) {
            count_trouble(s, l, OUTCOME_DEVICE_LOST);
            expect(s, foreman_failed(&s->foreman, m->attempt, OUTCOME_DEVICE_LOST, "", s->now),
                   "a bad result");
        }
        return;
    }
    foreman_take(&s->foreman, m->attempt, m->fence, m->job, m->segment);
}

// Its worker asks for the end of what is before it; disks forget.
static void on_lease_ack(struct sim *s, const struct sim_message *m, size_t place)
{
    const struct work_lease *l = schedule_find(&s->schedule, m->attempt);
    struct sim_job *j = l ? sim_job(s, l->job) : NULL;
    foreman_acknowledged(&s->foreman, place, m->attempt);
    if (!l || j->segments[l->segment].place == 0 || (s->now < s->storm_s && !sim_chance(s, 10)))
        return;
    if (s->now < s->storm_s) {
        j->segments[l->segment - 1].on_disk = 0;
        j->damaged = true;
    }
    if (j->segments[l->segment - 1].on_disk)
        return;
    sim_trace(s, "segment %u of job %lld: its part is gone", l->segment - 1,
              (long long) l->job);
    j->segments[l->segment].on_disk = 0;
    expect(s, foreman_lacks_prompt(&s->foreman, m->attempt, s->now), "a prompt that is gone");
}

static void from_known(struct sim *s, const struct sim_message *m)
{
    const int64_t place = fleet_find(&s->fleet, m->incarnation);
    if (place < 0) {
        if (m->type != SIM_GOODBYE && !is_replaced(s, m))
            answer(s, m->worker, m->incarnation,
                   (struct sim_message){ .type = SIM_BEAT_ACK, .rehello = true });
        return;
    }
    switch ((int) m->type) {
    case SIM_BEAT: on_beat(s, m, (size_t) place); break;
    case SIM_PULL: fleet_pull(&s->fleet, (size_t) place, m->want, s->now); break;
    case SIM_LEASE_ACK: on_lease_ack(s, m, (size_t) place); break;
    case SIM_GOODBYE: foreman_part_with(&s->foreman, (size_t) place, s->now); break;
    default: break;
    }
}

static void end_step(struct sim *s)
{
    if (s->killed) {
        sim_coordinator_stop(s);
        sim_at(s, 0.5 + 3 * sim_unit(s), SIM_COORDINATOR_START, 0, 0);
        return;
    }
    sim_check_step(s);
}

void sim_coordinator_message(struct sim *s, const struct sim_message *m)
{
    if (!s->foreman.ledger)
        return;
    s->foreman.wall_ms = (int64_t) (s->now * 1000);
    switch ((int) m->type) {
    case SIM_HELLO: on_hello(s, m); break;
    case SIM_FAILED: on_failed(s, m); break;
    case SIM_RESULT: on_result(s, m); break;
    default: from_known(s, m); break;
    }
    if (!s->turn_is_due && !s->killed) {
        s->turn_is_due = true;
        sim_at(s, s->turn_s * sim_unit(s), SIM_TURN, s->restarts, 0);
    }
    end_step(s);
}

// Turns

static void start_pictures(struct sim *s)
{
    int64_t job;
    uint32_t segment, wanted = 0;
    for (size_t i = 0; i < s->fleet.count; i++)
        wanted += fleet_may_work(&s->fleet.workers[i]) ? s->fleet.workers[i].want : 0;
    for (int i = 0;
         i < PICTURES_AT_ONCE &&
         schedule_wants_frames(&s->schedule, PICTURES_AHEAD + 2 * wanted, &job, &segment);
         i++) {
        schedule_frames(&s->schedule, job, segment, FRAMES_ASKED);
        start_child(s, 0.2 + sim_unit(s), SIM_PICTURES, job, segment);
    }
}

// As turn() of the hub: `again`: there is to be another, whatever happens.
void sim_coordinator_turn(struct sim *s)
{
    if (!s->foreman.ledger)
        return;
    s->foreman.wall_ms = (int64_t) (s->now * 1000);
    s->turn_is_due = false;
    for (size_t i = 0; i < s->job_count; i++)
        s->changed[i] |= s->schedule.lines.in_state[WORK_RETRY_WAIT] > 0;
    enum err e = foreman_settle(&s->foreman, s->now);
    if (!e)
        e = foreman_lapse(&s->foreman, s->now);
    if (!e)
        e = foreman_tick(&s->foreman, s->now);
    if (!e)
        start_pictures(s);
    if (!e && !s->queue_stopped)
        e = foreman_dispatch(&s->foreman, s->now);
    expect(s, e, "a turn");
    for (size_t i = 0; !s->killed && i < s->schedule.lease_count; i++)
        if (s->now - s->schedule.leases[i].renewed_s > SIM_LEASE_S)
            sim_wrong(s, "attempt %lld outlives its lease",
                      (long long) s->schedule.leases[i].attempt);
    end_step(s);
}

static enum err planned(struct sim *s, const struct sim_job *j, double now)
{
    struct ledger_planned segments[SIM_SEGMENTS];
    for (uint32_t i = 0; i < j->count; i++)
        segments[i] =
            (struct ledger_planned){ j->segments[i].cue, j->segments[i].place,
                                     j->segments[i].audio_ms, j->segments[i].audio_ms };
    for (uint32_t i = j->count; i-- > 1;)
        if (segments[i].place > 0)
            segments[i - 1].remaining_ms += segments[i].remaining_ms;
    const enum err e = ledger_plan(s->foreman.ledger, j->id, 60000,
                                   j->segments[j->count - 1].cue + 1, segments, j->count);
    return e ? e : on_changed(s, j->id, now);
}

// Disks forget.
static void damage(struct sim *s, struct sim_job *j)
{
    for (uint32_t i = 0; i < j->count; i++)
        if (sim_chance(s, 20)) {
            j->segments[i].on_disk = 0;
            j->damaged = true;
        }
}

// As spool_lacks().
static size_t lacks(struct sim_job *j, uint32_t *out)
{
    size_t count = 0;
    bool lacks = false;
    for (uint32_t i = 0; i < j->count; i++) {
        struct sim_segment *g = &j->segments[i];
        const bool there = g->on_disk != 0, follows = lacks && g->place > 0;
        if (!there)
            out[count++] = i;
        lacks = !there || follows;
        g->on_disk = lacks ? 0 : g->on_disk;
    }
    return count;
}

static enum err published(struct sim *s, int64_t job)
{
    uint32_t lacking[SIM_SEGMENTS];
    damage(s, sim_job(s, job));
    const size_t count = lacks(sim_job(s, job), lacking);
    if (count) {
        sim_trace(s, "%zu parts of job %lld are gone", count, (long long) job);
        return foreman_reopen(&s->foreman, job, lacking, count, s->now);
    }
    const bool held = s->now < s->storm_s && sim_chance(s, 100);
    const enum err e = ledger_move_job(s->foreman.ledger, job, held ? JOB_HELD : JOB_DONE, NULL,
                                       s->foreman.wall_ms);
    return e ? e : on_changed(s, job, s->now);
}

void sim_coordinator_child(struct sim *s, const struct sim_event *child)
{
    const int64_t job = (int64_t) (child->what & UINT32_MAX);
    struct ledger_job *row = malloc(sizeof(*row));
    enum err e = row ? ERR_OK : ERR_NOMEM;
    if (!s->foreman.ledger || child->what >> 32 != s->restarts) {
        free(row);
        return;
    }
    if (!e)
        e = ledger_job(s->foreman.ledger, job, row);
    if (!e && child->kind == SIM_PLANNED && row->state == JOB_PROBING)
        e = planned(s, sim_job(s, job), s->now);
    else if (!e && child->kind == SIM_PUBLISHED && row->state == JOB_ASSEMBLING)
        e = published(s, job);
    else if (!e && child->kind == SIM_PICTURES)
        schedule_frames(&s->schedule, job, child->segment,
                        sim_chance(s, 50) ? FRAMES_ABSENT : FRAMES_THERE);
    free(row);
    expect(s, e, "a child process");
    end_step(s);
}

// Clients and operators

void sim_submit(struct sim *s, struct sim_job *j)
{
    char name[16];
    bool existed;
    int64_t id = 0;
    if (!s->foreman.ledger)
        return;
    snprintf(name, sizeof(name), "film-%zu", (size_t) (j - s->jobs));
    enum err e = ledger_submit(s->foreman.ledger,
                               &(struct ledger_submission){
                                   .film = name,
                                   .output = name,
                                   .owner = j - s->jobs == 1 ? "ada" : "bob",
                                   .model = j->model,
                                   .identity = name,
                                   .priority = (int64_t) sim_below(s, 2),
                                   .request = "",
                                   .request_bytes = 0,
                               },
                               1, &id, &existed);
    if (!e)
        j->id = id; // though its client may not hear of it
    if (!e && !existed)
        e = begin_planning(s, id);
    expect(s, e, "a submission");
    end_step(s);
}

static void order_job(struct sim *s, struct sim_job *j, unsigned what)
{
    static const char *const names[] = { "cancel", "pause", "resume", "retry", "prioritise" };
    struct ledger *l = s->foreman.ledger;
    struct ledger_job row;
    if (!j->id || ledger_job(l, j->id, &row))
        return;
    enum err e = ERR_INPUT;
    switch (what) {
    case 0:
        e = ledger_move_job(l, j->id, JOB_CANCELLED, "cancelled", s->foreman.wall_ms);
        break;
    case 1: e = ledger_move_job(l, j->id, JOB_PAUSED, NULL, 0); break;
    case 2: e = ledger_move_job(l, j->id, JOB_RUNNING, NULL, 0); break;
    case 3: e = ledger_retry(l, j->id); break;
    case 4: e = ledger_prioritise(l, j->id, (int64_t) sim_below(s, 3)); break;
    default: break;
    }
    if (e == ERR_INPUT)
        return; // not in that state
    sim_trace(s, "%s job %lld", names[what], (long long) j->id);
    if (!e) {
        j->cancelled |= what == 0;
        e = on_changed(s, j->id, s->now);
    }
    if (!e && !ledger_job(l, j->id, &row) && row.state == JOB_SUBMITTED)
        e = begin_planning(s, j->id);
    expect(s, e, "an order");
}

enum { DRAIN, UNDRAIN, QUARANTINE, RELEASE };

static void order_node(struct sim *s, size_t worker, int what)
{
    struct sim_worker *w = &s->workers[worker];
    const int64_t place = fleet_find_name(&s->fleet, w->name);
    if (place < 0)
        return;
    const struct fleet_worker *known = &s->fleet.workers[place];
    struct ledger_node n = { .drained = known->drained, .quarantined = known->quarantined };
    snprintf(n.name, sizeof(n.name), "%s", w->name);
    n.drained = what == DRAIN || (what != UNDRAIN && n.drained);
    n.quarantined = what == QUARANTINE || (what != RELEASE && n.quarantined);
    const enum err e = ledger_put_node(s->foreman.ledger, &n);
    expect(s, e, "an order to a node");
    if (e)
        return;
    sim_trace(s, "%s is %sdrained, %sin quarantine", w->name, n.drained ? "" : "not ",
              n.quarantined ? "" : "not ");
    fleet_drain(&s->fleet, (size_t) place, n.drained);
    if (what == QUARANTINE || what == RELEASE) {
        fleet_quarantine(&s->fleet, (size_t) place, n.quarantined);
        w->in_a_row = 0;
    }
    w->drained = n.drained;
    w->quarantined = n.quarantined;
}

static void order_queue(struct sim *s, bool stopped)
{
    const enum err e =
        ledger_put_queue(s->foreman.ledger, &(struct ledger_queue){ .stopped = stopped });
    expect(s, e, "an order to the queue");
    if (!e)
        s->queue_stopped = stopped;
}

void sim_order(struct sim *s)
{
    if (!s->foreman.ledger)
        return;
    struct sim_job *j = &s->jobs[sim_below(s, s->job_count)];
    const size_t worker = sim_below(s, s->worker_count);
    switch (sim_below(s, 12)) {
    case 0: order_job(s, j, 0); break;
    case 1:
    case 2: order_job(s, j, 1); break;
    case 3:
    case 4: order_job(s, j, 2); break;
    case 5: order_job(s, j, 3); break;
    case 6: order_job(s, j, 4); break;
    case 7: order_node(s, worker, (int) sim_below(s, 4)); break;
    case 8: order_node(s, worker, UNDRAIN); break;
    case 9: order_node(s, worker, RELEASE); break;
    case 10: order_queue(s, true); break;
    default: order_queue(s, false); break;
    }
    end_step(s);
}

void sim_make_good(struct sim *s)
{
    sim_trace(s, "the storm is over");
    order_queue(s, false);
    for (size_t i = 0; i < s->worker_count; i++) {
        order_node(s, i, UNDRAIN);
        order_node(s, i, RELEASE);
    }
    for (size_t i = 0; i < s->job_count; i++) {
        struct ledger_job row;
        if (!s->jobs[i].id || ledger_job(s->foreman.ledger, s->jobs[i].id, &row))
            continue;
        if (row.state == JOB_PAUSED)
            order_job(s, &s->jobs[i], 2);
        else if (row.state == JOB_HELD)
            order_job(s, &s->jobs[i], 3);
    }
    end_step(s);
}
