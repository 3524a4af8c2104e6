// The hub and the workers as operators see them: who is there and what each composes,
// draining, quarantine.
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

// Messages of one answer, about: fewer than what may wait for a client to take them.
#define A_PAGE 500

static enum err know_node(void *user, const struct ledger_node *n)
{
    struct hub *h = user;
    return fleet_know(&h->fleet, n->name, n->drained, n->quarantined);
}

enum err hub_nodes_load(struct hub *h)
{
    return ledger_each_node(h->ledger, know_node, h);
}

// Asking

static void send_node(struct hub *h, const struct hub_route *to, const struct fleet_worker *w)
{
    struct wire_node *n = &hub_answer(h, WIRE_NODE)->node;
    n->memory = w->memory;
    n->slots = w->slots;
    n->held = w->held;
    n->rate = w->rate;
    n->done = w->done;
    n->failed = w->failed;
    n->troubles = w->troubles;
    n->drained = w->drained;
    n->quarantined = w->quarantined;
    snprintf(n->name, sizeof(n->name), "%s", w->name);
    snprintf(n->device, sizeof(n->device), "%s", w->device);
    snprintf(n->vendor, sizeof(n->vendor), "%s", w->vendor);
    snprintf(n->driver, sizeof(n->driver), "%s", w->driver);
    snprintf(n->software, sizeof(n->software), "%s", w->software);
    snprintf(n->model, sizeof(n->model), "%s", w->model);
    snprintf(n->state, sizeof(n->state), "%s", worker_state_name(w->state));
    hub_send(h, to);
}

static void send_work(struct hub *h, const struct hub_route *to, const struct work_lease *l,
                      double now)
{
    const struct hub_job *j = hub_job_find(h, l->job);
    const struct work_job *work = schedule_job(&h->schedule, l->job);
    if (!j || !work)
        return;
    struct wire_work *out = &hub_answer(h, WIRE_WORK)->work;
    out->job = (uint64_t) l->job;
    out->attempt = (uint64_t) l->attempt;
    out->segment = l->segment;
    out->cue = work->segments[l->segment].cue;
    out->audio_ms = (int64_t) (work->segments[l->segment].audio_s * 1000);
    out->for_ms = (int64_t) ((now - l->granted_s) * 1000);
    snprintf(out->node, sizeof(out->node), "%s", l->worker_name);
    snprintf(out->film, sizeof(out->film), "%s", j->plan->film.path);
    hub_send(h, to);
}

void hub_on_nodes(struct hub *h, const struct hub_route *from, double now)
{
    const char *name = h->in.nodes.name;
    size_t i = h->in.nodes.after, sent = 0;
    for (; i < h->fleet.count && sent < A_PAGE; i++) {
        if (*name && strcmp(h->fleet.workers[i].name, name) != 0)
            continue;
        send_node(h, from, &h->fleet.workers[i]);
        sent++;
        for (int64_t k = h->in.nodes.work ? schedule_first_of(&h->schedule, i) : -1; k >= 0;
             k = schedule_next_of(&h->schedule, k), sent++)
            send_work(h, from, &h->schedule.leases[k], now);
    }
    hub_answer(h, WIRE_LISTED)->listed.more = i < h->fleet.count;
    hub_send(h, from);
}

// Ordering

// What an order makes of a node; in words, for the log.
static const char *apply(struct ledger_node *n, enum wire_node_order what)
{
    switch (what) {
    case WIRE_NODE_DRAIN:
        n->drained = true;
        return "drained: it finishes what it has and gets nothing new";
    case WIRE_NODE_UNDRAIN: n->drained = false; return "no longer drained";
    case WIRE_NODE_QUARANTINE:
        n->quarantined = true;
        return "in quarantine: it gets nothing until it is released";
    case WIRE_NODE_RELEASE: n->quarantined = false; return "released from quarantine";
    case WIRE_NODE_ORDERS: break;
    }
    return "as it was";
}

// Kept over restarts of both, unlike a quarantine that failures led to: three more will tell.
enum err hub_on_node_order(struct hub *h, const struct hub_route *from)
{
    const enum wire_node_order what = (enum wire_node_order) h->in.node_order.what;
    const int64_t place = fleet_find_name(&h->fleet, h->in.node_order.name);
    if (place < 0) {
        hub_reject(h, from, "no worker %s has been here", h->in.node_order.name);
        return ERR_OK;
    }
    const struct fleet_worker *w = &h->fleet.workers[place];
    struct ledger_node n = { .drained = w->drained, .quarantined = w->quarantined };
    snprintf(n.name, sizeof(n.name), "%s", w->name);
    const char *did = apply(&n, what);
    const enum err e = ledger_put_node(h->ledger, &n);
    if (e) {
        hub_reject(h, from, "it could not be written down: %s", err_text(e));
        return e;
    }
    fleet_drain(&h->fleet, (size_t) place, n.drained);
    if (what == WIRE_NODE_QUARANTINE || what == WIRE_NODE_RELEASE)
        fleet_quarantine(&h->fleet, (size_t) place, n.quarantined);
    log_info("worker %s is %s", n.name, did);
    hub_answer(h, WIRE_OBEYED);
    hub_send(h, from);
    return ERR_OK;
}
