// links: foreman ledger PkgConfig::SQLITE
//
// A ledger whose rows somebody else has written: each is refused, or taken and worked with. Whatever
// it says, nothing crashes, what is in memory agrees with itself, and no result counts a second time.
// The input is a list of edits, and then one of what is done with what they leave.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/foreman/foreman.h"
#include "coordinator/ledger/ledger_internal.h"
#include "tests/fuzz/fuzz.h"

#define LEDGER "file:/fuzz?vfs=memdb"
#define WORKERS 2
#define MOST_EDITS 16
#define MOST_ORDERS 40

#define must(truth) ((truth) ? (void) 0 : abort()) // a macro: the line is in the trace

// Bytes, then zeros for ever.
struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static int64_t take_number(struct input *in)
{
    static const int64_t odd[] = {
        INT64_MAX, INT64_MIN, INT32_MAX, UINT32_MAX, (int64_t) UINT32_MAX + 1, -1
    };
    const uint8_t kind = take(in);
    if (kind < 128)
        return kind % 16;
    if (kind < 192)
        return odd[kind % 6];
    uint64_t x = 0;
    for (int i = 0; i < 8; i++)
        x = x << 8 | take(in);
    return (int64_t) x;
}

// What it was before: one job being composed, one that waits, one paused, one that failed.

static const char rows[] =
    "INSERT INTO models VALUES ('m', 32000, 640, 30000, 1.0, 224, 4, 3.0, 'CC0');"
    "INSERT INTO owners VALUES ('ann', 1, 5), ('bob', 2, 0);"
    "INSERT INTO nodes VALUES ('n0', 0, 0), ('n1', 0, 0);"
    "INSERT INTO jobs (id, state, film, output, owner, priority, request, identity, model, segments, done, cues, "
    "submitted_ms) VALUES (1, 3, '/f', '/o', 'ann', 0, x'00', 'i1', 'm', 5, 1, 2, 1), "
    "(2, 2, '/g', '/p', 'bob', 5, x'00', 'i2', 'm', 2, 0, 1, 2), "
    "(3, 4, '/h', '/q', 'ann', 0, x'00', 'i3', 'm', 2, 1, 1, 3), "
    "(4, 8, '/i', '/r', 'bob', 0, x'00', 'i4', 'm', 1, 0, 1, 4);"
    "INSERT INTO segments (job, segment, state, cue, place, audio_ms, remaining_ms, fence) VALUES "
    "(1, 0, 4, 0, 0, 9000, 27000, 1), (1, 1, 2, 0, 1, 9000, 18000, 2), (1, 2, 0, 0, 2, 9000, 9000, 0), "
    "(1, 3, 1, 1, 0, 9000, 18000, 0), (1, 4, 0, 1, 1, 9000, 9000, 0), (2, 0, 1, 0, 0, 9000, 18000, 0), "
    "(2, 1, 0, 0, 1, 9000, 9000, 0), (3, 0, 4, 0, 0, 9000, 18000, 1), (3, 1, 3, 0, 1, 9000, 9000, 1), "
    "(4, 0, 5, 0, 0, 9000, 9000, 1);"
    "INSERT INTO attempts (id, job, segment, fence, worker, outcome, leased_ms, ended_ms, detail) VALUES "
    "(1, 1, 0, 1, 'n0', 1, 1, 2, ''), (2, 1, 1, 1, 'n0', 7, 1, 2, 'lost'), (3, 1, 1, 2, 'n1', 0, 1, 0, ''), "
    "(4, 3, 0, 1, 'n0', 1, 1, 2, ''), (5, 3, 1, 1, 'n1', 5, 1, 2, 'oom'), (6, 4, 0, 1, 'n1', 4, 1, 2, 'bad');";

static const struct {
    const char *table, *key, *columns[18];
} tables[] = {
    { "meta", "key", { "key", "value" } },
    { "models",
      "sha256",
      { "sha256", "sample_rate", "hop", "max_duration_ms", "frames_per_s", "image", "codebooks",
        "guidance", "license" } },
    { "owners", "name", { "name", "weight", "used_s" } },
    { "jobs",
      "id",
      { "id", "state", "film", "output", "owner", "priority", "request", "identity", "model",
        "duration_ms", "cues", "segments", "done", "submitted_ms", "ended_ms", "reason" } },
    { "segments",
      "job, segment",
      { "job", "segment", "state", "cue", "place", "audio_ms", "remaining_ms", "fence",
        "troubles", "losses", "reopened", "spoilt" } },
    { "attempts",
      "id",
      { "id", "job", "segment", "fence", "worker", "outcome", "leased_ms", "ended_ms",
        "detail" } },
    { "nodes", "name", { "name", "drained", "quarantined" } },
    { "sqlite_sequence", "name", { "name", "seq" } },
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

static void bind_value(sqlite3_stmt *s, struct input *in)
{
    char text[256];
    const uint8_t kind = take(in);
    const int n = kind % 32 == 31 ? 255 : kind % 8;
    for (int i = 0; i < n; i++)
        text[i] = (char) (i < 16 ? take(in) : 'x');
    switch (kind / 32) {
    case 0: sqlite3_bind_text(s, 1, text, n, SQLITE_TRANSIENT); break;
    case 1: sqlite3_bind_blob(s, 1, text, n, SQLITE_TRANSIENT); break;
    case 2:
        sqlite3_bind_double(s, 1,
                            kind % 2 ? (kind % 4 == 1 ? (double) -INFINITY : (double) INFINITY)
                                     : (double) take_number(in) / 7);
        break;
    case 3: break; // NULL
    default: sqlite3_bind_int64(s, 1, take_number(in));
    }
}

// Another value in one place, or a row less. What the schema itself refuses stays as it was.
static void edit(sqlite3 *db, struct input *in)
{
    const size_t t = take(in) % TABLES;
    size_t columns = 0;
    while (tables[t].columns[columns])
        columns++;
    const uint8_t what = take(in);
    char text[256], *end = text;
    if (what == 255)
        end += snprintf(text, sizeof(text), "DELETE FROM %s", tables[t].table);
    else
        end += snprintf(text, sizeof(text), "UPDATE %s SET %s = ?1", tables[t].table,
                        tables[t].columns[what % columns]);
    snprintf(end, sizeof(text) - (size_t) (end - text),
             " WHERE (%s) IN (SELECT %s FROM %s LIMIT 1 OFFSET %d)", tables[t].key,
             tables[t].key, tables[t].table, take(in) % 12);
    sqlite3_stmt *s = NULL;
    must(sqlite3_prepare_v2(db, text, -1, &s, NULL) == SQLITE_OK);
    if (what != 255)
        bind_value(s, in);
    sqlite3_step(s);
    sqlite3_finalize(s);
}

// The coordinator, without its messages and its disk

struct farm {
    struct foreman foreman;
    struct fleet fleet;
    struct schedule schedule;
    int64_t accepted[64]; // attempts: more than there are orders
    size_t accepted_count;
};

static void on_lease(void *user, const struct work_lease *l)
{
    const struct farm *f = user;
    must(l->worker < f->fleet.count);
}

static void on_cancel(void *user, size_t place, int64_t attempt)
{
    const struct farm *f = user;
    (void) attempt;
    must(place < f->fleet.count);
}

static void on_ended(void *user, enum outcome why, double music_s, double gpu_s, double now)
{
    (void) user, (void) music_s, (void) gpu_s, (void) now;
    must(outcome_name(why) != NULL);
}

static enum err on_activate(void *user, const struct ledger_job *row, double now)
{
    struct farm *f = user;
    (void) now;
    struct work_job j = { .id = row->id,
                          .priority = row->priority,
                          .paused = row->state == JOB_PAUSED,
                          .count = row->segments };
    snprintf(j.model, sizeof(j.model), "%s", row->model);
    enum err e = schedule_owner(&f->schedule, row->owner, 1, 0, &j.owner);
    if (!e)
        e = foreman_mirror(&f->foreman, row->id, row->segments, &j.segments);
    for (uint32_t i = 0; !e && i < j.count; i++)
        j.segments[i].frames = FRAMES_THERE;
    if (!e)
        e = schedule_add(&f->schedule, &j);
    if (e)
        free(j.segments);
    return e;
}

static enum err on_changed(void *user, int64_t job, double now)
{
    struct farm *f = user;
    struct ledger_job row;
    const enum err e = ledger_job(f->foreman.ledger, job, &row);
    return e ? e : foreman_follow(&f->foreman, &row, now);
}

static enum err on_wake(void *user, int64_t job, enum job_state state, double now)
{
    struct farm *f = user;
    must(*job_state_name(state));
    const enum err e = on_changed(user, job, now);
    return e == ERR_MISSING || e == ERR_INPUT
               ? ledger_move_job(f->foreman.ledger, job, JOB_FAILED, "unreadable", 1)
               : e;
}

static enum err on_secure(void *user, size_t count)
{
    (void) user, (void) count;
    return ERR_OK;
}

static void on_settled(void *user, size_t index, const struct ledger_result *r, bool written)
{
    struct farm *f = user;
    (void) index;
    if (!written || r->verdict != VERDICT_ACCEPTED)
        return;
    for (size_t i = 0; i < f->accepted_count; i++)
        must(f->accepted[i] != r->attempt);
    must(f->accepted_count < sizeof(f->accepted) / sizeof(f->accepted[0]));
    f->accepted[f->accepted_count++] = r->attempt;
}

static enum err on_find_result(void *user, const struct ledger_attempt *a, bool *goes_on,
                               bool *there, double now)
{
    (void) user, (void) now;
    *goes_on = true;
    *there = a->id % 2 == 0;
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

static enum err see_segment(void *user, const struct ledger_segment *s)
{
    (void) user;
    must(segment_state_name(s->state) != NULL);
    return ERR_OK;
}

static enum err see_attempt(void *user, const struct ledger_attempt *a)
{
    (void) user;
    must(outcome_name(a->outcome) != NULL && strlen(a->worker) < sizeof(a->worker));
    return ERR_OK;
}

static enum err see_job(void *user, const struct ledger_job *j)
{
    (void) user;
    must(job_state_name(j->state) != NULL && strlen(j->reason) < sizeof(j->reason));
    return ERR_OK;
}

static enum err see_owner(void *user, const struct ledger_owner *o)
{
    (void) user;
    must(strlen(o->name) < sizeof(o->name));
    return ERR_OK;
}

static enum err see_node(void *user, const struct ledger_node *n)
{
    struct farm *f = user;
    return fleet_know(&f->fleet, n->name, n->drained, n->quarantined);
}

// Every question there is; the answers are looked at, not judged.
static void ask(struct farm *f, struct input *in)
{
    struct ledger *l = f->foreman.ledger;
    struct ledger_model models[4];
    struct ledger_queue queue;
    size_t count;
    uint64_t counts[JOB_STATES];
    int64_t job = take(in) % 5, found;
    void *request;
    enum err e = ledger_models(l, models, 4, &count);
    e = e ? e : ledger_queue(l, &queue);
    e = e ? e : ledger_count_jobs(l, counts);
    e = e ? e : ledger_last_job(l, &found);
    e = e ? e : ledger_find(l, "i1", &found);
    e = ledger_each_job(l, 0, 10, take(in) % 2, see_job, f);
    e = ledger_each_last(l, 10, true, see_job, f);
    e = ledger_each_over(l, 10, see_job, f);
    e = ledger_each_segment(l, job, see_segment, f);
    e = ledger_each_attempt(l, job, 0, 10, see_attempt, f);
    e = ledger_each_failure(l, 10, see_attempt, f);
    e = ledger_each_owner(l, see_owner, f);
    e = ledger_check(l);
    if (!ledger_request(l, job, &request, &count))
        free(request);
    (void) e;
}

static enum err order(struct farm *f, struct input *in, double now)
{
    const uint8_t what = take(in), which = take(in);
    struct ledger *l = f->foreman.ledger;
    const struct work_lease *lease =
        f->schedule.lease_count ? &f->schedule.leases[which % f->schedule.lease_count] : NULL;
    const int64_t job = 1 + which % 4, attempt = lease ? lease->attempt : which % 8,
                  fence = lease ? lease->fence : which % 3;
    const uint32_t segment = lease ? lease->segment : which % 5, damaged[] = { which % 5 };
    enum offer o;
    enum err e;
    switch (what % 10) {
    case 0: return foreman_dispatch(&f->foreman, now);
    case 1:
        e = foreman_offer(&f->foreman, attempt, fence, lease ? lease->job : job, segment, &o,
                          now);
        if (!e && o == OFFER_TAKE && (lease = schedule_find(&f->schedule, attempt)))
            foreman_take(&f->foreman, attempt, fence, lease->job, lease->segment);
        return e;
    case 2: return foreman_settle(&f->foreman, now);
    case 3:
        return foreman_failed(&f->foreman, attempt, (enum outcome)(OUTCOME_INPUT + which % 5),
                              "", now);
    case 4: return foreman_tick(&f->foreman, now);
    case 5: return foreman_lapse(&f->foreman, now);
    case 6:
        return lease && segment > 0 && which > 128
                   ? foreman_lacks_prompt(&f->foreman, attempt, now)
                   : ERR_OK;
    case 7: return foreman_reopen(&f->foreman, job, damaged, 1, now);
    case 8: e = ledger_retry(l, job); return e ? e : on_changed(f, job, now);
    default:
        e = ledger_move_job(l, job, (enum job_state)(which / 8 % JOB_STATES), "", 1);
        return e ? e : on_changed(f, job, now);
    }
}

static void work(struct farm *f, struct input *in)
{
    double now = 1;
    size_t jobs, leases, place;
    enum err e = ledger_each_node(f->foreman.ledger, see_node, f);
    if (!e)
        e = foreman_load(&f->foreman, &jobs, &leases, now);
    for (int i = 0; !e && i < WORKERS; i++) {
        const char *const names[WORKERS] = { "n0", "n1" };
        e = fleet_join(&f->fleet,
                       &(struct fleet_hello){ .name = names[i],
                                              .device = "",
                                              .vendor = "",
                                              .driver = "",
                                              .software = "",
                                              .model = "m",
                                              .memory = 1,
                                              .incarnation = 1 + (uint64_t) i,
                                              .slots = 2 },
                       now, &place);
        if (!e)
            fleet_pull(&f->fleet, place, 2, now);
    }
    for (int i = 0; !e && in->left && i < MOST_ORDERS; i++) {
        now += take(in) / 16.0;
        e = order(f, in, now);
        must(schedule_check(&f->schedule, &f->fleet) == NULL);
        if (e == ERR_INPUT || e == ERR_MISSING || e == ERR_BUG)
            e = ERR_OK; // an order that is refused
    }
    ask(f, in);
}

static sqlite3 *prepare(void)
{
    static sqlite3 *before;
    sqlite3 *db = NULL;
    struct ledger *l = NULL;
    if (!before) {
        must(sqlite3_open_v2("file:/before?vfs=memdb", &before,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                             NULL) == SQLITE_OK);
        must(ledger_open(&l, "file:/before?vfs=memdb") == ERR_OK);
        must(sql_script(&l->sql, rows) == ERR_OK);
        must(ledger_check(l) == ERR_OK);
        must(sql_script(&l->sql, "PRAGMA journal_mode = DELETE") ==
             ERR_OK); // others can read it then
        ledger_close(&l);
    }
    must(sqlite3_open_v2(LEDGER, &db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI,
                         NULL) == SQLITE_OK);
    sqlite3_backup *b = sqlite3_backup_init(db, "main", before, "main");
    must(b && sqlite3_backup_step(b, -1) == SQLITE_DONE);
    sqlite3_backup_finish(b);
    return db;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct farm f = {
        .foreman = { .fleet = &f.fleet, .schedule = &f.schedule, .hooks = &hooks, .user = &f }
    };
    sqlite3 *db = prepare();
    for (int n = take(&in) % MOST_EDITS; n > 0; n--)
        edit(db, &in);
    if (!ledger_open(&f.foreman.ledger, LEDGER)) {
        fleet_init(&f.fleet, 2, 10);
        schedule_init(&f.schedule, 10);
        work(&f, &in);
        schedule_finish(&f.schedule);
        fleet_finish(&f.fleet);
        ledger_close(&f.foreman.ledger);
    }
    sqlite3_close(db);
    return 0;
}
