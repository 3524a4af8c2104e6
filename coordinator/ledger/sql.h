// sql: the little of SQLite that the ledger needs, with this program's errors.
// One thread per connection.
#pragma once

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

// Statements are kept, one for each place in the code that has one.
#define SQL_KEPT 96

struct sql {
    sqlite3 *db;
    char *path; // for messages
    struct {
        const char *text;
        sqlite3_stmt *statement;
    } kept[SQL_KEPT];
    uint32_t kept_count;
};

// Open or create; nothing is locked yet. ERR_CREATE logs.
ERR_CHECKED enum err sql_open(struct sql *s, const char *path);
// One that is there, to be read while nobody else has it; nothing in it is changed, but
// that what stands in a -wal beside it is brought into it. ERR_CREATE logs.
ERR_CHECKED enum err sql_open_to_read(struct sql *s, const char *path);
void sql_close(struct sql *s); // a zeroed one is fine

// Text of any number of statements without results.
ERR_CHECKED enum err sql_script(struct sql *s, const char *text);

// A statement ready to be bound: `text` is a literal, its address the key under which it
// is kept. NULL: logged.
sqlite3_stmt *sql_statement(struct sql *s, const char *text);

// Bind ?1, ?2, ... by `types`, a letter each: i int64_t, d double, s const char *.
sqlite3_stmt *sql_bind(struct sql *s, const char *text, const char *types, ...);

// Next row. *row false: there is none. ERR_IO, ERR_UNAVAILABLE (locked) log.
ERR_CHECKED enum err sql_step(struct sql *s, sqlite3_stmt *statement, bool *row);

// Run to the end, without results. A NULL statement is ERR_IO, so that sql_bind() can
// stand inside the call.
ERR_CHECKED enum err sql_run(struct sql *s, sqlite3_stmt *statement);

// The first column of the first row; `missing` when there is no row.
ERR_CHECKED enum err sql_number(struct sql *s, sqlite3_stmt *statement, int64_t missing,
                                int64_t *out);

uint32_t sql_u32(sqlite3_stmt *statement, int column);

// A column as text, cut to fit.
void sql_text(sqlite3_stmt *statement, int column, char *out, size_t room);

// A transaction: begin, and then end with what came of it, which is passed on. Any
// failure rolls back.
ERR_CHECKED enum err sql_begin(struct sql *s);
ERR_CHECKED enum err sql_end(struct sql *s, enum err e);
