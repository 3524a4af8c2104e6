// Jobs. Every arrow is ledger_move_job() unless it says otherwise.
//
//   SUBMITTED ──► PROBING ──ledger_plan──► PLANNED ──ledger_lease──► RUNNING ◄──► PAUSED
//       ▲            │                        │                         │
//       └─(restart)──┘                        └──────────┬──────────────┘
//                                                        ▼
//              RUNNING ◄────────ledger_reopen──────── ASSEMBLING ──► DONE
//                                                      │      ▲
//                                                      └►HELD─┘ ledger_retry
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
//                             │
//                             └──ledger_reopen: its part was damaged──► READY | BLOCKED, too often: FAILED
//
// What continues a segment that is reopened becomes BLOCKED, whatever it was: its prompt is gone.
// A segment that is being delivered or looked at is LEASED here: after a restart its
// worker delivers again.
//
// Invariants. ledger_check() tests all of them, and debug builds do after every change.
//
//   1. A segment is DONE exactly if one attempt at it, and only one, was accepted since it was
//      reopened: with a fence above `reopened`.
//   2. A segment is LEASED exactly if an attempt at it is live.
//   3. A segment's fence is the highest of its attempts', and no two of those are equal.
//   4. A segment is BLOCKED only if its predecessor in the cue is not DONE; one that is
//      READY, LEASED, RETRY_WAIT or DONE has none, or a DONE one.
//   5. job.done counts the job's DONE segments, job.segments all of them.
//   6. Attempts are live only in jobs that are RUNNING or PAUSED.
//   7. In an ASSEMBLING, HELD or DONE job every segment is DONE.
//   8. Attempts never change once they have ended; DONE segments are only ever reopened, and
//      then what was accepted before does not count.
//
// 8 is held by triggers, not by care: see harden().
#include "coordinator/ledger/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "coordinator/ledger/ledger_internal.h"
#include "schema.h"

#define VERSION 4

const char *job_state_name(enum job_state s)
{
    static const char *const names[JOB_STATES] = {
        [JOB_SUBMITTED] = "SUBMITTED", [JOB_PROBING] = "PROBING",
        [JOB_PLANNED] = "PLANNED",     [JOB_RUNNING] = "RUNNING",
        [JOB_PAUSED] = "PAUSED",       [JOB_ASSEMBLING] = "ASSEMBLING",
        [JOB_HELD] = "HELD",           [JOB_DONE] = "DONE",
        [JOB_FAILED] = "FAILED",       [JOB_CANCELLED] = "CANCELLED",
    };
    return names[s];
}

const char *segment_state_name(enum segment_state s)
{
    static const char *const names[SEGMENT_STATES] = {
        [SEGMENT_BLOCKED] = "BLOCKED",     [SEGMENT_READY] = "READY",
        [SEGMENT_LEASED] = "LEASED",       [SEGMENT_RETRY_WAIT] = "RETRY_WAIT",
        [SEGMENT_DONE] = "DONE",           [SEGMENT_FAILED] = "FAILED",
        [SEGMENT_CANCELLED] = "CANCELLED",
    };
    return names[s];
}

const char *outcome_name(enum outcome o)
{
    static const char *const names[OUTCOMES] = {
        [OUTCOME_LIVE] = "live",
        [OUTCOME_ACCEPTED] = "accepted",
        [OUTCOME_SUPERSEDED] = "superseded",
        [OUTCOME_CANCELLED] = "cancelled",
        [OUTCOME_INPUT] = "input",
        [OUTCOME_OOM] = "oom",
        [OUTCOME_DEVICE_LOST] = "device_lost",
        [OUTCOME_LOST] = "lost",
        [OUTCOME_SHUTDOWN] = "shutdown",
    };
    return (unsigned) o < OUTCOMES ? names[o] : "unknown";
}

bool job_state_is_over(enum job_state s)
{
    return s == JOB_DONE || s == JOB_FAILED || s == JOB_CANCELLED;
}

// Opening

enum err ledger_unreadable(const char *path)
{
    log_error(
        "%s: the ledger is damaged; put back a copy that `underscore db backup` made, or move it and its "
        "-wal file away to begin an empty one (finished films are not touched)",
        path);
    return ERR_CONFIG;
}

// EXCLUSIVE must come before WAL: then the index of the WAL lives in this process's
// memory, and a second coordinator is refused by the lock.
static enum err take(struct ledger *l)
{
    enum err e =
        sql_script(&l->sql, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
                            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                            "PRAGMA trusted_schema = OFF; PRAGMA wal_autocheckpoint = 1000;"
                            "BEGIN IMMEDIATE; COMMIT;");
    if (e == ERR_CONFIG)
        return ledger_unreadable(l->sql.path);
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
    return ledger_unreadable(l->sql.path);
}

// The sections of schema.sql above the version that the file has.
static enum err migrate(struct ledger *l)
{
    int64_t version;
    enum err e =
        sql_number(&l->sql, sql_statement(&l->sql, "PRAGMA user_version"), 0, &version);
    if (e)
        return e == ERR_CONFIG ? ledger_unreadable(l->sql.path) : e;
    if (version > VERSION) {
        log_error(
            "%s: written by a later version of underscored (ledger version %lld, this one knows %d)",
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
    return sql_script(
        &l->sql,
        "CREATE TEMP TRIGGER attempts_end_once BEFORE UPDATE ON main.attempts WHEN old.outcome <> 0 "
        "BEGIN SELECT RAISE(ABORT, 'an attempt that has ended was to be changed'); END;"
        "CREATE TEMP TRIGGER done_is_final BEFORE UPDATE ON main.segments WHEN old.state = 4 "
        "AND (new.state = 4 OR old.reopened >= old.fence OR new.reopened <> old.fence OR new.fence <> old.fence) "
        "BEGIN SELECT RAISE(ABORT, 'a segment that is done was to be changed'); END;");
}
_Static_assert(SEGMENT_DONE == 4 && OUTCOME_LIVE == 0,
               "harden() and schema.sql have them as numbers");

static enum err count_epoch(struct ledger *l)
{
    enum err e = sql_run(
        &l->sql,
        sql_statement(&l->sql, "UPDATE meta SET value = value + 1 WHERE key = 'epoch'"));
    if (!e)
        e = sql_number(&l->sql,
                       sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'epoch'"), 0,
                       &l->epoch);
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
    const char *query; // counts what breaks it, in the jobs from ?1 to ?2
} invariants[] = {
    { 1,
      "SELECT count(*) FROM segments s WHERE s.job BETWEEN ?1 AND ?2 AND (s.state = 4) <> "
      "((SELECT count(*) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 1 "
      "AND a.fence > s.reopened) = 1)" },
    { 2,
      "SELECT count(*) FROM segments s WHERE s.job BETWEEN ?1 AND ?2 AND (s.state = 2) <> "
      "EXISTS (SELECT 1 FROM attempts a WHERE a.job = s.job AND a.segment = s.segment AND a.outcome = 0)" },
    { 3,
      "SELECT count(*) FROM segments s WHERE s.job BETWEEN ?1 AND ?2 AND (s.fence <> "
      "(SELECT ifnull(max(fence), 0) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment) OR "
      "(SELECT count(*) <> count(DISTINCT fence) FROM attempts a WHERE a.job = s.job AND a.segment = s.segment))" },
    { 4,
      "SELECT count(*) FROM segments s LEFT JOIN segments p ON p.job = s.job AND p.segment = s.segment - 1 "
      "AND s.place > 0 WHERE s.job BETWEEN ?1 AND ?2 AND ((s.state = 0 AND ifnull(p.state, 4) = 4) OR "
      "(s.state BETWEEN 1 AND 4 AND ifnull(p.state, 4) <> 4))" },
    { 5, "SELECT count(*) FROM jobs j WHERE j.id BETWEEN ?1 AND ?2 AND "
         "(j.segments <> (SELECT count(*) FROM segments s WHERE s.job = j.id) OR "
         "j.done <> (SELECT count(*) FROM segments s WHERE s.job = j.id AND s.state = 4))" },
    { 6,
      "SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job WHERE j.id BETWEEN ?1 AND ?2 AND "
      "a.outcome = 0 AND j.state NOT IN (3, 4)" },
    { 7,
      "SELECT count(*) FROM jobs j WHERE j.id BETWEEN ?1 AND ?2 AND j.state IN (5, 6, 7) AND j.done <> j.segments" },
};
_Static_assert(SEGMENT_BLOCKED == 0 && SEGMENT_READY == 1 && SEGMENT_LEASED == 2 &&
                   OUTCOME_ACCEPTED == 1 && JOB_RUNNING == 3 && JOB_PAUSED == 4 &&
                   JOB_ASSEMBLING == 5 && JOB_HELD == 6 && JOB_DONE == 7,
               "the invariants have them as numbers");

enum err ledger_check_rules(struct ledger *l, int64_t job)
{
    for (size_t i = 0; i < sizeof(invariants) / sizeof(invariants[0]); i++) {
        int64_t broken;
        const enum err e = sql_number(
            &l->sql, sql_bind(&l->sql, invariants[i].query, "ii", job, job ? job : INT64_MAX),
            0, &broken);
        if (e)
            return e;
        if (broken) {
            log_error("%s: invariant %d of ledger.c does not hold (%lld times, job %lld)",
                      l->sql.path, invariants[i].number, (long long) broken, (long long) job);
            return ERR_BUG;
        }
    }
    return ERR_OK;
}

bool ledger_is_gone(struct ledger *l)
{
    int moved = 0;
    if (sqlite3_file_control(l->sql.db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) != SQLITE_OK ||
        !moved)
        return false;
    log_error(
        "%s: it was moved or removed while it is in use, and what is in it goes when this coordinator ends: "
        "make a copy with `underscore db backup`, stop the coordinator and put that there",
        l->sql.path);
    return true;
}

enum err ledger_check(struct ledger *l)
{
    const enum err e = ledger_is_gone(l) ? ERR_CONFIG : check_pages(l);
    return e ? e : ledger_check_rules(l, 0);
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
        log_error("%s: no ledger of a version that this underscored knows (1 to %d)", path,
                  VERSION);
        e = ERR_CONFIG;
    }
    if (!e && version < 3) // nothing was ever reopened there
        e = sql_script(
            &l.sql,
            "CREATE TEMP VIEW segments AS SELECT *, 0 AS reopened, 0 AS spoilt FROM main.segments");
    if (e == ERR_UNAVAILABLE)
        log_error("%s: a coordinator has it open; ask that with `underscore db check`", path);
    if (!e)
        e = ledger_check(&l);
    sql_close(&l.sql);
    return e;
}

enum err ledger_commit(struct ledger *l, enum err e, int64_t job)
{
#ifndef NDEBUG
    if (!e)
        e = ledger_check_rules(l, job);
#else
    (void) job;
#endif
    return sql_end(&l->sql, e);
}

// Copies

// The copy of the pages, and then a file of its own: without a -wal beside it.
static enum err copy(struct ledger *l, sqlite3 *to)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", l->sql.db, "main");
    if (b) {
        sqlite3_backup_step(b, -1);
        sqlite3_backup_finish(b);
    }
    return sqlite3_errcode(to) == SQLITE_OK && sqlite3_exec(to, "PRAGMA journal_mode = DELETE",
                                                            NULL, NULL, NULL) == SQLITE_OK
               ? ERR_OK
               : ERR_IO;
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
