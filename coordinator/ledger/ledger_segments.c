// The ledger's segments.
#include "coordinator/ledger/ledger_internal.h"

#include <stdio.h>

#include "common/base/log.h"

static enum err insert_segment(struct ledger *l, int64_t job, uint32_t segment,
                               const struct ledger_planned *p)
{
    return sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "INSERT INTO segments (job, segment, state, cue, place, audio_ms, remaining_ms) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            "iiiiiii", job, (int64_t) segment,
            (int64_t) (p->place ? SEGMENT_BLOCKED : SEGMENT_READY), (int64_t) p->cue,
            (int64_t) p->place, p->audio_ms, p->remaining_ms));
}

static enum err plan(struct ledger *l, int64_t job, int64_t duration_ms, uint32_t cues,
                     const struct ledger_planned *segments, uint32_t count)
{
    struct ledger_job j;
    enum err e = ledger_job(l, job, &j);
    if (!e && j.state != JOB_PROBING) {
        log_error("job %lld is %s and cannot be planned", (long long) job,
                  job_state_name(j.state));
        return ERR_INPUT;
    }
    for (uint32_t i = 0; !e && i < count; i++)
        e = insert_segment(l, job, i, &segments[i]);
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "UPDATE jobs SET state = ?2, duration_ms = ?3, cues = ?4, segments = ?5 WHERE id = ?1",
                "iiiii", job, (int64_t) JOB_PLANNED, duration_ms, (int64_t) cues,
                (int64_t) count));
    return e;
}

enum err ledger_plan(struct ledger *l, int64_t job, int64_t duration_ms, uint32_t cues,
                     const struct ledger_planned *segments, uint32_t count)
{
    enum err e = sql_begin(&l->sql);
    if (e)
        return e;
    return ledger_commit(l, plan(l, job, duration_ms, cues, segments, count), job);
}

#define SEGMENT_COLUMNS                                                             \
    "segment, cue, place, state, audio_ms, remaining_ms, fence, troubles, losses, " \
    "reopened, spoilt"

static struct ledger_segment take_segment(sqlite3_stmt *s)
{
    return (struct ledger_segment){
        .segment = sql_u32(s, 0),
        .cue = sql_u32(s, 1),
        .place = sql_u32(s, 2),
        .state = (enum segment_state) sqlite3_column_int(s, 3),
        .audio_ms = sqlite3_column_int64(s, 4),
        .remaining_ms = sqlite3_column_int64(s, 5),
        .fence = sqlite3_column_int64(s, 6),
        .troubles = sql_u32(s, 7),
        .losses = sql_u32(s, 8),
        .reopened = sqlite3_column_int64(s, 9),
        .spoilt = sql_u32(s, 10),
    };
}

// Rows that another program wrote may hold anything.
static enum err is_sound(struct ledger *l, int64_t job, const struct ledger_segment *s)
{
    if ((unsigned) s->state < SEGMENT_STATES && s->fence >= 0 && s->fence < INT64_MAX)
        return ERR_OK;
    log_error("%s: segment %u of job %lld has no state or no fence that there is", l->sql.path,
              s->segment, (long long) job);
    return ledger_unreadable(l->sql.path);
}

static enum err follows(struct ledger *l, int64_t job, const struct ledger_segment *s,
                        const struct ledger_segment *before, uint32_t index)
{
    const bool goes_on = index > 0 && s->cue == before->cue && s->place == before->place + 1;
    if (s->segment == index && (s->place == 0 || goes_on))
        return is_sound(l, job, s);
    log_error("%s: segment %u of job %lld does not follow the one before it", l->sql.path,
              s->segment, (long long) job);
    return ledger_unreadable(l->sql.path);
}

enum err ledger_each_segment(struct ledger *l, int64_t job,
                             enum err (*visit)(void *user, const struct ledger_segment *s),
                             void *user)
{
    sqlite3_stmt *s = sql_bind(
        &l->sql, "SELECT " SEGMENT_COLUMNS " FROM segments WHERE job = ?1 ORDER BY segment",
        "i", job);
    struct ledger_segment found, before = { 0 };
    uint32_t index = 0;
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        found = take_segment(s);
        e = follows(l, job, &found, &before, index++);
        if (!e)
            e = visit(user, &found);
        if (e)
            break;
        before = found;
    }
    if (s)
        sqlite3_reset(s);
    return e;
}

enum err ledger_find_segment(struct ledger *l, int64_t job, uint32_t segment,
                             struct ledger_segment *out)
{
    bool row;
    sqlite3_stmt *s = sql_bind(
        &l->sql, "SELECT " SEGMENT_COLUMNS " FROM segments WHERE job = ?1 AND segment = ?2",
        "ii", job, (int64_t) segment);
    const enum err e = sql_step(&l->sql, s, &row);
    if (!e && !row) {
        log_error("job %lld has no segment %u", (long long) job, segment);
        return ERR_INPUT;
    }
    if (e)
        return e;
    *out = take_segment(s);
    sqlite3_reset(s);
    return is_sound(l, job, out);
}

enum err ledger_set_segment(struct ledger *l, int64_t job, uint32_t segment,
                            enum segment_state to)
{
    return sql_run(&l->sql,
                   sql_bind(&l->sql,
                            "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2",
                            "iii", job, (int64_t) segment, (int64_t) to));
}

enum err ledger_release(struct ledger *l, int64_t job, uint32_t segment)
{
    enum err e = sql_begin(&l->sql);
    if (!e)
        e = ledger_commit(
            l,
            sql_run(
                &l->sql,
                sql_bind(
                    &l->sql,
                    "UPDATE segments SET state = ?3 WHERE job = ?1 AND segment = ?2 AND state = ?4",
                    "iiii", job, (int64_t) segment, (int64_t) SEGMENT_READY,
                    (int64_t) SEGMENT_RETRY_WAIT)),
            job);
    return e;
}

enum err ledger_unblock(struct ledger *l, int64_t job)
{
    return sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE segments SET state = ?2 WHERE job = ?1 AND state = ?3 AND (place = 0 OR EXISTS (SELECT 1 FROM "
            "segments p WHERE p.job = ?1 AND p.segment = segments.segment - 1 AND p.state = ?4))",
            "iiii", job, (int64_t) SEGMENT_READY, (int64_t) SEGMENT_BLOCKED,
            (int64_t) SEGMENT_DONE));
}

// Reopening

// What continues a segment had its end as its prompt, or is being composed with it.
static enum err reopen(struct ledger *l, int64_t job, const struct ledger_segment *s,
                       enum segment_state to, int64_t now_ms)
{
    enum err e = sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "UPDATE segments SET state = ?3, reopened = fence, spoilt = spoilt + 1, troubles = 0, losses = 0 "
            "WHERE job = ?1 AND segment = ?2",
            "iii", job, (int64_t) s->segment, (int64_t) to));
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "UPDATE attempts SET outcome = ?4, ended_ms = ?5 WHERE job = ?1 AND outcome = 0 AND segment IN "
                "(SELECT segment FROM segments WHERE job = ?1 AND segment > ?2 AND cue = ?3)",
                "iiiii", job, (int64_t) s->segment, (int64_t) s->cue,
                (int64_t) OUTCOME_CANCELLED, now_ms));
    if (e)
        return e;
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE segments SET state = ?4, reopened = fence, troubles = 0, losses = 0 "
                 "WHERE job = ?1 AND segment > ?2 AND cue = ?3 AND state <> ?4",
                 "iiii", job, (int64_t) s->segment, (int64_t) s->cue,
                 (int64_t) SEGMENT_BLOCKED));
}

// All of them: *count says how many were DONE, *failed which of those was damaged too often; -1: none.
static enum err reopen_all(struct ledger *l, int64_t job, const uint32_t *segments,
                           size_t given, size_t *count, int64_t *failed, int64_t now_ms)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < given; i++) {
        struct ledger_segment s;
        e = ledger_find_segment(l, job, segments[i], &s);
        if (e || s.state != SEGMENT_DONE)
            continue; // it continues one of those before
        const bool too_often = s.spoilt + 1 >= LEDGER_MOST_SPOILT;
        e = reopen(l, job, &s, too_often ? SEGMENT_FAILED : SEGMENT_BLOCKED, now_ms);
        *failed = too_often ? (int64_t) s.segment : *failed;
        ++*count;
    }
    return e;
}

static enum err reopen_job(struct ledger *l, int64_t job, const uint32_t *segments,
                           size_t given, int64_t now_ms)
{
    struct ledger_job j;
    size_t count = 0;
    int64_t failed = -1;
    char reason[128];
    enum err e = ledger_job(l, job, &j);
    if (!e && (j.state == JOB_ASSEMBLING || j.state == JOB_RUNNING || j.state == JOB_PAUSED))
        e = reopen_all(l, job, segments, given, &count, &failed, now_ms);
    if (!e && count == 0) {
        log_error("job %lld is %s: there is nothing to compose again", (long long) job,
                  job_state_name(j.state));
        e = ERR_INPUT;
    }
    if (!e)
        e = ledger_unblock(l, job);
    if (!e)
        e = sql_run(
            &l->sql,
            sql_bind(
                &l->sql,
                "UPDATE jobs SET done = (SELECT count(*) FROM segments WHERE job = ?1 AND state = ?2) WHERE id = ?1",
                "ii", job, (int64_t) SEGMENT_DONE));
    if (e)
        return e;
    snprintf(reason, sizeof(reason),
             "segment %lld: its finished part was damaged on the disk %d times",
             (long long) failed, LEDGER_MOST_SPOILT);
    if (failed >= 0)
        return ledger_change_state(l, job, JOB_FAILED, reason, now_ms);
    return j.state == JOB_ASSEMBLING ? ledger_set_state(l, job, JOB_RUNNING, NULL, 0) : ERR_OK;
}

enum err ledger_reopen(struct ledger *l, int64_t job, const uint32_t *segments, size_t count,
                       int64_t now_ms)
{
    enum err e = sql_begin(&l->sql);
    return e ? e : ledger_commit(l, reopen_job(l, job, segments, count, now_ms), job);
}
