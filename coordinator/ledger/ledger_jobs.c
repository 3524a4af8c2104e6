// The ledger's jobs: submitted, moved through their states, tried again, forgotten.
#include "coordinator/ledger/ledger_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

enum err ledger_count_jobs(struct ledger *l, uint64_t counts[JOB_STATES])
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT state, count(*) FROM jobs GROUP BY state");
    bool row;
    enum err e;
    memset(counts, 0, JOB_STATES * sizeof(*counts));
    while (!(e = sql_step(&l->sql, s, &row)) && row)
        if (sql_u32(s, 0) < JOB_STATES)
            counts[sql_u32(s, 0)] = (uint64_t) sqlite3_column_int64(s, 1);
    return e;
}

static enum err old_jobs(struct ledger *l, int64_t before_ms, int64_t *ids, size_t room,
                         size_t *count)
{
    sqlite3_stmt *s = sql_bind(
        &l->sql,
        "SELECT id FROM jobs WHERE state IN (?1, ?2, ?3) AND ended_ms < ?4 ORDER BY id LIMIT ?5",
        "iiiii", (int64_t) JOB_DONE, (int64_t) JOB_FAILED, (int64_t) JOB_CANCELLED, before_ms,
        (int64_t) room);
    bool row;
    enum err e;
    *count = 0;
    while (!(e = sql_step(&l->sql, s, &row)) && row)
        ids[(*count)++] = sqlite3_column_int64(s, 0);
    return e;
}

static enum err forget(struct ledger *l, int64_t job)
{
    enum err e =
        sql_run(&l->sql, sql_bind(&l->sql, "DELETE FROM attempts WHERE job = ?1", "i", job));
    if (!e)
        e = sql_run(&l->sql,
                    sql_bind(&l->sql, "DELETE FROM segments WHERE job = ?1", "i", job));
    return e ? e
             : sql_run(&l->sql, sql_bind(&l->sql, "DELETE FROM jobs WHERE id = ?1", "i", job));
}

enum err ledger_prune(struct ledger *l, int64_t before_ms, int64_t *ids, size_t room,
                      size_t *count)
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
    return sql_number(
        &l->sql,
        sql_bind(
            &l->sql,
            "SELECT id FROM jobs WHERE identity = ?1 AND state NOT IN (?2, ?3) ORDER BY id DESC LIMIT 1",
            "sii", identity, (int64_t) JOB_FAILED, (int64_t) JOB_CANCELLED),
        0, job);
}

enum err ledger_writes(struct ledger *l, const char *output, int64_t *job)
{
    return sql_number(
        &l->sql,
        sql_bind(&l->sql,
                 "SELECT id FROM jobs WHERE output = ?1 AND state NOT IN (?2, ?3, ?4) LIMIT 1",
                 "siii", output, (int64_t) JOB_DONE, (int64_t) JOB_FAILED,
                 (int64_t) JOB_CANCELLED),
        0, job);
}

enum err ledger_had(struct ledger *l, const char *film, const char *output, const char *ending,
                    bool *had)
{
    int64_t n;
    const enum err e = sql_number(
        &l->sql,
        sql_bind(
            &l->sql,
            "SELECT count(*) FROM jobs WHERE film = ?1 AND output = ?2 AND substr(identity, -length(?3)) = ?3",
            "sss", film, output, ending),
        0, &n);
    *had = !e && n > 0;
    return e;
}

static enum err insert_job(struct ledger *l, const struct ledger_submission *s, int64_t now_ms,
                           int64_t *job)
{
    enum err e =
        sql_run(&l->sql, sql_bind(&l->sql, "INSERT OR IGNORE INTO owners (name) VALUES (?1)",
                                  "s", s->owner));
    sqlite3_stmt *insert = sql_bind(
        &l->sql,
        "INSERT INTO jobs (state, film, output, owner, priority, identity, model, submitted_ms, request) "
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        "isssissi", (int64_t) JOB_SUBMITTED, s->film, s->output, s->owner, s->priority,
        s->identity, s->model, now_ms);
    if (!e && insert &&
        sqlite3_bind_blob64(insert, 9, s->request, s->request_bytes, SQLITE_TRANSIENT) !=
            SQLITE_OK)
        e = ERR_NOMEM;
    if (!e)
        e = sql_run(&l->sql, insert);
    *job = sqlite3_last_insert_rowid(l->sql.db);
    return e;
}

enum err ledger_submit(struct ledger *l, const struct ledger_submission *s, int64_t now_ms,
                       int64_t *job, bool *existed)
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
    return ledger_commit(l, e, *job);
}

#define JOB_COLUMNS                                                                        \
    "id, state, film, output, owner, model, priority, duration_ms, cues, segments, done, " \
    "submitted_ms, ended_ms, reason"

// Field by field: to clear it first would take longer than all else.
static void take_job(sqlite3_stmt *s, struct ledger_job *out)
{
    out->id = sqlite3_column_int64(s, 0);
    out->state = (enum job_state) sqlite3_column_int(s, 1);
    out->priority = sqlite3_column_int64(s, 6);
    out->duration_ms = sqlite3_column_int64(s, 7);
    out->cues = sql_u32(s, 8);
    out->segments = sql_u32(s, 9);
    out->done = sql_u32(s, 10);
    out->submitted_ms = sqlite3_column_int64(s, 11);
    out->ended_ms = sqlite3_column_int64(s, 12);
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
    return ledger_unreadable(l->sql.path);
}

enum err ledger_job(struct ledger *l, int64_t job, struct ledger_job *out)
{
    bool row;
    sqlite3_stmt *s =
        sql_bind(&l->sql, "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?1", "i", job);
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
                         enum err (*visit)(void *user, const struct ledger_job *job),
                         void *user)
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
                         enum err (*visit)(void *user, const struct ledger_job *job),
                         void *user)
{
    return each_job(
        l,
        sql_bind(&l->sql,
                 "SELECT " JOB_COLUMNS
                 " FROM jobs WHERE id > ?1 AND (?3 = 0 OR state < ?4) ORDER BY id LIMIT ?2",
                 "iiii", after, (int64_t) most, (int64_t) open, (int64_t) JOB_DONE),
        visit, user);
}

enum err ledger_each_last(struct ledger *l, uint32_t most, bool open,
                          enum err (*visit)(void *user, const struct ledger_job *job),
                          void *user)
{
    return each_job(l,
                    sql_bind(&l->sql,
                             "SELECT " JOB_COLUMNS
                             " FROM jobs WHERE ?2 = 0 OR +state < ?3 ORDER BY id DESC LIMIT ?1",
                             "iii", (int64_t) most, (int64_t) open, (int64_t) JOB_DONE),
                    visit, user);
}

// By the index of states: however many are over.
enum err ledger_each_open(struct ledger *l, uint32_t most,
                          enum err (*visit)(void *user, const struct ledger_job *job),
                          void *user)
{
    return each_job(
        l,
        sql_bind(
            &l->sql,
            "SELECT " JOB_COLUMNS
            " FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state < ?1 ORDER BY id LIMIT ?2) "
            "ORDER BY id",
            "ii", (int64_t) JOB_DONE, (int64_t) most),
        visit, user);
}

// The plus keeps SQLite from sorting all that is over: the last few lie at the end.
enum err ledger_each_over(struct ledger *l, uint32_t most,
                          enum err (*visit)(void *user, const struct ledger_job *job),
                          void *user)
{
    return each_job(l,
                    sql_bind(&l->sql,
                             "SELECT " JOB_COLUMNS
                             " FROM jobs WHERE +state >= ?1 ORDER BY id DESC LIMIT ?2",
                             "ii", (int64_t) JOB_DONE, (int64_t) most),
                    visit, user);
}
_Static_assert(JOB_HELD < JOB_DONE && JOB_DONE < JOB_FAILED && JOB_FAILED < JOB_CANCELLED,
               "what is over comes last");

enum err ledger_last_job(struct ledger *l, int64_t *job)
{
    return sql_number(
        &l->sql, sql_statement(&l->sql, "SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"),
        0, job);
}

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
        [JOB_RUNNING] = { [JOB_PAUSED] = true,
                          [JOB_ASSEMBLING] = true,
                          [JOB_FAILED] = true,
                          [JOB_CANCELLED] = true },
        [JOB_PAUSED] = { [JOB_RUNNING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
        [JOB_ASSEMBLING] = { [JOB_DONE] = true,
                             [JOB_HELD] = true,
                             [JOB_FAILED] = true,
                             [JOB_CANCELLED] = true },
        [JOB_HELD] = { [JOB_ASSEMBLING] = true, [JOB_FAILED] = true, [JOB_CANCELLED] = true },
    };
    return may[from][to];
}

enum err ledger_set_state(struct ledger *l, int64_t job, enum job_state to, const char *reason,
                          int64_t now_ms)
{
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE jobs SET state = ?2, reason = ?3, ended_ms = ?4 WHERE id = ?1", "iisi",
                 job, (int64_t) to, reason ? reason : "",
                 job_state_is_over(to) ? now_ms : (int64_t) 0));
}

// A job is over: nothing of it goes on.
static enum err wind_up(struct ledger *l, int64_t job, int64_t now_ms)
{
    const enum err e = sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE attempts SET outcome = ?2, ended_ms = ?3 WHERE job = ?1 AND outcome = 0",
            "iii", job, (int64_t) OUTCOME_CANCELLED, now_ms));
    if (e)
        return e;
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE segments SET state = ?2 WHERE job = ?1 AND state NOT IN (?3, ?4)",
                 "iiii", job, (int64_t) SEGMENT_CANCELLED, (int64_t) SEGMENT_DONE,
                 (int64_t) SEGMENT_FAILED));
}

enum err ledger_change_state(struct ledger *l, int64_t job, enum job_state to,
                             const char *reason, int64_t now_ms)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (e)
        return e;
    if (!may_move(j.state, to) || (to == JOB_ASSEMBLING && j.done != j.segments)) {
        log_error("job %lld is %s and cannot become %s", (long long) job,
                  job_state_name(j.state), job_state_name(to));
        return ERR_INPUT;
    }
    if (to == JOB_FAILED || to == JOB_CANCELLED)
        e = wind_up(l, job, now_ms);
    return e ? e : ledger_set_state(l, job, to, reason, now_ms);
}

enum err ledger_move_job(struct ledger *l, int64_t job, enum job_state to, const char *reason,
                         int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    return ledger_commit(l, ledger_change_state(l, job, to, reason, now_ms), job);
}

enum err ledger_choose_model(struct ledger *l, int64_t job, const char *sha256)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET model = ?2 WHERE id = ?1", "is",
                                     job, sha256));
}

enum err ledger_prioritise(struct ledger *l, int64_t job, int64_t priority)
{
    return sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET priority = ?2 WHERE id = ?1",
                                     "ii", job, priority));
}

// What is not DONE begins again: READY where the predecessor is DONE, else BLOCKED.
static enum err revive(struct ledger *l, int64_t job)
{
    const enum err e = sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE segments SET state = ?2, troubles = 0, losses = 0, spoilt = 0 WHERE job = ?1 AND state <> ?3",
            "iii", job, (int64_t) SEGMENT_BLOCKED, (int64_t) SEGMENT_DONE));
    return e ? e : ledger_unblock(l, job);
}

static enum err retry(struct ledger *l, int64_t job)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (e)
        return e;
    if (j.state == JOB_HELD)
        return ledger_set_state(l, job, JOB_ASSEMBLING, NULL, 0);
    if (j.state != JOB_FAILED && j.state != JOB_CANCELLED) {
        log_error("job %lld is %s: there is nothing to try again", (long long) job,
                  job_state_name(j.state));
        return ERR_INPUT;
    }
    if (j.segments == 0)
        return ledger_set_state(l, job, JOB_SUBMITTED, NULL, 0);
    e = revive(l, job);
    return e ? e
             : ledger_set_state(l, job, j.done == j.segments ? JOB_ASSEMBLING : JOB_RUNNING,
                                NULL, 0);
}

enum err ledger_retry(struct ledger *l, int64_t job)
{
    enum err e = sql_begin(&l->sql);
    return e ? e : ledger_commit(l, retry(l, job), job);
}
