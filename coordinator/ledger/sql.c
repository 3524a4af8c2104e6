#include "coordinator/ledger/sql.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"

static enum err failed(struct sql *s)
{
    const int code = sqlite3_errcode(s->db) & 0xff;
    log_error("%s: %s", s->path, sqlite3_errmsg(s->db));
    switch (code) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return ERR_UNAVAILABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ERR_CONFIG;
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return ERR_CREATE;
    case SQLITE_NOMEM: return ERR_NOMEM;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISUSE:
    case SQLITE_ERROR: return ERR_BUG;
    default: return ERR_IO;
    }
}

static enum err open_with(struct sql *s, const char *path, const char *uri, int flags)
{
    *s = (struct sql){ .path = strdup(path) };
    if (!s->path)
        return ERR_NOMEM;
    if (sqlite3_open_v2(uri, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_extended_result_codes(s->db, 1);
        return ERR_OK;
    }
    log_error("%s: cannot open: %s", path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
    sql_close(s);
    return ERR_CREATE;
}

enum err sql_open(struct sql *s, const char *path)
{
    return open_with(s, path, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
}

// A file whose -wal is there is in use, or was when its program was killed: it is opened as
// that program would, which shows whether it is there still. Any other is whole in itself.
enum err sql_open_to_read(struct sql *s, const char *path)
{
    char *wal = NULL, *uri = sqlite3_malloc64(3 * strlen(path) + 32);
    if (!uri || asprintf(&wal, "%s-wal", path) < 0) {
        sqlite3_free(uri);
        return ERR_NOMEM;
    }
    enum err e;
    if (access(wal, F_OK) == 0) {
        e = open_with(s, path, path, SQLITE_OPEN_READWRITE);
        if (!e)
            e = sql_script(s, "PRAGMA locking_mode = EXCLUSIVE");
    } else {
        char *to = stpcpy(uri, "file:");
        for (const char *p = path; *p; p++)
            to += snprintf(to, 4, strchr("%?#", *p) ? "%%%02x" : "%c", (unsigned char) *p);
        memcpy(to, "?immutable=1", sizeof("?immutable=1"));
        e = open_with(s, path, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    }
    free(wal);
    sqlite3_free(uri);
    return e;
}

void sql_close(struct sql *s)
{
    for (uint32_t i = 0; i < s->kept_count; i++)
        sqlite3_finalize(s->kept[i].statement);
    sqlite3_close(s->db);
    free(s->path);
    *s = (struct sql){ 0 };
}

enum err sql_script(struct sql *s, const char *text)
{
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? ERR_OK : failed(s);
}

sqlite3_stmt *sql_statement(struct sql *s, const char *text)
{
    for (uint32_t i = 0; i < s->kept_count; i++)
        if (s->kept[i].text == text) {
            sqlite3_reset(s->kept[i].statement);
            sqlite3_clear_bindings(s->kept[i].statement);
            return s->kept[i].statement;
        }
    if (s->kept_count == SQL_KEPT) {
        log_error("%s: SQL_KEPT is too small", s->path);
        return NULL;
    }
    sqlite3_stmt *made = NULL;
    if (sqlite3_prepare_v3(s->db, text, -1, SQLITE_PREPARE_PERSISTENT, &made, NULL) !=
        SQLITE_OK) {
        log_error("%s: %s: %s", s->path, sqlite3_errmsg(s->db), text);
        return NULL;
    }
    s->kept[s->kept_count].text = text;
    s->kept[s->kept_count++].statement = made;
    return made;
}

sqlite3_stmt *sql_bind(struct sql *s, const char *text, const char *types, ...)
{
    sqlite3_stmt *statement = sql_statement(s, text);
    if (!statement)
        return NULL;
    va_list values;
    va_start(values, types);
    int failures = 0;
    for (int i = 0; types[i]; i++)
        switch (types[i]) {
        case 'i':
            failures +=
                sqlite3_bind_int64(statement, i + 1, va_arg(values, int64_t)) != SQLITE_OK;
            break;
        case 'd':
            failures +=
                sqlite3_bind_double(statement, i + 1, va_arg(values, double)) != SQLITE_OK;
            break;
        default:
            failures += sqlite3_bind_text(statement, i + 1, va_arg(values, const char *), -1,
                                          SQLITE_TRANSIENT) != SQLITE_OK;
        }
    va_end(values);
    if (!failures)
        return statement;
    log_error("%s: %s: %s", s->path, sqlite3_errmsg(s->db), text);
    return NULL;
}

enum err sql_step(struct sql *s, sqlite3_stmt *statement, bool *row)
{
    *row = false;
    if (!statement)
        return ERR_IO; // logged when it was made
    const int r = sqlite3_step(statement);
    if (r == SQLITE_ROW) {
        *row = true;
        return ERR_OK;
    }
    if (r == SQLITE_DONE) {
        sqlite3_reset(statement);
        return ERR_OK;
    }
    const enum err e = failed(s);
    sqlite3_reset(statement);
    return e;
}

enum err sql_run(struct sql *s, sqlite3_stmt *statement)
{
    bool row;
    enum err e;
    do
        e = sql_step(s, statement, &row);
    while (!e && row);
    return e;
}

enum err sql_number(struct sql *s, sqlite3_stmt *statement, int64_t missing, int64_t *out)
{
    bool row;
    const enum err e = sql_step(s, statement, &row);
    *out = !e && row ? sqlite3_column_int64(statement, 0) : missing;
    if (row)
        sqlite3_reset(statement);
    return e;
}

uint32_t sql_u32(sqlite3_stmt *statement, int column)
{
    return (uint32_t) sqlite3_column_int64(statement, column);
}

void sql_text(sqlite3_stmt *statement, int column, char *out, size_t room)
{
    const char *text = (const char *) sqlite3_column_text(statement, column);
    const size_t n = text ? strnlen(text, room - 1) : 0;
    if (n)
        memcpy(out, text, n);
    out[n] = 0;
}

enum err sql_begin(struct sql *s)
{
    static const char begin[] = "BEGIN IMMEDIATE";
    return sql_run(s, sql_statement(s, begin));
}

enum err sql_end(struct sql *s, enum err e)
{
    static const char commit[] = "COMMIT", rollback[] = "ROLLBACK";
    if (!e)
        e = sql_run(s, sql_statement(s, commit));
    if (!e || sqlite3_get_autocommit(s->db))
        return e; // some failures have rolled back already
    const enum err again = sql_run(s, sql_statement(s, rollback));
    return e ? e : again;
}
