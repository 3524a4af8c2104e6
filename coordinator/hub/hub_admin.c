// The hub and its operator: the queue's two switches, the ledger's upkeep, what happened to
// a job.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

// Jobs that are forgotten at once; the client asks again while there are more.
#define PRUNE_AT_ONCE 64
// How often is looked whether the ledger is where it was, and how often said that it is not.
#define LOOK_EVERY_S 5
#define GONE_EVERY_S 600

// The queue

enum err hub_on_queue(struct hub *h, const struct hub_route *from)
{
    struct ledger_queue q = h->queue;
    switch ((enum wire_queue_order) h->in.queue.what) {
    case WIRE_QUEUE_ENABLE: q.disabled = false; break;
    case WIRE_QUEUE_DISABLE: q.disabled = true; break;
    case WIRE_QUEUE_START: q.stopped = false; break;
    case WIRE_QUEUE_STOP: q.stopped = true; break;
    case WIRE_QUEUE_SHOW:
    case WIRE_QUEUE_ORDERS: break;
    }
    const bool changed = q.disabled != h->queue.disabled || q.stopped != h->queue.stopped;
    const enum err e = changed ? ledger_put_queue(h->ledger, &q) : ERR_OK;
    if (e) {
        hub_reject(h, from, "it could not be written down: %s", err_text(e));
        return e;
    }
    h->queue = q;
    if (changed)
        log_info("the queue %s new jobs and %s work", q.disabled ? "refuses" : "takes",
                 q.stopped ? "gives out no" : "gives out");
    struct wire_message *m = hub_answer(h, WIRE_QUEUE_IS);
    m->queue_is.disabled = q.disabled;
    m->queue_is.stopped = q.stopped;
    hub_send(h, from);
    return ERR_OK;
}

// The ledger

// Where it goes is not for clients to say: what this process may write is more than they may.
static enum err back_up(struct hub *h, char *path, size_t room)
{
    char when[32] = "";
    struct tm utc;
    const time_t now = (time_t) (clock_unix_ms() / 1000);
    if (gmtime_r(&now, &utc))
        strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
    snprintf(path, room, "%s/backups", h->p.directory);
    const enum err e = file_make_directory(path);
    if (e)
        return e;
    snprintf(path, room, "%s/backups/ledger-%s.db", h->p.directory, when);
    return ledger_backup(h->ledger, path);
}

static enum err prune(struct hub *h, int64_t before_ms, uint32_t *count)
{
    int64_t ids[PRUNE_AT_ONCE];
    size_t n = 0;
    const enum err e = ledger_prune(h->ledger, before_ms, ids, PRUNE_AT_ONCE, &n);
    for (size_t i = 0; i < n; i++)
        spool_remove(&h->spool, ids[i]); // what a failed or cancelled one had kept
    *count = (uint32_t) n;
    return e;
}

enum err hub_on_ledger(struct hub *h, const struct hub_route *from)
{
    char path[WIRE_PATH_BYTES] = "";
    uint32_t count = 0;
    enum err e = ERR_BUG;
    const enum wire_ledger_order what = (enum wire_ledger_order) h->in.ledger.what;
    switch (what) {
    case WIRE_LEDGER_CHECK: e = ledger_check(h->ledger); break;
    case WIRE_LEDGER_BACKUP: e = back_up(h, path, sizeof(path)); break;
    case WIRE_LEDGER_PRUNE: e = prune(h, h->in.ledger.before_ms, &count); break;
    case WIRE_LEDGER_ORDERS: break;
    }
    if (e) {
        hub_reject(h, from, "%s; underscored has logged more",
                   what == WIRE_LEDGER_CHECK ? "the ledger is not in order" : err_text(e));
        return ERR_OK; // nothing has changed; whoever asked knows
    }
    struct wire_message *m = hub_answer(h, WIRE_LEDGER_DONE);
    snprintf(m->ledger_done.path, sizeof(m->ledger_done.path), "%s", path);
    m->ledger_done.count = count;
    m->ledger_done.more = count == PRUNE_AT_ONCE;
    hub_send(h, from);
    return ERR_OK;
}

void hub_ledger_tick(struct hub *h, double now)
{
    if (now < h->ledger_next_s)
        return;
    h->ledger_next_s = now + (ledger_is_gone(h->ledger) ? GONE_EVERY_S : LOOK_EVERY_S);
}

// What happened

struct logging {
    struct hub *h;
    const struct hub_route *to;
    uint32_t count;
};

static enum err send_event(void *user, const struct ledger_attempt *a)
{
    struct logging *l = user;
    struct wire_event *out = &hub_answer(l->h, WIRE_EVENT)->event;
    out->attempt = (uint64_t) a->id;
    out->segment = a->segment;
    out->leased_ms = a->leased_ms;
    out->ended_ms = a->ended_ms;
    snprintf(out->worker, sizeof(out->worker), "%s", a->worker);
    snprintf(out->outcome, sizeof(out->outcome), "%s", outcome_name(a->outcome));
    snprintf(out->detail, sizeof(out->detail), "%s", a->detail);
    hub_send(l->h, l->to);
    l->count++;
    return ERR_OK;
}

enum err hub_on_logs(struct hub *h, const struct hub_route *from)
{
    struct logging l = { h, from, 0 };
    const uint32_t most = h->in.logs.most;
    const enum err e = ledger_each_attempt(h->ledger, (int64_t) h->in.logs.job,
                                           (int64_t) h->in.logs.after, most, send_event, &l);
    hub_answer(h, WIRE_LISTED)->listed.more = l.count == most;
    hub_send(h, from);
    return e;
}
