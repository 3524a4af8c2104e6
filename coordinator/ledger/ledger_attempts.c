// The ledger's attempts: leases, and what comes of them.
#include "coordinator/ledger/ledger_internal.h"

#include <stdio.h>

#include "common/base/log.h"

#define ATTEMPT_COLUMNS "id, job, segment, fence, worker, outcome, leased_ms, ended_ms, detail"

static void take_attempt(sqlite3_stmt *s, struct ledger_attempt *out)
{
    *out = (struct ledger_attempt){
        .id = sqlite3_column_int64(s, 0),
        .job = sqlite3_column_int64(s, 1),
        .segment = sql_u32(s, 2),
        .fence = sqlite3_column_int64(s, 3),
        .outcome = (enum outcome) sqlite3_column_int(s, 5),
        .leased_ms = sqlite3_column_int64(s, 6),
        .ended_ms = sqlite3_column_int64(s, 7),
    };
    sql_text(s, 4, out->worker, sizeof(out->worker));
    sql_text(s, 8, out->detail, sizeof(out->detail));
}

// Rows that another program wrote may hold anything.
static enum err is_sound(struct ledger *l, const struct ledger_attempt *a)
{
    if (a->id > 0 && (unsigned) a->outcome < OUTCOMES)
        return ERR_OK;
    log_error("%s: attempt %lld has no number that there is, or no outcome", l->sql.path,
              (long long) a->id);
    return ledger_unreadable(l->sql.path);
}

enum err ledger_attempt(struct ledger *l, int64_t attempt, struct ledger_attempt *out)
{
    bool row;
    sqlite3_stmt *s = sql_bind(
        &l->sql, "SELECT " ATTEMPT_COLUMNS " FROM attempts WHERE id = ?1", "i", attempt);
    const enum err e = sql_step(&l->sql, s, &row);
    if (e || !row)
        return e ? e : ERR_MISSING;
    take_attempt(s, out);
    sqlite3_reset(s);
    return is_sound(l, out);
}

static enum err each_attempt(struct ledger *l, sqlite3_stmt *s,
                             enum err (*visit)(void *user, const struct ledger_attempt *a),
                             void *user)
{
    struct ledger_attempt a;
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        take_attempt(s, &a);
        e = is_sound(l, &a);
        if (!e)
            e = visit(user, &a);
        if (e)
            break;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

enum err ledger_each_live(struct ledger *l,
                          enum err (*visit)(void *user, const struct ledger_attempt *a),
                          void *user)
{
    return each_attempt(
        l,
        sql_statement(&l->sql, "SELECT " ATTEMPT_COLUMNS
                               " FROM attempts WHERE outcome = 0 ORDER BY job, segment, id"),
        visit, user);
}

enum err ledger_each_attempt(struct ledger *l, int64_t job, int64_t after, uint32_t most,
                             enum err (*visit)(void *user, const struct ledger_attempt *a),
                             void *user)
{
    return each_attempt(
        l,
        sql_bind(&l->sql,
                 "SELECT " ATTEMPT_COLUMNS
                 " FROM attempts WHERE job = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                 "iii", job, after, (int64_t) most),
        visit, user);
}

enum err ledger_each_failure(struct ledger *l, uint32_t most,
                             enum err (*visit)(void *user, const struct ledger_attempt *a),
                             void *user)
{
    return each_attempt(l,
                        sql_bind(&l->sql,
                                 "SELECT " ATTEMPT_COLUMNS
                                 " FROM attempts WHERE outcome > 3 ORDER BY id DESC LIMIT ?1",
                                 "i", (int64_t) most),
                        visit, user);
}
_Static_assert(OUTCOME_CANCELLED == 3, "what follows it is a failure");

static enum err lease_one(struct ledger *l, struct ledger_lease *lease, int64_t now_ms)
{
    struct ledger_segment s;
    struct ledger_job j;
    enum err e = ledger_find_segment(l, lease->job, lease->segment, &s);
    if (!e)
        e = ledger_job(l, lease->job, &j);
    if (e)
        return e;
    if ((s.state != SEGMENT_READY && s.state != SEGMENT_LEASED) ||
        (j.state != JOB_PLANNED && j.state != JOB_RUNNING)) {
        log_error("segment %u of job %lld is %s, the job %s: it cannot be leased",
                  lease->segment, (long long) lease->job, segment_state_name(s.state),
                  job_state_name(j.state));
        return ERR_INPUT;
    }
    lease->fence = s.fence + 1;
    e = sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE segments SET state = ?3, fence = ?4 WHERE job = ?1 AND segment = ?2",
                 "iiii", lease->job, (int64_t) lease->segment, (int64_t) SEGMENT_LEASED,
                 lease->fence));
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "INSERT INTO attempts (job, segment, fence, worker, leased_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                "iiisi", lease->job, (int64_t) lease->segment, lease->fence, lease->worker,
                now_ms));
    lease->attempt = sqlite3_last_insert_rowid(l->sql.db);
    if (!e && j.state == JOB_PLANNED)
        e = ledger_set_state(l, lease->job, JOB_RUNNING, NULL, now_ms);
    return e;
}

enum err ledger_lease(struct ledger *l, struct ledger_lease *leases, size_t count,
                      int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    for (size_t i = 0; !e && i < count; i++)
        e = lease_one(l, &leases[i], now_ms);
    return ledger_commit(l, e, count == 1 ? leases[0].job : 0);
}

static enum verdict judge(const struct ledger_attempt *a, int64_t fence, enum segment_state s)
{
    if (a->fence != fence)
        return VERDICT_STALE;
    if (a->outcome == OUTCOME_ACCEPTED ||
        (a->outcome == OUTCOME_SUPERSEDED && s == SEGMENT_DONE))
        return VERDICT_DUP;
    return a->outcome == OUTCOME_LIVE ? VERDICT_ACCEPTED : VERDICT_STALE;
}

static enum err find_and_judge(struct ledger *l, int64_t attempt, int64_t fence,
                               struct ledger_attempt *a, struct ledger_segment *s,
                               enum verdict *out)
{
    *out = VERDICT_STALE;
    enum err e = ledger_attempt(l, attempt, a);
    if (e == ERR_MISSING)
        return ERR_OK; // it was never leased here
    if (!e)
        e = ledger_find_segment(l, a->job, a->segment, s);
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

static enum err end_attempt(struct ledger *l, int64_t attempt, enum outcome why,
                            const char *detail, int64_t now_ms)
{
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE attempts SET outcome = ?2, ended_ms = ?3, detail = ?4 WHERE id = ?1",
                 "iiis", attempt, (int64_t) why, now_ms, detail ? detail : ""));
}

static enum err charge(struct ledger *l, int64_t job, double gpu_s)
{
    return sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE owners SET used_s = used_s + ?2 WHERE name = (SELECT owner FROM jobs WHERE id = ?1)",
            "id", job, gpu_s));
}

// What one result changes: five rows, in one transaction.
static enum err accept(struct ledger *l, const struct ledger_attempt *a, double gpu_s,
                       int64_t now_ms)
{
    enum err e = end_attempt(l, a->id, OUTCOME_ACCEPTED, NULL, now_ms);
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "UPDATE attempts SET outcome = ?3, ended_ms = ?4 WHERE job = ?1 AND segment = ?2 AND outcome = 0",
                "iiii", a->job, (int64_t) a->segment, (int64_t) OUTCOME_SUPERSEDED, now_ms));
    if (!e)
        e = ledger_set_segment(l, a->job, a->segment, SEGMENT_DONE);
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2 + 1 AND place > 0 AND state = ?4",
                "iiii", a->job, (int64_t) a->segment, (int64_t) SEGMENT_READY,
                (int64_t) SEGMENT_BLOCKED));
    if (!e)
        e = sql_run(&l->sql, sql_bind(&l->sql, "UPDATE jobs SET done = done + 1 WHERE id = ?1",
                                      "i", a->job));
    return e ? e : charge(l, a->job, gpu_s);
}

enum err ledger_accept_all(struct ledger *l, struct ledger_result *results, size_t count,
                           int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    for (size_t i = 0; !e && i < count; i++) {
        struct ledger_attempt a = { 0 };
        struct ledger_segment s;
        struct ledger_result *r = &results[i];
        e = find_and_judge(l, r->attempt, r->fence, &a, &s, &r->verdict);
        if (!e && r->verdict == VERDICT_ACCEPTED)
            e = accept(l, &a, r->gpu_s, now_ms);
        r->job = a.job;
        r->segment = a.segment;
    }
    return ledger_commit(l, e, count == 1 ? results[0].job : 0);
}

enum err ledger_accept(struct ledger *l, int64_t attempt, int64_t fence, double gpu_s,
                       int64_t now_ms, enum verdict *out)
{
    struct ledger_result r = { .attempt = attempt, .fence = fence, .gpu_s = gpu_s };
    const enum err e = ledger_accept_all(l, &r, 1, now_ms);
    *out = r.verdict;
    return e;
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

static enum err count_failure(struct ledger *l, const struct ledger_attempt *a,
                              enum outcome why)
{
    return sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE segments SET troubles = troubles + ?3, losses = losses + ?4 WHERE job = ?1 AND segment = ?2",
            "iiii", a->job, (int64_t) a->segment, (int64_t) is_trouble(why),
            (int64_t) (why == OUTCOME_LOST || why == OUTCOME_SHUTDOWN)));
}

static enum err others_live(struct ledger *l, const struct ledger_attempt *a, int64_t *count)
{
    return sql_number(
        &l->sql,
        sql_bind(
            &l->sql,
            "SELECT count(*) FROM attempts WHERE job = ?1 AND segment = ?2 AND outcome = 0",
            "ii", a->job, (int64_t) a->segment),
        0, count);
}

// The last resort: a segment that cannot be composed fails its job.
static enum err fail_job(struct ledger *l, const struct ledger_attempt *a, enum outcome why,
                         const char *detail, int64_t now_ms)
{
    char reason[1024];
    snprintf(reason, sizeof(reason), "segment %u %s: %s", a->segment,
             why == OUTCOME_INPUT ? "cannot be composed"
             : is_trouble(why)    ? "failed on every GPU it was tried on"
                                  : "was lost with every worker that tried it",
             detail && *detail ? detail : "no more is known");
    enum err e = sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE attempts SET outcome = ?3, ended_ms = ?4 WHERE job = ?1 AND segment = ?2 AND outcome = 0",
            "iiii", a->job, (int64_t) a->segment, (int64_t) OUTCOME_CANCELLED, now_ms));
    if (!e)
        e = ledger_set_segment(l, a->job, a->segment, SEGMENT_FAILED);
    return e ? e : ledger_change_state(l, a->job, JOB_FAILED, reason, now_ms);
}

static enum err end_live(struct ledger *l, const struct ledger_attempt *a, enum outcome why,
                         const char *detail, double gpu_s, int64_t now_ms)
{
    struct ledger_segment s;
    int64_t others;
    enum err e = ledger_find_segment(l, a->job, a->segment, &s);
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
    return others > 0 ? ERR_OK : ledger_set_segment(l, a->job, a->segment, to);
}

enum err ledger_end(struct ledger *l, int64_t attempt, enum outcome why, const char *detail,
                    double gpu_s, int64_t now_ms, struct ledger_ending *out)
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
        e = ledger_find_segment(l, a.job, a.segment, &s);
    if (!e)
        e = ledger_job(l, a.job, &j);
    if (!e)
        *out = (struct ledger_ending){ a.job, a.segment, s.state, j.state };
    return ledger_commit(l, e, a.job);
}
