// Jobs. Every arrow is ledger_move_job() unless it says otherwise.
//
//   SUBMITTED ──► PROBING ──ledger_plan──► PLANNED ──ledger_lease──► RUNNING ◄──► PAUSED
//       ▲            │                        │                         │
//       └─(restart)──┘                        └──────────┬──────────────┘
//                                                        ▼
//                          HELD ◄───────────────── ASSEMBLING ──► DONE
//                           └──────(ledger_retry)──────►
//   any state that is not over ──► FAILED | CANCELLED ──ledger_retry──► where it was
//
// ASSEMBLING is stitching, muxing, reading back and renaming: one child process does
// all of it, and nothing in between could be taken up. HELD waits for an operator.
//
// Segments.
//
//               ledger_accept of the predecessor
//   BLOCKED ──────────────► READY ◄──ledger_release── RETRY_WAIT
//                             │ ▲                         ▲
//                ledger_lease │ │ ledger_end: lost        │ ledger_end: a GPU failed it
//                             ▼ │                         │
//                           LEASED ───────────────────────┘
//                             │ └──ledger_end: its input is bad, or too often──► FAILED
//                             ▼ ledger_accept
//                           DONE            what is not DONE when its job is over: CANCELLED
//
// A segment that is being delivered or looked at is LEASED here: after a restart its
// worker delivers again.
//
// Invariants. ledger_check() tests all of them, and debug builds do after every change.
//
//   1. A segment is DONE exactly if one attempt at it, and only one, was accepted.
//   2. A segment is LEASED exactly if an attempt at it is live.
//   3. A segment's fence is the highest of its attempts', and no two of those are equal.
//   4. A segment is BLOCKED only if its predecessor in the cue is not DONE; one that is
//      READY, LEASED, RETRY_WAIT or DONE has none, or a DONE one.
//   5. job.done counts the job's DONE segments, job.segments all of them.
//   6. Attempts are live only in jobs that are RUNNING or PAUSED.
//   7. In an ASSEMBLING, HELD or DONE job every segment is DONE.
//   8. Attempts never change once they have ended; DONE segments never change.
//
// 8 is held by triggers, not by care: see harden().
#include "coordinator/ledger/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "coordinator/ledger/sql.h"
#include "schema.h"

#define VERSION 2

struct ledger {
    struct sql sql;
    int64_t epoch;
};

const char *job_state_name(enum job_state s)
{
    static const char *const names[JOB_STATES] = {
        [JOB_SUBMITTED] = "SUBMITTED", [JOB_PROBING] = "PROBING", [JOB_PLANNED] = "PLANNED",
        [JOB_RUNNING] = "RUNNING", [JOB_PAUSED] = "PAUSED", [JOB_ASSEMBLING] = "ASSEMBLING",
        [JOB_HELD] = "HELD", [JOB_DONE] = "DONE", [JOB_FAILED] = "FAILED", [JOB_CANCELLED] = "CANCELLED",
    };
    return names[s];
}

const char *segment_state_name(enum segment_state s)
{
    static const char *const names[SEGMENT_STATES] = {
        [SEGMENT_BLOCKED] = "BLOCKED", [SEGMENT_READY] = "READY", [SEGMENT_LEASED] = "LEASED",
        [SEGMENT_RETRY_WAIT] = "RETRY_WAIT", [SEGMENT_DONE] = "DONE", [SEGMENT_FAILED] = "FAILED",
        [SEGMENT_CANCELLED] = "CANCELLED",
    };
    return names[s];
}

const char *outcome_name(enum outcome o)
{
    static const char *const names[OUTCOMES] = {
        [OUTCOME_LIVE] = "live", [OUTCOME_ACCEPTED] = "accepted", [OUTCOME_SUPERSEDED] = "superseded",
        [OUTCOME_CANCELLED] = "cancelled", [OUTCOME_INPUT] = "input", [OUTCOME_OOM] = "oom",
        [OUTCOME_DEVICE_LOST] = "device_lost", [OUTCOME_LOST] = "lost", [OUTCOME_SHUTDOWN] = "shutdown",
    };
    return (unsigned) o < OUTCOMES ? names[o] : "unknown";
}

bool job_state_is_over(enum job_state s)
{
    return s == JOB_DONE || s == JOB_FAILED || s == JOB_CANCELLED;
}

// Opening

static enum err unreadable(const char *path)
{
    log_error("%s: the ledger is damaged; put back a copy that `underscore db backup` made, or move it and its "
              "-wal file away to begin an empty one (finished films are not touched)", path);
    return ERR_CONFIG;
}

// EXCLUSIVE must come before WAL: then the index of the WAL lives in this process's
// memory, and a second coordinator is refused by the lock.
static enum err take(struct ledger *l)
{
    enum err e = sql_script(&l->sql, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                                     "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                                     "PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 1000;"
                                     "BEGIN IMMEDIATE; COMMIT;");
    if (e == ERR_CONFIG)
        return unreadable(l->sql.path);
    if (e == ERR_UNAVAILABLE)
        log_error("%s: another coordinator has it open", l->sql.path);
    return e;
}

static enum err check_pages(struct ledger *l)
{
    char said[200] = "";
    bool row;
    sqlite3_stmt *check = sql_statement(&l->sql, "PRAGMA integrity_check(1)");
    const enum err e = sql_step(&l->sql, check, &row);
    if (!e && row)
        sql_text(check, 0, said, sizeof(said));
    if (check)
        sqlite3_reset(check);
    if (!e && !strcmp(said, "ok"))
        return ERR_OK;
    log_error("%s: %s", l->sql.path, said);
    return unreadable(l->sql.path);
}

// The sections of schema.sql above the version that the file has.
static enum err migrate(struct ledger *l)
{
    int64_t version;
    enum err e = sql_number(&l->sql, sql_statement(&l->sql, "PRAGMA user_version"), 0, &version);
    if (e)
        return e == ERR_CONFIG ? unreadable(l->sql.path) : e;
    if (version > VERSION) {
        log_error("%s: written by a later version of underscored (ledger version %lld, this one knows %d)",
                  l->sql.path, (long long) version, VERSION);
        return ERR_CONFIG;
    }
    if (version == VERSION)
        return ERR_OK;
    e = sql_begin(&l->sql);
    if (e)
        return e;
    for (int64_t v = version + 1; !e && v <= VERSION; v++) {
        char begins[40], pragma[48];
        snprintf(begins, sizeof(begins), "-- version %lld\n", (long long) v);
        snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %lld", (long long) v);
        const char *from = strstr(schema, begins);
        const char *to = from ? strstr(from + 1, "-- version ") : NULL;
        char *section = !from ? NULL : to ? strndup(from, (size_t) (to - from)) : strdup(from);
        e = section ? sql_script(&l->sql, section) : ERR_BUG;
        if (!e)
            e = sql_script(&l->sql, pragma);
        free(section);
    }
    return sql_end(&l->sql, e);
}

// What has ended stays as it is, whoever writes what into this file. Temporary: part of
// the connection, not of the file.
static enum err harden(struct ledger *l)
{
    return sql_script(&l->sql,
        "CREATE TEMP TRIGGER attempts_end_once BEFORE UPDATE ON main.attempts WHEN old.outcome <> 0 "
        "BEGIN SELECT RAISE(ABORT, 'an attempt that has ended was to be changed'); END;"
        "CREATE TEMP TRIGGER done_is_final BEFORE UPDATE ON main.segments WHEN old.state = 4 "
        "BEGIN SELECT RAISE(ABORT, 'a segment that is done was to be changed'); END;");
}
_Static_assert(SEGMENT_DONE == 4 && OUTCOME_LIVE == 0, "harden() and schema.sql have them as numbers");

static enum err count_epoch(struct ledger *l)
{
    enum err e = sql_run(&l->sql, sql_statement(&l->sql, "UPDATE meta SET value = value + 1 WHERE key = 'epoch'"));
    if (!e)
        e = sql_number(&l->sql, sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'epoch'"), 0, &l->epoch);
    return e;
}

enum err ledger_open(struct ledger **out, const char *path)
{
    *out = NULL;
    struct ledger *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    enum err e = sql_open(&l->sql, path);
    if (!e)
        e = take(l);
    if (!e)
        e = check_pages(l);
    if (!e)
        e = migrate(l);
    if (!e)
        e = harden(l);
    if (!e)
        e = count_epoch(l);
    if (e) {
        ledger_close(&l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void ledger_close(struct ledger **l)
{
    if (!*l)
        return;
    sql_close(&(*l)->sql);
    free(*l);
    *l = NULL;
}

uint64_t ledger_epoch(const struct ledger *l)
{
    return (uint64_t) l->epoch;
}

// Invariants

static const struct {
    int number;
    const char *query; // counts what breaks it; ?1: the job, or 0 for all
} invariants[] = {
    { 1, "SELECT count(*) FROM segments s WHERE (?1 = 0 OR s.job = ?1) AND (s.state = 4) <> "
         "((SELECT count(*) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 1) = 1)" },
    { 2, "SELECT count(*) FROM segments s WHERE (?1 = 0 OR s.job = ?1) AND (s.state = 2) <> "
         "EXISTS (SELECT 1 FROM attempts a WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 0)" },
    { 3, "SELECT count(*) FROM segments s WHERE (?1 = 0 OR s.job = ?1) AND (s.fence <> "
         "(SELECT ifnull(max(fence), 0) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment) OR "
         "(SELECT count(*) <> count(DISTINCT fence) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment))" },
    { 4, "SELECT count(*) FROM segments s LEFT JOIN segments p ON p.job = s.job AND p.segment = s.segment - 1 "
         "AND s.place > 0 WHERE (?1 = 0 OR s.job = ?1) AND ((s.state = 0 AND ifnull(p.state, 4) = 4) OR "
         "(s.state BETWEEN 1 AND 4 AND ifnull(p.state, 4) <> 4))" },
    { 5, "SELECT count(*) FROM jobs j WHERE (?1 = 0 OR j.id = ?1) AND "
         "(j.segments <> (SELECT count(*) FROM segments s WHERE s.job = j.id) OR "
         "j.done <> (SELECT count(*) FROM segments s WHERE s.job = j.id AND s.state = 4))" },
    { 6, "SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job WHERE (?1 = 0 OR j.id = ?1) AND "
         "a.outcome = 0 AND j.state NOT IN (3, 4)" },
    { 7, "SELECT count(*) FROM jobs j WHERE (?1 = 0 OR j.id = ?1) AND j.state IN (5, 6, 7) AND j.done <> j.segments" },
};
_Static_assert(SEGMENT_BLOCKED == 0 && SEGMENT_READY == 1 && SEGMENT_LEASED == 2 && OUTCOME_ACCEPTED == 1 &&
               JOB_RUNNING == 3 && JOB_PAUSED == 4 && JOB_ASSEMBLING == 5 && JOB_HELD == 6 && JOB_DONE == 7,
               "the invariants have them as numbers");

static enum err check(struct ledger *l, int64_t job)
{
    for (size_t i = 0; i < sizeof(invariants) / sizeof(invariants[0]); i++) {
        int64_t broken;
        const enum err e = sql_number(&l->sql, sql_bind(&l->sql, invariants[i].query, "i", job), 0, &broken);
        if (e)
            return e;
        if (broken) {
            log_error("%s: invariant %d of ledger.c does not hold (%lld times, job %lld)", l->sql.path,
                      invariants[i].number, (long long) broken, (long long) job);
            return ERR_BUG;
        }
    }
    return ERR_OK;
}

enum err ledger_check(struct ledger *l)
{
    const enum err e = check_pages(l);
    return e ? e : check(l, 0);
}

enum err ledger_check_file(const char *path)
{
    struct ledger l = { 0 };
    int64_t version = 0;
    enum err e = access(path, R_OK) == 0 ? ERR_OK : ERR_MISSING;
    if (e)
        log_error("%s: cannot be read", path);
    else
        e = sql_open_to_read(&l.sql, path);
    if (!e)
        e = sql_number(&l.sql, sql_statement(&l.sql, "PRAGMA user_version"), 0, &version);
    if (!e && (version < 1 || version > VERSION)) {
        log_error("%s: no ledger of a version that this underscored knows (1 to %d)", path, VERSION);
        e = ERR_CONFIG;
    }
    if (e == ERR_UNAVAILABLE)
        log_error("%s: a coordinator has it open; ask that with `underscore db check`", path);
    if (!e)
        e = ledger_check(&l);
    sql_close(&l.sql);
    return e;
}

// Ends the transaction of a change to `job`.
static enum err end(struct ledger *l, enum err e, int64_t job)
{
#ifndef NDEBUG
    if (!e)
        e = check(l, job);
#else
    (void) job;
#endif
    return sql_end(&l->sql, e);
}

// Models and owners

enum err ledger_put_model(struct ledger *l, const struct ledger_model *m)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "INSERT OR REPLACE INTO models VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", "siiidiid", m->sha256,
        (int64_t) m->sample_rate, (int64_t) m->hop, (int64_t) m->max_duration_ms, m->frames_per_s,
        (int64_t) m->image, (int64_t) m->codebooks, m->guidance));
}

static uint32_t column_u32(sqlite3_stmt *s, int column)
{
    return (uint32_t) sqlite3_column_int64(s, column);
}

enum err ledger_models(struct ledger *l, struct ledger_model *out, size_t room, size_t *count)
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT sha256, sample_rate, hop, max_duration_ms, frames_per_s, "
                                             "image, codebooks, guidance FROM models ORDER BY sha256");
    bool row;
    enum err e;
    *count = 0;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        if (*count < room) {
            struct ledger_model *m = &out[*count];
            sql_text(s, 0, m->sha256, sizeof(m->sha256));
            m->sample_rate = column_u32(s, 1);
            m->hop = column_u32(s, 2);
            m->max_duration_ms = column_u32(s, 3);
            m->frames_per_s = sqlite3_column_double(s, 4);
            m->image = column_u32(s, 5);
            m->codebooks = column_u32(s, 6);
            m->guidance = sqlite3_column_double(s, 7);
        }
        (*count)++;
    }
    return e;
}

enum err ledger_each_owner(struct ledger *l, enum err (*visit)(void *user, const struct ledger_owner *o), void *user)
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT name, weight, used_s FROM owners ORDER BY name");
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        struct ledger_owner o = { .weight = sqlite3_column_double(s, 1), .used_s = sqlite3_column_double(s, 2) };
        sql_text(s, 0, o.name, sizeof(o.name));
        e = visit(user, &o);
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

// Nodes and the queue

enum err ledger_put_node(struct ledger *l, const struct ledger_node *n)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "INSERT OR REPLACE INTO nodes VALUES (?1, ?2, ?3)", "sii", n->name,
                                     (int64_t) n->drained, (int64_t) n->quarantined));
}

enum err ledger_each_node(struct ledger *l, enum err (*visit)(void *user, const struct ledger_node *n), void *user)
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT name, drained, quarantined FROM nodes ORDER BY name");
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        struct ledger_node n = { .drained = sqlite3_column_int(s, 1) != 0, .quarantined = sqlite3_column_int(s, 2) != 0 };
        sql_text(s, 0, n.name, sizeof(n.name));
        e = visit(user, &n);
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

enum err ledger_queue(struct ledger *l, struct ledger_queue *out)
{
    int64_t disabled = 0, stopped = 0;
    enum err e = sql_number(&l->sql, sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'queue_disabled'"), 0,
                            &disabled);
    if (!e)
        e = sql_number(&l->sql, sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'queue_stopped'"), 0,
                       &stopped);
    *out = (struct ledger_queue){ disabled != 0, stopped != 0 };
    return e;
}

enum err ledger_put_queue(struct ledger *l, const struct ledger_queue *q)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE meta SET value = CASE key WHEN 'queue_disabled' THEN ?1 ELSE ?2 END "
        "WHERE key IN ('queue_disabled', 'queue_stopped')", "ii", (int64_t) q->disabled, (int64_t) q->stopped));
}

// Jobs

enum err ledger_count_jobs(struct ledger *l, uint64_t counts[JOB_STATES])
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT state, count(*) FROM jobs GROUP BY state");
    bool row;
    enum err e;
    memset(counts, 0, JOB_STATES * sizeof(*counts));
    while (!(e = sql_step(&l->sql, s, &row)) && row)
        if (column_u32(s, 0) < JOB_STATES)
            counts[column_u32(s, 0)] = (uint64_t) sqlite3_column_int64(s, 1);
    return e;
}

static enum err old_jobs(struct ledger *l, int64_t before_ms, int64_t *ids, size_t room, size_t *count)
{
    sqlite3_stmt *s = sql_bind(&l->sql,
        "SELECT id FROM jobs WHERE state IN (?1, ?2, ?3) AND ended_ms < ?4 ORDER BY id LIMIT ?5", "iiiii",
        (int64_t) JOB_DONE, (int64_t) JOB_FAILED, (int64_t) JOB_CANCELLED, before_ms, (int64_t) room);
    bool row;
    enum err e;
    *count = 0;
    while (!(e = sql_step(&l->sql, s, &row)) && row)
        ids[(*count)++] = sqlite3_column_int64(s, 0);
    return e;
}

static enum err forget(struct ledger *l, int64_t job)
{
    enum err e = sql_run(&l->sql, sql_bind(&l->sql, "DELETE FROM attempts WHERE job = ?1", "i", job));
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql, "DELETE FROM segments WHERE job = ?1", "i", job));
    return e ? e : sql_run(&l->sql, sql_bind(&l->sql, "DELETE FROM jobs WHERE id = ?1", "i", job));
}

enum err ledger_prune(struct ledger *l, int64_t before_ms, int64_t *ids, size_t room, size_t *count)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    e = old_jobs(l, before_ms, ids, room, count);
    for (size_t i = 0; !e && i < *count; i++)
        e = forget(l, ids[i]);
    e = sql_end(&l->sql, e);
    if (e)
        *count = 0;
    return e;
}

enum err ledger_find(struct ledger *l, const char *identity, int64_t *job)
{
    return sql_number(&l->sql, sql_bind(&l->sql,
        "SELECT id FROM jobs WHERE identity = ?1 AND state NOT IN (?2, ?3) ORDER BY id DESC LIMIT 1", "sii",
        identity, (int64_t) JOB_FAILED, (int64_t) JOB_CANCELLED), 0, job);
}

enum err ledger_writes(struct ledger *l, const char *output, int64_t *job)
{
    return sql_number(&l->sql, sql_bind(&l->sql,
        "SELECT id FROM jobs WHERE output = ?1 AND state NOT IN (?2, ?3, ?4) LIMIT 1", "siii", output,
        (int64_t) JOB_DONE, (int64_t) JOB_FAILED, (int64_t) JOB_CANCELLED), 0, job);
}

static enum err insert_job(struct ledger *l, const struct ledger_submission *s, int64_t now_ms, int64_t *job)
{
    enum err e = sql_run(&l->sql, sql_bind(&l->sql, "INSERT OR IGNORE INTO owners (name) VALUES (?1)", "s", s->owner));
    sqlite3_stmt *insert = sql_bind(&l->sql,
        "INSERT INTO jobs (state, film, output, owner, priority, identity, model, submitted_ms, request) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)", "isssissi", (int64_t) JOB_SUBMITTED, s->film, s->output,
        s->owner, s->priority, s->identity, s->model, now_ms);
    if (!e && insert &&
        sqlite3_bind_blob64(insert, 9, s->request, s->request_bytes, SQLITE_TRANSIENT) != SQLITE_OK)
        e = ERR_NOMEM;
    if (!e)
        e = sql_run(&l->sql, insert);
    *job = sqlite3_last_insert_rowid(l->sql.db);
    return e;
}

enum err ledger_submit(struct ledger *l, const struct ledger_submission *s, int64_t now_ms, int64_t *job,
                       bool *existed)
{
    *existed = false;
    *job = 0;
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    if (!s->force)
        e = ledger_find(l, s->identity, job);
    if (!e && *job)
        *existed = true;
    else if (!e)
        e = insert_job(l, s, now_ms, job);
    return end(l, e, *job);
}

#define JOB_COLUMNS "id, state, film, output, owner, model, priority, duration_ms, cues, segments, done, " \
                    "submitted_ms, ended_ms, reason"

static void take_job(sqlite3_stmt *s, struct ledger_job *out)
{
    *out = (struct ledger_job){
        .id = sqlite3_column_int64(s, 0),
        .state = (enum job_state) sqlite3_column_int(s, 1),
        .priority = sqlite3_column_int64(s, 6),
        .duration_ms = sqlite3_column_int64(s, 7),
        .cues = column_u32(s, 8),
        .segments = column_u32(s, 9),
        .done = column_u32(s, 10),
        .submitted_ms = sqlite3_column_int64(s, 11),
        .ended_ms = sqlite3_column_int64(s, 12),
    };
    sql_text(s, 2, out->film, sizeof(out->film));
    sql_text(s, 3, out->output, sizeof(out->output));
    sql_text(s, 4, out->owner, sizeof(out->owner));
    sql_text(s, 5, out->model, sizeof(out->model));
    sql_text(s, 13, out->reason, sizeof(out->reason));
}

// Rows that another program wrote may hold anything.
static enum err state_is_known(struct ledger *l, const struct ledger_job *j)
{
    if ((unsigned) j->state < JOB_STATES)
        return ERR_OK;
    log_error("%s: job %lld is in no state that there is", l->sql.path, (long long) j->id);
    return ERR_CONFIG;
}

enum err ledger_job(struct ledger *l, int64_t job, struct ledger_job *out)
{
    bool row;
    sqlite3_stmt *s = sql_bind(&l->sql, "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?1", "i", job);
    enum err e = sql_step(&l->sql, s, &row);
    if (!e && !row)
        return ERR_MISSING;
    if (!e) {
        take_job(s, out);
        sqlite3_reset(s);
        e = state_is_known(l, out);
    }
    return e;
}

static enum err each_job(struct ledger *l, sqlite3_stmt *s,
                         enum err (*visit)(void *user, const struct ledger_job *job), void *user)
{
    struct ledger_job j;
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        take_job(s, &j);
        e = state_is_known(l, &j);
        if (!e)
            e = visit(user, &j);
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

enum err ledger_each_job(struct ledger *l, int64_t after, uint32_t most, bool open,
                         enum err (*visit)(void *user, const struct ledger_job *job), void *user)
{
    return each_job(l, sql_bind(&l->sql,
        "SELECT " JOB_COLUMNS " FROM jobs WHERE id > ?1 AND (?3 = 0 OR state < ?4) ORDER BY id LIMIT ?2", "iiii", after,
        (int64_t) most, (int64_t) open, (int64_t) JOB_DONE), visit, user);
}

enum err ledger_each_over(struct ledger *l, uint32_t most, enum err (*visit)(void *user, const struct ledger_job *job),
                          void *user)
{
    return each_job(l, sql_bind(&l->sql,
        "SELECT " JOB_COLUMNS " FROM jobs WHERE state >= ?1 ORDER BY id DESC LIMIT ?2", "ii", (int64_t) JOB_DONE,
        (int64_t) most), visit, user);
}
_Static_assert(JOB_HELD < JOB_DONE && JOB_DONE < JOB_FAILED && JOB_FAILED < JOB_CANCELLED, "what is over comes last");

enum err ledger_request(struct ledger *l, int64_t job, void **out, size_t *bytes)
{
    bool row;
    sqlite3_stmt *s = sql_bind(&l->sql, "SELECT request FROM jobs WHERE id = ?1", "i", job);
    enum err e = sql_step(&l->sql, s, &row);
    *out = NULL;
    if (!e && !row)
        return ERR_MISSING;
    if (!e) {
        *bytes = (size_t) sqlite3_column_bytes(s, 0);
        *out = malloc(*bytes + 1);
        if (*out && *bytes)
            memcpy(*out, sqlite3_column_blob(s, 0), *bytes);
        e = *out ? ERR_OK : ERR_NOMEM;
        sqlite3_reset(s);
    }
    return e;
}

// Where ledger_move_job() may go from each state.
static bool may_move(enum job_state from, enum job_state to)
{
    static const bool may[JOB_STATES][JOB_STATES] = {
        [JOB_SUBMITTED] = { [JOB_PROBING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_PROBING] = { [JOB_SUBMITTED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_PLANNED] = { [JOB_PAUSED] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_RUNNING] = { [JOB_PAUSED] = true, [JOB_ASSEMBLING] = true, [JOB_FAILED] = true,
                          [JOB_CANCELLED] = true },
        [JOB_PAUSED] = { [JOB_RUNNING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_ASSEMBLING] = { [JOB_DONE] = true, [JOB_HELD] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_HELD] = { [JOB_ASSEMBLING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
    };
    return may[from][to];
}

static enum err set_state(struct ledger *l, int64_t job, enum job_state to, const char *reason, int64_t now_ms)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE jobs SET state = ?2, reason = ?3, ended_ms = ?4 WHERE id = ?1", "iisi", job, (int64_t) to,
        reason ? reason : "", job_state_is_over(to) ? now_ms : (int64_t) 0));
}

// A job is over: nothing of it goes on.
static enum err wind_up(struct ledger *l, int64_t job, int64_t now_ms)
{
    const enum err e = sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE attempts SET outcome = ?2, ended_ms = ?3 WHERE job = ?1 AND outcome = 0", "iii", job,
        (int64_t) OUTCOME_CANCELLED, now_ms));
    if (e)
        return e;
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE segments SET state = ?2 WHERE job = ?1 AND state NOT IN (?3, ?4)", "iiii", job,
        (int64_t) SEGMENT_CANCELLED, (int64_t) SEGMENT_DONE, (int64_t) SEGMENT_FAILED));
}

static enum err move_job(struct ledger *l, int64_t job, enum job_state to, const char *reason, int64_t now_ms)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (e)
        return e;
    if (!may_move(j.state, to) || (to == JOB_ASSEMBLING && j.done != j.segments)) {
        log_error("job %lld is %s and cannot become %s", (long long) job, job_state_name(j.state),
                  job_state_name(to));
        return ERR_INPUT;
    }
    if (to == JOB_FAILED || to == JOB_CANCELLED)
        e = wind_up(l, job, now_ms);
    return e ? e : set_state(l, job, to, reason, now_ms);
}

enum err ledger_move_job(struct ledger *l, int64_t job, enum job_state to, const char *reason, int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    return end(l, move_job(l, job, to, reason, now_ms), job);
}

enum err ledger_choose_model(struct ledger *l, int64_t job, const char *sha256)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET model = ?2 WHERE id = ?1", "is", job, sha256));
}

enum err ledger_prioritise(struct ledger *l, int64_t job, int64_t priority)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET priority = ?2 WHERE id = ?1", "ii", job, priority));
}

// Segments

static enum err insert_segment(struct ledger *l, int64_t job, uint32_t segment, const struct ledger_planned *p)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "INSERT INTO segments (job, segment, state, cue, place, audio_ms, remaining_ms) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", "iiiiiii", job, (int64_t) segment,
        (int64_t) (p->place ? SEGMENT_BLOCKED : SEGMENT_READY), (int64_t) p->cue, (int64_t) p->place, p->audio_ms,
        p->remaining_ms));
}

static enum err plan(struct ledger *l, int64_t job, int64_t duration_ms, uint32_t cues,
                     const struct ledger_planned *segments, uint32_t count)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (!e && j.state != JOB_PROBING) {
        log_error("job %lld is %s and cannot be planned", (long long) job, job_state_name(j.state));
        return ERR_INPUT;
    }
    for (uint32_t i = 0; !e && i < count; i++)
        e = insert_segment(l, job, i, &segments[i]);
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql,
            "UPDATE jobs SET state = ?2, duration_ms = ?3, cues = ?4, segments = ?5 WHERE id = ?1", "iiiii", job,
            (int64_t) JOB_PLANNED, duration_ms, (int64_t) cues, (int64_t) count));
    return e;
}

enum err ledger_plan(struct ledger *l, int64_t job, int64_t duration_ms, uint32_t cues,
                     const struct ledger_planned *segments, uint32_t count)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    return end(l, plan(l, job, duration_ms, cues, segments, count), job);
}

#define SEGMENT_COLUMNS "segment, cue, place, state, audio_ms, remaining_ms, fence, troubles, losses"

static struct ledger_segment take_segment(sqlite3_stmt *s)
{
    return (struct ledger_segment){
        .segment = column_u32(s, 0),
        .cue = column_u32(s, 1),
        .place = column_u32(s, 2),
        .state = (enum segment_state) sqlite3_column_int(s, 3),
        .audio_ms = sqlite3_column_int64(s, 4),
        .remaining_ms = sqlite3_column_int64(s, 5),
        .fence = sqlite3_column_int64(s, 6),
        .troubles = column_u32(s, 7),
        .losses = column_u32(s, 8),
    };
}

enum err ledger_each_segment(struct ledger *l, int64_t job,
                             enum err (*visit)(void *user, const struct ledger_segment *s), void *user)
{
    sqlite3_stmt *s = sql_bind(&l->sql, "SELECT " SEGMENT_COLUMNS " FROM segments WHERE job = ?1 ORDER BY segment",
                               "i", job);
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        const struct ledger_segment found = take_segment(s);
        if ((unsigned) found.state >= SEGMENT_STATES) {
            log_error("%s: segment %u of job %lld is in no state that there is", l->sql.path, found.segment,
                      (long long) job);
            e = ERR_CONFIG;
        } else {
            e = visit(user, &found);
        }
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

static enum err find_segment(struct ledger *l, int64_t job, uint32_t segment, struct ledger_segment *out)
{
    bool row;
    sqlite3_stmt *s = sql_bind(&l->sql, "SELECT " SEGMENT_COLUMNS " FROM segments WHERE job = ?1 AND segment = ?2",
                               "ii", job, (int64_t) segment);
    const enum err e = sql_step(&l->sql, s, &row);
    if (!e && !row) {
        log_error("job %lld has no segment %u", (long long) job, segment);
        return ERR_INPUT;
    }
    if (!e) {
        *out = take_segment(s);
        sqlite3_reset(s);
    }
    return e;
}

static enum err set_segment(struct ledger *l, int64_t job, uint32_t segment, enum segment_state to)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2",
                                     "iii", job, (int64_t) segment, (int64_t) to));
}

// Attempts

#define ATTEMPT_COLUMNS "id, job, segment, fence, worker, outcome, leased_ms, ended_ms, detail"

static void take_attempt(sqlite3_stmt *s, struct ledger_attempt *out)
{
    *out = (struct ledger_attempt){
        .id = sqlite3_column_int64(s, 0),
        .job = sqlite3_column_int64(s, 1),
        .segment = column_u32(s, 2),
        .fence = sqlite3_column_int64(s, 3),
        .outcome = (enum outcome) sqlite3_column_int(s, 5),
        .leased_ms = sqlite3_column_int64(s, 6),
        .ended_ms = sqlite3_column_int64(s, 7),
    };
    sql_text(s, 4, out->worker, sizeof(out->worker));
    sql_text(s, 8, out->detail, sizeof(out->detail));
}

enum err ledger_attempt(struct ledger *l, int64_t attempt, struct ledger_attempt *out)
{
    bool row;
    sqlite3_stmt *s = sql_bind(&l->sql, "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE id = ?1", "i", attempt);
    const enum err e = sql_step(&l->sql, s, &row);
    if (!e && !row)
        return ERR_MISSING;
    if (!e) {
        take_attempt(s, out);
        sqlite3_reset(s);
    }
    return e;
}

static enum err each_attempt(struct ledger *l, sqlite3_stmt *s,
                             enum err (*visit)(void *user, const struct ledger_attempt *a), void *user)
{
    struct ledger_attempt a;
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        take_attempt(s, &a);
        e = visit(user, &a);
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

enum err ledger_each_live(struct ledger *l, enum err (*visit)(void *user, const struct ledger_attempt *a), void *user)
{
    return each_attempt(l, sql_statement(&l->sql,
        "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE outcome = 0 ORDER BY job, segment, id"), visit, user);
}

enum err ledger_each_attempt(struct ledger *l, int64_t job, int64_t after, uint32_t most,
                             enum err (*visit)(void *user, const struct ledger_attempt *a), void *user)
{
    return each_attempt(l, sql_bind(&l->sql,
        "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE job = ?1 AND id > ?2 ORDER BY id LIMIT ?3", "iii", job, after,
        (int64_t) most), visit, user);
}

enum err ledger_each_failure(struct ledger *l, uint32_t most,
                             enum err (*visit)(void *user, const struct ledger_attempt *a), void *user)
{
    return each_attempt(l, sql_bind(&l->sql,
        "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE outcome > 3 ORDER BY id DESC LIMIT ?1", "i", (int64_t) most),
        visit, user);
}
_Static_assert(OUTCOME_CANCELLED == 3, "what follows it is a failure");

static enum err lease_one(struct ledger *l, struct ledger_lease *lease, int64_t now_ms)
{
    struct ledger_segment s;
    struct ledger_job j;
    enum err e = find_segment(l, lease->job, lease->segment, &s);
    if (!e)
        e = ledger_job(l, lease->job, &j);
    if (e)
        return e;
    if ((s.state != SEGMENT_READY && s.state != SEGMENT_LEASED) ||
        (j.state != JOB_PLANNED && j.state != JOB_RUNNING)) {
        log_error("segment %u of job %lld is %s, the job %s: it cannot be leased", lease->segment,
                  (long long) lease->job, segment_state_name(s.state), job_state_name(j.state));
        return ERR_INPUT;
    }
    lease->fence = s.fence + 1;
    e = sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE segments SET state = ?3, fence = ?4 WHERE job = ?1 AND segment = ?2", "iiii", lease->job,
        (int64_t) lease->segment, (int64_t) SEGMENT_LEASED, lease->fence));
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql,
            "INSERT INTO attempts (job, segment, fence, worker, leased_ms) VALUES (?1, ?2, ?3, ?4, ?5)", "iiisi",
            lease->job, (int64_t) lease->segment, lease->fence, lease->worker, now_ms));
    lease->attempt = sqlite3_last_insert_rowid(l->sql.db);
    if (!e && j.state == JOB_PLANNED)
        e = set_state(l, lease->job, JOB_RUNNING, NULL, now_ms);
    return e;
}

enum err ledger_lease(struct ledger *l, struct ledger_lease *leases, size_t count, int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    for (size_t i = 0; !e && i < count; i++)
        e = lease_one(l, &leases[i], now_ms);
    return end(l, e, count == 1 ? leases[0].job : 0);
}

static enum verdict judge(const struct ledger_attempt *a, int64_t fence, enum segment_state s)
{
    if (a->fence != fence)
        return VERDICT_STALE;
    if (a->outcome == OUTCOME_ACCEPTED || (a->outcome == OUTCOME_SUPERSEDED && s == SEGMENT_DONE))
        return VERDICT_DUP;
    return a->outcome == OUTCOME_LIVE ? VERDICT_ACCEPTED : VERDICT_STALE;
}

static enum err find_and_judge(struct ledger *l, int64_t attempt, int64_t fence, struct ledger_attempt *a,
                               struct ledger_segment *s, enum verdict *out)
{
    *out = VERDICT_STALE;
    enum err e = ledger_attempt(l, attempt, a);
    if (e == ERR_MISSING)
        return ERR_OK; // it was never leased here
    if (!e)
        e = find_segment(l, a->job, a->segment, s);
    if (!e)
        *out = judge(a, fence, s->state);
    return e;
}

enum err ledger_judge(struct ledger *l, int64_t attempt, int64_t fence, enum verdict *out)
{
    struct ledger_attempt a;
    struct ledger_segment s;
    return find_and_judge(l, attempt, fence, &a, &s, out);
}

static enum err end_attempt(struct ledger *l, int64_t attempt, enum outcome why, const char *detail, int64_t now_ms)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE attempts SET outcome = ?2, ended_ms = ?3, detail = ?4 WHERE id = ?1", "iiis", attempt, (int64_t) why,
        now_ms, detail ? detail : ""));
}

static enum err charge(struct ledger *l, int64_t job, double gpu_s)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE owners SET used_s = used_s + ?2 WHERE name = (SELECT owner FROM jobs WHERE id = ?1)", "id", job,
        gpu_s));
}

// What one result changes: five rows, in one transaction.
static enum err accept(struct ledger *l, const struct ledger_attempt *a, double gpu_s, int64_t now_ms)
{
    enum err e = end_attempt(l, a->id, OUTCOME_ACCEPTED, NULL, now_ms);
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql,
            "UPDATE attempts SET outcome = ?3, ended_ms = ?4 WHERE job = ?1 AND segment = ?2 AND outcome = 0", "iiii",
            a->job, (int64_t) a->segment, (int64_t) OUTCOME_SUPERSEDED, now_ms));
    if (!e)
        e = set_segment(l, a->job, a->segment, SEGMENT_DONE);
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql,
            "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2 + 1 AND place > 0 AND state = ?4", "iiii",
            a->job, (int64_t) a->segment, (int64_t) SEGMENT_READY, (int64_t) SEGMENT_BLOCKED));
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET done = done + 1 WHERE id = ?1", "i", a->job));
    return e ? e : charge(l, a->job, gpu_s);
}

enum err ledger_accept(struct ledger *l, int64_t attempt, int64_t fence, double gpu_s, int64_t now_ms,
                       enum verdict *out)
{
    struct ledger_attempt a = { 0 };
    struct ledger_segment s;
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    e = find_and_judge(l, attempt, fence, &a, &s, out);
    if (!e && *out == VERDICT_ACCEPTED)
        e = accept(l, &a, gpu_s, now_ms);
    return end(l, e, a.job);
}

static bool is_trouble(enum outcome why)
{
    return why == OUTCOME_OOM || why == OUTCOME_DEVICE_LOST;
}

// Where a segment goes when an attempt at it has come to nothing and no other is live.
static enum segment_state after(const struct ledger_segment *s, enum outcome why)
{
    if (why == OUTCOME_INPUT)
        return SEGMENT_FAILED;
    if (is_trouble(why))
        return s->troubles + 1 >= LEDGER_MOST_TROUBLES ? SEGMENT_FAILED : SEGMENT_RETRY_WAIT;
    return s->losses + 1 >= LEDGER_MOST_LOSSES ? SEGMENT_FAILED : SEGMENT_READY;
}

static enum err count_failure(struct ledger *l, const struct ledger_attempt *a, enum outcome why)
{
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE segments SET troubles = troubles + ?3, losses = losses + ?4 WHERE job = ?1 AND segment = ?2", "iiii",
        a->job, (int64_t) a->segment, (int64_t) is_trouble(why),
        (int64_t) (why == OUTCOME_LOST || why == OUTCOME_SHUTDOWN)));
}

static enum err others_live(struct ledger *l, const struct ledger_attempt *a, int64_t *count)
{
    return sql_number(&l->sql, sql_bind(&l->sql,
        "SELECT count(*) FROM attempts WHERE job = ?1 AND segment = ?2 AND outcome = 0", "ii", a->job,
        (int64_t) a->segment), 0, count);
}

// The last resort: a segment that cannot be composed fails its job.
static enum err fail_job(struct ledger *l, const struct ledger_attempt *a, enum outcome why, const char *detail,
                         int64_t now_ms)
{
    char reason[1024];
    snprintf(reason, sizeof(reason), "segment %u %s: %s", a->segment,
             why == OUTCOME_INPUT ? "cannot be composed" : is_trouble(why) ? "failed on every GPU it was tried on"
                                                                          : "was lost with every worker that tried it",
             detail && *detail ? detail : "no more is known");
    enum err e = sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE attempts SET outcome = ?3, ended_ms = ?4 WHERE job = ?1 AND segment = ?2 AND outcome = 0", "iiii",
        a->job, (int64_t) a->segment, (int64_t) OUTCOME_CANCELLED, now_ms));
    if (!e)
        e = set_segment(l, a->job, a->segment, SEGMENT_FAILED);
    return e ? e : move_job(l, a->job, JOB_FAILED, reason, now_ms);
}

static enum err end_live(struct ledger *l, const struct ledger_attempt *a, enum outcome why, const char *detail,
                         double gpu_s, int64_t now_ms)
{
    struct ledger_segment s;
    int64_t others;
    enum err e = find_segment(l, a->job, a->segment, &s);
    if (!e)
        e = end_attempt(l, a->id, why, detail, now_ms);
    if (!e)
        e = count_failure(l, a, why);
    if (!e)
        e = charge(l, a->job, gpu_s);
    if (!e)
        e = others_live(l, a, &others);
    if (e)
        return e;
    const enum segment_state to = after(&s, why);
    if (to == SEGMENT_FAILED)
        return fail_job(l, a, why, detail, now_ms);
    return others > 0 ? ERR_OK : set_segment(l, a->job, a->segment, to);
}

enum err ledger_end(struct ledger *l, int64_t attempt, enum outcome why, const char *detail, double gpu_s,
                    int64_t now_ms, struct ledger_ending *out)
{
    struct ledger_attempt a = { 0 };
    struct ledger_segment s;
    struct ledger_job j;
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    e = ledger_attempt(l, attempt, &a);
    if (!e && a.outcome == OUTCOME_LIVE)
        e = end_live(l, &a, why, detail, gpu_s, now_ms);
    if (!e)
        e = find_segment(l, a.job, a.segment, &s);
    if (!e)
        e = ledger_job(l, a.job, &j);
    if (!e)
        *out = (struct ledger_ending){ a.job, a.segment, s.state, j.state };
    return end(l, e, a.job);
}

enum err ledger_release(struct ledger *l, int64_t job, uint32_t segment)
{
    enum err e = sql_begin(&l->sql);
    if (!e)
        e = end(l, sql_run(&l->sql, sql_bind(&l->sql,
            "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2 AND state = ?4", "iiii", job,
            (int64_t) segment, (int64_t) SEGMENT_READY, (int64_t) SEGMENT_RETRY_WAIT)), job);
    return e;
}

// What is not DONE begins again: READY where the predecessor is DONE, else BLOCKED.
static enum err revive(struct ledger *l, int64_t job)
{
    enum err e = sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE segments SET state = ?2, troubles = 0, losses = 0 WHERE job = ?1 AND state <> ?3", "iii", job,
        (int64_t) SEGMENT_BLOCKED, (int64_t) SEGMENT_DONE));
    if (e)
        return e;
    return sql_run(&l->sql, sql_bind(&l->sql,
        "UPDATE segments SET state = ?2 WHERE job = ?1 AND state = ?3 AND (place = 0 OR EXISTS (SELECT 1 FROM "
        "segments p WHERE p.job = ?1 AND p.segment = segments.segment - 1 AND p.state = ?4))", "iiii", job,
        (int64_t) SEGMENT_READY, (int64_t) SEGMENT_BLOCKED, (int64_t) SEGMENT_DONE));
}

static enum err retry(struct ledger *l, int64_t job)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (e)
        return e;
    if (j.state == JOB_HELD)
        return set_state(l, job, JOB_ASSEMBLING, NULL, 0);
    if (j.state != JOB_FAILED && j.state != JOB_CANCELLED) {
        log_error("job %lld is %s: there is nothing to try again", (long long) job, job_state_name(j.state));
        return ERR_INPUT;
    }
    if (j.segments == 0)
        return set_state(l, job, JOB_SUBMITTED, NULL, 0);
    e = revive(l, job);
    return e ? e : set_state(l, job, j.done == j.segments ? JOB_ASSEMBLING : JOB_RUNNING, NULL, 0);
}

enum err ledger_retry(struct ledger *l, int64_t job)
{
    enum err e = sql_begin(&l->sql);
    return e ? e : end(l, retry(l, job), job);
}

// The copy of the pages, and then a file of its own: without a -wal beside it.
static enum err copy(struct ledger *l, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", l->sql.db, "main");
    if (b) {
        sqlite3_backup_step(b, -1);
        sqlite3_backup_finish(b);
    }
    return sqlite3_errcode(to) == SQLITE_OK &&
           sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : ERR_IO;
}

enum err ledger_backup(struct ledger *l, const char *path)
{
    sqlite3 *to = NULL;
    if (access(path, F_OK) == 0) {
        log_error("%s: exists", path);
        return ERR_CREATE;
    }
    char *temporary = file_temporary_name(path);
    enum err e = temporary ? ERR_OK : ERR_NOMEM;
    if (!e && sqlite3_open(temporary, &to) != SQLITE_OK)
        e = ERR_CREATE;
    if (!e)
        e = copy(l, to);
    if (e)
        log_error("%s: cannot write: %s", path, to ? sqlite3_errmsg(to) : "out of memory");
    sqlite3_close(to);
    if (!e)
        e = file_publish(temporary, path);
    else if (temporary)
        unlink(temporary);
    free(temporary);
    return e;
}
