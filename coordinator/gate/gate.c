#include "coordinator/gate/gate.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <zmq.h>

#include "common/base/log.h"
#include "common/keys/curve.h"

#define LOOK_EVERY_S 0.2
#define MOST_LINES_A_SECOND 10
#define ZAP_PARTS 16
#define ZAP_PART_BYTES 256

// A flood of refusals must not become a flood of lines.
__attribute__((format(printf, 3, 4))) static void say_refused(struct gate *g, double now,
                                                              const char *format, ...)
{
    char text[512];
    va_list args;
    g->refused++;
    if (now - g->said_s >= 1) {
        if (g->unsaid)
            log_warn("%u more were refused", g->unsaid);
        g->said_s = now;
        g->said = g->unsaid = 0;
    }
    if (g->said == MOST_LINES_A_SECOND) {
        g->unsaid++;
        return;
    }
    g->said++;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_warn("%s", text);
}

// The list

static bool has_changed(struct gate *g)
{
    struct stat st;
    if (stat(g->list_path, &st) < 0)
        return g->list.count > 0; // gone: nobody is allowed
    return g->stamp.s != st.st_mtim.tv_sec || g->stamp.ns != st.st_mtim.tv_nsec ||
           g->stamp.bytes != st.st_size || g->stamp.inode != (long long) st.st_ino;
}

// Stamped before it is read: a change on the way is seen at the next look.
static enum err read_list(struct gate *g)
{
    struct stat st = { 0 };
    struct key_list fresh;
    stat(g->list_path, &st);
    g->stamp.s = st.st_mtim.tv_sec;
    g->stamp.ns = st.st_mtim.tv_nsec;
    g->stamp.bytes = st.st_size;
    g->stamp.inode = (long long) st.st_ino;
    const enum err e = key_list_read(&fresh, g->list_path);
    key_list_finish(&g->list);
    g->list = fresh; // empty after an error: who cannot be looked up is not let in
    return e;
}

// True: the list is another.
static bool look_at_list(struct gate *g, double now)
{
    g->read_s = now;
    if (!has_changed(g))
        return false;
    if (read_list(g))
        log_error("nobody is let in until the list of keys can be read again");
    else
        log_info("%s: %zu keys", g->list_path, g->list.count);
    return true;
}

static bool look_after_list(struct gate *g, double now)
{
    return now - g->read_s >= LOOK_EVERY_S && look_at_list(g, now);
}

// Nobody is refused by a list that is out of date: a node that was added a moment ago would
// give up for good.
static const struct key_entry *look_up(struct gate *g, const char *key, double now,
                                       bool *changed)
{
    const struct key_entry *entry = key_list_find(&g->list, key);
    if (entry && !entry->revoked)
        return entry;
    *changed |= look_at_list(g, now);
    return key_list_find(&g->list, key);
}

// Opening

enum err gate_open(struct gate *g, void *zmq, const char *own, const char *list)
{
    const int linger = 0;
    *g = (struct gate){ .open = !own, .list_path = list };
    if (!own)
        return ERR_OK;
    enum err e = key_pair_read(&g->own, own);
    if (!e)
        e = read_list(g);
    if (e)
        return e;
    g->zap = zmq_socket(zmq, ZMQ_REP);
    if (g->zap)
        zmq_setsockopt(g->zap, ZMQ_LINGER, &linger, sizeof(linger));
    if (g->zap && zmq_bind(g->zap, "inproc://zeromq.zap.01") == 0)
        return ERR_OK;
    log_error("keys cannot be looked up: %s", zmq_strerror(zmq_errno()));
    return ERR_UNAVAILABLE;
}

enum err gate_guard(struct gate *g, void *zmq, void *socket, const char *name)
{
    const size_t i = g->sockets[0] ? 1 : 0;
    if (g->open)
        return ERR_OK;
    const enum err e = curve_listen(socket, &g->own);
    if (e)
        return e;
    g->sockets[i] = socket;
    g->events[i] =
        curve_events_open(zmq, socket, name,
                          ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                              ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_DISCONNECTED);
    return g->events[i] ? ERR_OK : ERR_UNAVAILABLE;
}

void gate_close(struct gate *g)
{
    for (int i = 0; i < 2; i++)
        curve_events_close(g->sockets[i], g->events[i]);
    if (g->zap)
        zmq_close(g->zap);
    key_list_finish(&g->list);
    key_pair_forget(&g->own);
    *g = (struct gate){ 0 };
}

size_t gate_sockets(const struct gate *g, void *out[GATE_SOCKETS])
{
    size_t n = 0;
    if (g->zap)
        out[n++] = g->zap;
    for (int i = 0; i < 2; i++)
        if (g->events[i])
            out[n++] = g->events[i];
    return n;
}

// ZAP: {version, request id, domain, address, identity, mechanism, credentials...}

struct zap_request {
    char part[ZAP_PARTS][ZAP_PART_BYTES]; // closed by a zero
    int bytes[ZAP_PARTS], count;
};

static bool next_request(void *zap, struct zap_request *r)
{
    int more = 1;
    size_t size = sizeof(more);
    *r = (struct zap_request){ 0 };
    while (more) {
        const int at = r->count < ZAP_PARTS ? r->count : ZAP_PARTS - 1;
        const int n = zmq_recv(zap, r->part[at], ZAP_PART_BYTES - 1, ZMQ_DONTWAIT);
        if (n < 0)
            return false;
        r->bytes[at] = n;
        r->count = at + 1;
        zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &size);
    }
    return true;
}

static void answer(void *zap, const struct zap_request *r, const char *user_id, const char *why)
{
    const char *const head[] = { "1.0", r->part[1], user_id ? "200" : "400", why,
                                 user_id ? user_id : "" };
    for (int i = 0; i < 5; i++)
        zmq_send(zap, head[i], i == 1 ? (size_t) r->bytes[1] : strlen(head[i]), ZMQ_SNDMORE);
    zmq_send(zap, "", 0, 0);
}

static void judge(struct gate *g, const struct zap_request *r, double now, bool *changed)
{
    char key[KEY_BYTES];
    const bool sound = r->count == 7 && !strcmp(r->part[0], "1.0") &&
                       !strcmp(r->part[5], "CURVE") && r->bytes[6] == 32 &&
                       zmq_z85_encode(key, (const uint8_t *) r->part[6], 32);
    const struct key_entry *entry = sound ? look_up(g, key, now, changed) : NULL;
    if (entry && !entry->revoked) {
        answer(g->zap, r, entry->public_half, "");
        log_debug("%s is let in from %s", entry->name, r->part[3]);
        return;
    }
    answer(g->zap, r, NULL, "not allowed");
    if (entry)
        say_refused(g, now, "refused: %s, with the revoked key of %s", r->part[3], entry->name);
    else
        say_refused(g, now, "refused: %s, with a key that is not in %s", r->part[3],
                    g->list_path);
}

// Connections that come to nothing before a key could be looked up.

static void remember(struct gate *g, int fd)
{
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    struct gate_peer *p = &g->peers[g->next_peer++ % GATE_PEERS];
    *p = (struct gate_peer){ .fd = fd };
    if (getpeername(fd, (struct sockaddr *) &from, &size) != 0 ||
        getnameinfo((struct sockaddr *) &from, size, p->text, sizeof(p->text), NULL, 0,
                    NI_NUMERICHOST) != 0)
        snprintf(p->text, sizeof(p->text), "somebody"); // gone already, or not by TCP
}

static const char *where_from(const struct gate *g, int fd)
{
    // From the latest on: descriptors are given out again.
    for (size_t i = g->next_peer; i-- > 0 && i + GATE_PEERS >= g->next_peer;)
        if (g->peers[i % GATE_PEERS].fd == fd)
            return g->peers[i % GATE_PEERS].text;
    return "somebody";
}

// libzmq says first that a handshake failed and then which connection was closed.
static void on_event(struct gate *g, int i, const struct curve_event *event, double now)
{
    switch (event->kind) {
    case ZMQ_EVENT_ACCEPTED: remember(g, (int) event->value); break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        g->failed[i] = event->value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
                           ? "without a key"
                       : event->value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC
                           ? "which takes this for another coordinator"
                           : "which does not speak the protocol";
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        g->failed[i] = "without having shown a key";
        break;
    case ZMQ_EVENT_DISCONNECTED:
        if (g->failed[i])
            say_refused(g, now, "refused: %s, %s", where_from(g, (int) event->value),
                        g->failed[i]);
        g->failed[i] = NULL;
        break;
    default: break;
    }
}

bool gate_turn(struct gate *g, double now)
{
    struct zap_request r;
    struct curve_event event;
    if (g->open)
        return false;
    bool changed = look_after_list(g, now);
    while (next_request(g->zap, &r))
        judge(g, &r, now, &changed);
    for (int i = 0; i < 2; i++)
        while (g->events[i] && curve_event_next(g->events[i], &event))
            on_event(g, i, &event, now);
    return changed;
}

const struct key_entry *gate_who(struct gate *g, const char *user_id, double now)
{
    static const struct key_entry anybody = { 0 };
    if (g->open)
        return &anybody;
    const struct key_entry *entry = user_id ? key_list_find(&g->list, user_id) : NULL;
    if (entry && !entry->revoked)
        return entry;
    say_refused(g, now, "a message refused: the key of %s %s",
                entry ? entry->name : "its sender",
                entry ? "is revoked" : "is not in the list any more");
    return NULL;
}

bool gate_allows(const struct gate *g, const char *name)
{
    return g->open || key_list_named(&g->list, name);
}
