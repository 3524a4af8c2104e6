#include "coordinator/hub/hub.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

#define TICK_MS 100
#define TURN_S 1.0 // longer than a turn takes: the coordinator was away
#define PAUSE_MS 1000
#define MESSAGES_A_TURN 256
// More than the credit of all transfers that a peer may have under way, and than a page of
// jobs that a client asks for.
#define HIGH_WATER 6000
#define LARGEST_MESSAGE (2 << 20)
// A host that is gone says nothing: its connections are closed when it has not answered for so long. One on which
// nothing is said is asked as often as that whether it is still there.
#define TCP_GIVE_UP_MS 20000
#define TCP_ASK_S 5

// This machine alone can reach it: no keys are needed there.
static bool is_local(const char *address)
{
    static const char *const local[] = { "tcp://127.0.0.1:", "tcp://[::1]:", "tcp://localhost:",
                                         "ipc://", "inproc://" };
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if (!strncmp(address, local[i], strlen(local[i])))
            return true;
    return false;
}

// ZeroMQ would take a local socket's name from whoever listens there, who would never know. EAGAIN: somebody who does
// not get round to accepting.
static bool is_taken(const char *address)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (strncmp(address, "ipc://", 6) != 0 || strlen(address + 6) >= sizeof(to.sun_path))
        return false;
    memcpy(to.sun_path, address + 6, strlen(address + 6));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool taken =
        fd >= 0 &&
        (connect(fd, (const struct sockaddr *) &to, sizeof(to)) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return taken;
}

static enum err listen_at(struct hub *h, void **socket, const char *address)
{
    const int mandatory = 1, linger = 0, high_water = HIGH_WATER, give_up = TCP_GIVE_UP_MS;
    const int ask = 1, ask_s = TCP_ASK_S;
    const int64_t largest = LARGEST_MESSAGE;
    if (h->gate.open && !is_local(address)) {
        log_error(
            "%s: others could reach it, and there are no keys; give --key and --allow, or a loopback address",
            address);
        return ERR_CONFIG;
    }
    *socket = zmq_socket(h->zmq, ZMQ_ROUTER);
    if (*socket) {
        zmq_setsockopt(*socket, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
        zmq_setsockopt(*socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_setsockopt(*socket, ZMQ_SNDHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(*socket, ZMQ_RCVHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(*socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
        zmq_setsockopt(*socket, ZMQ_TCP_MAXRT, &give_up, sizeof(give_up));
        zmq_setsockopt(*socket, ZMQ_TCP_KEEPALIVE, &ask, sizeof(ask));
        zmq_setsockopt(*socket, ZMQ_TCP_KEEPALIVE_IDLE, &ask_s, sizeof(ask_s));
        zmq_setsockopt(*socket, ZMQ_TCP_KEEPALIVE_INTVL, &ask_s, sizeof(ask_s));
        const enum err e =
            gate_guard(&h->gate, h->zmq, *socket, socket == &h->bulk ? "bulk" : "control");
        if (e)
            return e;
        if (is_taken(address)) {
            log_error(
                "%s: cannot listen: another program does; stop it, or give this one another address",
                address);
            return ERR_UNAVAILABLE;
        }
        if (zmq_bind(*socket, address) == 0)
            return ERR_OK;
    }
    log_error("%s: cannot listen: %s", address, zmq_strerror(zmq_errno()));
    return ERR_UNAVAILABLE;
}

static enum err open_ledger(struct hub *h)
{
    char *path = NULL;
    enum err e = file_make_directory(h->p.directory);
    if (!e && asprintf(&path, "%s/ledger.db", h->p.directory) < 0)
        e = ERR_NOMEM;
    if (!e)
        e = ledger_open(&h->ledger, path);
    h->foreman.ledger = h->ledger;
    h->foreman.wall_ms = clock_unix_ms();
    if (!e)
        e = ledger_models(h->ledger, h->models, HUB_MODELS, &h->model_count);
    if (h->model_count > HUB_MODELS)
        h->model_count = HUB_MODELS;
    free(path);
    return e;
}

// Owners that the ledger knows, and those that have come since.
static void weigh_owners(struct hub *h)
{
    for (size_t i = 0; i < h->schedule.owner_count; i++)
        h->schedule.owners[i].weight = weight_of(h->p.weights, h->schedule.owners[i].name);
}

void hub_reload(struct hub *h, const struct hub_params *p)
{
    h->p.media = p->media;
    for (const char *const *m = p->media; m && *m; m++)
        if (hub_answers(h, *m) && access(*m, F_OK) != 0)
            log_warn("%s: this media folder is not there; no film is taken from it until it is",
                     *m);
    h->p.weights = p->weights;
    weigh_owners(h);
    h->p.beat_s = h->fleet.beat_s = p->beat_s;
    h->p.lease_s = h->fleet.lease_s = h->schedule.lease_s = p->lease_s;
    h->p.watch = p->watch;
    h->p.watch_output = p->watch_output;
    h->p.watch_owner = p->watch_owner;
    h->p.watch_settle_s = p->watch_settle_s;
    h->p.start_command = p->start_command;
    h->p.elastic = p->elastic;
    h->p.start_offers = p->start_offers;
    h->children.most = p->children < CHILDREN_MOST ? p->children : CHILDREN_MOST;
    h->children.memory = p->child_memory;
    h->children.cpu_s = p->child_cpu_s;
    hub_tell_times(h);
}

void hub_describe(const struct hub *h, char *out, size_t room)
{
    size_t there = 0;
    for (size_t i = 0; i < h->fleet.count; i++)
        there += !fleet_is_gone(&h->fleet.workers[i]);
    snprintf(out, room, "%zu jobs under way, %zu segments being composed, %zu workers",
             h->schedule.job_count, h->schedule.lease_count, there);
}

enum err hub_open(struct hub **out, const struct hub_params *p)
{
    *out = NULL;
    struct hub *h = calloc(1, sizeof(*h));
    if (!h)
        return ERR_NOMEM;
    h->p = *p;
    h->looked_s = clock_seconds();
    h->children.program = p->program;
    fleet_init(&h->fleet, p->beat_s, p->lease_s);
    schedule_init(&h->schedule, p->lease_s);
    h->foreman = (struct foreman){ .fleet = &h->fleet,
                                   .schedule = &h->schedule,
                                   .hooks = &hub_hooks,
                                   .user = h };
    hub_reload(h, p);
    h->zmq = zmq_ctx_new();
    enum err e = h->zmq ? open_ledger(h) : ERR_NOMEM;
    if (!e)
        e = ledger_queue(h->ledger, &h->queue);
    if (!e)
        e = hub_nodes_load(h);
    if (!e)
        e = spool_open(&h->spool, p->directory);
    if (!e)
        e = hub_jobs_load(h, h->looked_s);
    weigh_owners(h);
    if (!e)
        e = gate_open(&h->gate, h->zmq, p->key, p->allow);
    if (!e)
        e = listen_at(h, &h->control, p->control);
    if (!e)
        e = listen_at(h, &h->bulk, p->bulk);
    if (!e)
        e = hub_models_open(h);
    if (!e)
        e = hub_status_open(h);
    if (e) {
        hub_close(&h);
        return e;
    }
    *out = h;
    return ERR_OK;
}

void hub_close(struct hub **hp)
{
    struct hub *h = *hp;
    if (!h)
        return;
    status_server_close(&h->status);
    children_kill(&h->children, 0);
    hub_bulk_finish(h);
    hub_jobs_finish(h);
    watch_finish(&h->watch);
    mounts_finish(&h->mounts);
    shelf_close(&h->shelf);
    schedule_finish(&h->schedule);
    fleet_finish(&h->fleet);
    free(h->routes);
    spool_close(&h->spool);
    ledger_close(&h->ledger);
    gate_close(&h->gate);
    if (h->control)
        zmq_close(h->control);
    if (h->bulk)
        zmq_close(h->bulk);
    if (h->zmq)
        zmq_ctx_term(h->zmq);
    free(h);
    *hp = NULL;
}

struct wire_message *hub_answer(struct hub *h, enum wire_type type)
{
    h->out = (struct wire_message){ .type = type,
                                    .seq = ++h->seq,
                                    .epoch = ledger_epoch(h->ledger) };
    return &h->out;
}

void hub_send(struct hub *h, const struct hub_route *to)
{
    uint8_t *bytes;
    size_t n;
    void *socket = wire_is_bulk(h->out.type) ? h->bulk : h->control;
    if (to->bytes == 0 || wire_encode(&bytes, &n, &h->out))
        return;
    if (zmq_send(socket, to->id, to->bytes, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(socket, bytes, n, ZMQ_DONTWAIT) < 0)
        log_debug("a %s was not sent: %s", wire_type_name(h->out.type),
                  zmq_strerror(zmq_errno()));
    free(bytes);
}

void hub_reject(struct hub *h, const struct hub_route *to, const char *format, ...)
{
    struct wire_message *m = hub_answer(h, WIRE_REJECT);
    va_list args;
    va_start(args, format);
    vsnprintf(m->reject.reason, sizeof(m->reject.reason), format, args);
    va_end(args);
    hub_send(h, to);
}

// One whole message: the routing id and one part. *n < 0: there is none.
static bool receive(void *socket, struct hub_route *from, zmq_msg_t *message, int *n)
{
    int more = 0;
    size_t size = sizeof(more);
    *n = zmq_recv(socket, from->id, sizeof(from->id), ZMQ_DONTWAIT);
    if (*n < 0)
        return false;
    from->bytes = *n <= HUB_ROUTE_BYTES ? (size_t) *n : 0;
    unsigned parts = 0;
    for (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size); more;
         zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size)) {
        if (zmq_msg_recv(message, socket, 0) < 0)
            break;
        parts++;
    }
    return parts == 1 && from->bytes > 0;
}

static void refuse(struct hub *h, const struct hub_route *from, bool bulk, const char *why)
{
    h->dropped++;
    log_debug("a message dropped: %s (%llu so far)", why, (unsigned long long) h->dropped);
    if (bulk)
        return;
    hub_reject(h, from, "%s; this is underscored %s, which speaks version %d", why,
               UNDERSCORE_VERSION, WIRE_VERSION);
}

static bool is_from_worker(enum wire_type t)
{
    return t == WIRE_HELLO || t == WIRE_PULL || t == WIRE_LEASE_ACK || t == WIRE_BEAT ||
           t == WIRE_CANCELLED || t == WIRE_FAILED || t == WIRE_GOODBYE;
}

// Whoever may not talk is told so and not listened to.
static bool may_talk(struct hub *h, struct hub_route *from, bool bulk, zmq_msg_t *message,
                     double now)
{
    const struct key_entry *who = gate_who(&h->gate, zmq_msg_gets(message, "User-Id"), now);
    if (who)
        snprintf(from->node, sizeof(from->node), "%s", who->name);
    else
        refuse(h, from, bulk, "this key is not allowed any more");
    return who != NULL;
}

// A sender counts what it says on a connection: what does not count on was said before. ZeroMQ numbers
// connections one after the other, so that the last ones all have places of their own.
static bool is_replayed(struct hub *h, const struct hub_route *from, bool bulk)
{
    uint64_t who = h->in.incarnation ^ 0xcbf29ce484222325u; // FNV-1a
    uint32_t place = 0;
    for (size_t i = 0; i < from->bytes; i++) {
        who = (who ^ from->id[i]) * 0x100000001b3u;
        place = place << 8 | from->id[i];
    }
    struct hub_heard *heard = &h->heard[bulk][place % HUB_HEARD];
    const bool replayed = heard->who == who && h->in.seq <= heard->seq;
    if (!replayed)
        *heard = (struct hub_heard){ who, h->in.seq };
    return replayed;
}

static enum err take_in(struct hub *h, struct hub_route *from, bool bulk, zmq_msg_t *message,
                        double now)
{
    const char *why;
    if (!may_talk(h, from, bulk, message, now))
        return ERR_OK;
    if (wire_decode(&h->in, zmq_msg_data(message), zmq_msg_size(message), &why)) {
        refuse(h, from, bulk, why);
        return ERR_OK;
    }
    if (wire_is_bulk(h->in.type) != bulk) {
        refuse(h, from, bulk, "a message on the wrong port");
        return ERR_OK;
    }
    if (is_replayed(h, from, bulk)) {
        refuse(h, from, bulk, "a message that came before");
        return ERR_OK;
    }
    if (bulk)
        return hub_bulk_message(h, from, now);
    if (!is_from_worker(h->in.type))
        return hub_client_message(h, from, now);
    hub_worker_message(h, from, now);
    return ERR_OK;
}

static enum err work_off(struct hub *h, void *socket, double now)
{
    enum err e = ERR_OK;
    for (int i = 0; !e && i < MESSAGES_A_TURN; i++) {
        struct hub_route from;
        zmq_msg_t message;
        int n;
        zmq_msg_init(&message);
        const bool whole = receive(socket, &from, &message, &n);
        if (whole)
            e = take_in(h, &from, socket == h->bulk, &message, now);
        else if (n >= 0)
            h->dropped++;
        zmq_msg_close(&message);
        if (n < 0)
            break;
    }
    return e;
}

static void wait_for_something(struct hub *h)
{
    void *gates[GATE_SOCKETS];
    const size_t gate_count = gate_sockets(&h->gate, gates);
    zmq_pollitem_t items[2 + GATE_SOCKETS + CHILDREN_MOST] = {
        { .socket = h->control, .events = ZMQ_POLLIN },
        { .socket = h->bulk, .events = ZMQ_POLLIN },
    };
    int count = 2;
    for (size_t i = 0; i < gate_count; i++)
        items[count++] = (zmq_pollitem_t){ .socket = gates[i], .events = ZMQ_POLLIN };
    for (uint32_t i = 0; i < CHILDREN_MOST; i++)
        if (h->children.running[i].pid && h->children.running[i].said >= 0)
            items[count++] =
                (zmq_pollitem_t){ .fd = h->children.running[i].said, .events = ZMQ_POLLIN };
    zmq_poll(items, count, TICK_MS);
}

// What a full disk keeps from being written down is decided once more when it does.
static enum err give_out(struct hub *h, double now)
{
    const enum err e = h->queue.stopped ? ERR_OK : foreman_dispatch(&h->foreman, now);
    return err_is_disk(e) ? ERR_OK : e;
}

static enum err lapse(struct hub *h, double now)
{
    const enum err e = foreman_lapse(&h->foreman, now);
    return err_is_disk(e) ? ERR_OK : e;
}

// Seconds as they pass for the farm: while the coordinator itself was away (stopped, its disk stuck, its machine
// standing still) nobody could be heard, and nobody was silent.
static double farm_seconds(struct hub *h)
{
    const double now = clock_seconds(), away = now - h->looked_s - TURN_S;
    if (away > 0)
        h->away_s += away;
    h->looked_s = now;
    return now - h->away_s;
}

static enum err turn(struct hub *h)
{
    wait_for_something(h);
    const double now = farm_seconds(h);
    h->foreman.wall_ms = clock_unix_ms();
    if (gate_turn(&h->gate, now))
        hub_expel(h, now);
    enum err e = work_off(h, h->control, now);
    if (!e)
        e = work_off(h, h->bulk, now);
    const enum err settled = foreman_settle(&h->foreman, now);
    e = e ? e : settled;
    if (!e)
        e = lapse(h, now);
    if (!e)
        e = hub_watch_tick(h, now);
    if (!e)
        e = hub_children_tick(h, now);
    if (!e)
        e = give_out(h, now);
    hub_bulk_tick(h, now);
    mounts_tick(&h->mounts, h->looked_s);
    hub_elastic_tick(h, now);
    hub_status_tick(h, now);
    hub_ledger_tick(h, now);
    return e;
}

// A disk that is full or fails is a pause: nothing is promised meanwhile, and whatever
// was not written down is done once more.
enum err hub_run(struct hub *h)
{
    enum err e = ERR_OK;
    while (!e && !atomic_load(h->p.stop)) {
        e = turn(h);
        if (h->p.attend)
            h->p.attend(h->p.user);
        if (err_is_disk(e) && !h->paused)
            log_warn(
                "paused: the disk does not take what has to be kept; going on when it does");
        else if (!e && h->paused)
            log_info("going on");
        h->paused = err_is_disk(e);
        if (h->paused) {
            zmq_poll(NULL, 0, PAUSE_MS);
            e = ERR_OK;
        }
    }
    return e;
}
