// The ledger of what is not a job: models, owners, nodes, the queue's switches.
#include "coordinator/ledger/ledger_internal.h"

// Models and owners

enum err ledger_put_model(struct ledger *l, const struct ledger_model *m)
{
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "INSERT OR REPLACE INTO models VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                 "siiidiids", m->sha256, (int64_t) m->sample_rate, (int64_t) m->hop,
                 (int64_t) m->max_duration_ms, m->frames_per_s, (int64_t) m->image,
                 (int64_t) m->codebooks, m->guidance, m->license));
}

enum err ledger_drop_model(struct ledger *l, const char *sha256, bool *gone)
{
    const enum err e = sql_run(
        &l->sql,
        sql_bind(
            &l->sql,
            "DELETE FROM models WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM jobs WHERE model = ?1)",
            "s", sha256));
    *gone = !e && sqlite3_changes(l->sql.db) > 0;
    return e;
}

enum err ledger_models(struct ledger *l, struct ledger_model *out, size_t room, size_t *count)
{
    sqlite3_stmt *s = sql_statement(
        &l->sql, "SELECT sha256, sample_rate, hop, max_duration_ms, frames_per_s, "
                 "image, codebooks, guidance, license FROM models ORDER BY sha256");
    bool row;
    enum err e;
    *count = 0;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        if (*count < room) {
            struct ledger_model *m = &out[*count];
            sql_text(s, 0, m->sha256, sizeof(m->sha256));
            m->sample_rate = sql_u32(s, 1);
            m->hop = sql_u32(s, 2);
            m->max_duration_ms = sql_u32(s, 3);
            m->frames_per_s = sqlite3_column_double(s, 4);
            m->image = sql_u32(s, 5);
            m->codebooks = sql_u32(s, 6);
            m->guidance = sqlite3_column_double(s, 7);
            sql_text(s, 8, m->license, sizeof(m->license));
        }
        (*count)++;
    }
    return e;
}

enum err ledger_each_owner(struct ledger *l,
                           enum err (*visit)(void *user, const struct ledger_owner *o),
                           void *user)
{
    sqlite3_stmt *s = sql_statement(&l->sql, "SELECT name, used_s FROM owners ORDER BY name");
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        struct ledger_owner o = { .used_s = sqlite3_column_double(s, 1) };
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
    return sql_run(&l->sql,
                   sql_bind(&l->sql, "INSERT OR REPLACE INTO nodes VALUES (?1, ?2, ?3)", "sii",
                            n->name, (int64_t) n->drained, (int64_t) n->quarantined));
}

enum err ledger_each_node(struct ledger *l,
                          enum err (*visit)(void *user, const struct ledger_node *n),
                          void *user)
{
    sqlite3_stmt *s =
        sql_statement(&l->sql, "SELECT name, drained, quarantined FROM nodes ORDER BY name");
    bool row;
    enum err e;
    while (!(e = sql_step(&l->sql, s, &row)) && row) {
        struct ledger_node n = { .drained = sqlite3_column_int(s, 1) != 0,
                                 .quarantined = sqlite3_column_int(s, 2) != 0 };
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
    enum err e = sql_number(
        &l->sql, sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'queue_disabled'"),
        0, &disabled);
    if (!e)
        e = sql_number(
            &l->sql,
            sql_statement(&l->sql, "SELECT value FROM meta WHERE key = 'queue_stopped'"), 0,
            &stopped);
    *out = (struct ledger_queue){ disabled != 0, stopped != 0 };
    return e;
}

enum err ledger_put_queue(struct ledger *l, const struct ledger_queue *q)
{
    return sql_run(
        &l->sql,
        sql_bind(&l->sql,
                 "UPDATE meta SET value = CASE key WHEN 'queue_disabled' THEN ?1 ELSE ?2 END "
                 "WHERE key IN ('queue_disabled', 'queue_stopped')",
                 "ii", (int64_t) q->disabled, (int64_t) q->stopped));
}
