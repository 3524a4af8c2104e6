#include "common/keys/curve.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "common/base/log.h"
#include "common/keys/greeting.h"

// One failure may be a coordinator that is just being stopped.
#define MOST_FAILURES 3
#define MOST_ENDING_MS 1000

static enum err set(void *socket, int option, const void *value, size_t bytes)
{
    if (zmq_setsockopt(socket, option, value, bytes) == 0)
        return ERR_OK;
    log_error("keys cannot be used with this libzmq: %s", zmq_strerror(zmq_errno()));
    return ERR_UNAVAILABLE;
}

enum err curve_listen(void *socket, const struct key_pair *own)
{
    const int yes = 1;
    enum err e = set(socket, ZMQ_CURVE_SERVER, &yes, sizeof(yes));
    if (!e)
        e = set(socket, ZMQ_CURVE_SECRETKEY, own->secret_half, KEY_BYTES);
    if (!e)
        e = set(socket, ZMQ_ZAP_DOMAIN, "underscore", strlen("underscore"));
    return e;
}

enum err curve_connect(void *socket, const struct curve_files *files)
{
    struct key_pair own;
    struct key_entry coordinator;
    if (!files->own && !files->coordinator)
        return ERR_OK;
    if (!files->own || !files->coordinator) {
        log_error(
            "--key and --coordinator-key go together: one is this node's own, the other whom it trusts");
        return ERR_USAGE;
    }
    enum err e = key_public_read(&coordinator, files->coordinator);
    if (!e)
        e = key_pair_read(&own, files->own);
    if (e)
        return e;
    e = set(socket, ZMQ_CURVE_SERVERKEY, coordinator.public_half, KEY_BYTES);
    if (!e)
        e = set(socket, ZMQ_CURVE_PUBLICKEY, own.public_half, KEY_BYTES);
    if (!e)
        e = set(socket, ZMQ_CURVE_SECRETKEY, own.secret_half, KEY_BYTES);
    key_pair_forget(&own);
    return e;
}

void *curve_events_open(void *zmq, void *socket, const char *name, int kinds)
{
    const int unbounded = 0, linger = 0;
    char address[64];
    snprintf(address, sizeof(address), "inproc://%s", name);
    void *events = zmq_socket(zmq, ZMQ_PAIR);
    if (events) {
        zmq_setsockopt(events, ZMQ_RCVHWM, &unbounded, sizeof(unbounded));
        zmq_setsockopt(events, ZMQ_LINGER, &linger, sizeof(linger));
        if (zmq_socket_monitor(socket, address, kinds) == 0 &&
            zmq_connect(events, address) == 0)
            return events;
        zmq_close(events);
    }
    log_error("a socket cannot be watched: %s", zmq_strerror(zmq_errno()));
    return NULL;
}

void curve_events_close(void *socket, void *events)
{
    if (!events)
        return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(events);
}

// Two parts: what happened, with its value, and the address, which the caller knows.
bool curve_event_next(void *events, struct curve_event *out)
{
    uint8_t raw[6] = { 0 };
    uint16_t kind;
    uint32_t value;
    if (zmq_recv(events, raw, sizeof(raw), ZMQ_DONTWAIT) < (int) sizeof(raw))
        return false;
    char address[256];
    zmq_recv(events, address, sizeof(address), ZMQ_DONTWAIT);
    memcpy(&kind, raw, sizeof(kind));
    memcpy(&value, raw + 2, sizeof(value));
    *out = (struct curve_event){ kind, value };
    return true;
}

enum err curve_watch_open(struct curve_watch *w, void *zmq, void *socket,
                          const struct curve_files *files, const char *address)
{
    *w = (struct curve_watch){ .socket = socket,
                               .address = address,
                               .with_keys = files->own != NULL };
    char name[32];
    snprintf(name, sizeof(name), "watch-%p", (void *) w);
    w->events = curve_events_open(zmq, socket, name,
                                  ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                                      ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                                      ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                      ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
    return w->events ? ERR_OK : ERR_UNAVAILABLE;
}

void curve_watch_close(struct curve_watch *w)
{
    curve_events_close(w->socket, w->events);
    *w = (struct curve_watch){ 0 };
}

#define OTHER_KIND "one side uses keys and the other does not; see --key and --coordinator-key"

// It has hung up without a word: on whom it does not know, or who does not know it, or
// because it was stopped.
static const char *look_why(struct curve_watch *w)
{
    char mechanism[GREETING_MECHANISM_BYTES];
    if (w->was_let_in || !greeting_mechanism(mechanism, w->address))
        return NULL;
    if (strcmp(mechanism, w->with_keys ? "CURVE" : "NULL") != 0)
        return OTHER_KIND;
    if (!w->with_keys || ++w->failures < MOST_FAILURES)
        return NULL;
    return "the coordinator hangs up; it has another key than the one in --coordinator-key";
}

static const char *judge(struct curve_watch *w, const struct curve_event *event)
{
    switch (event->kind) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        w->lost = w->lost && w->was_let_in; // those before were never open
        w->was_let_in = true;
        return NULL;
    case ZMQ_EVENT_DISCONNECTED: w->lost = true; return NULL;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return "the coordinator does not allow this key; `underscore key add` there would";
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        if (w->was_let_in)
            return NULL; // the network has damaged something
        return event->value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
                   ? OTHER_KIND
                   : "what answers there is no coordinator";
    default: return look_why(w);
    }
}

const char *curve_watch_refused(struct curve_watch *w)
{
    struct curve_event event;
    const char *why = NULL;
    while (!why && curve_event_next(w->events, &event))
        why = judge(w, &event);
    return why;
}

// Until the connection is gone: what is sent while it ends would be lost with it.
static void disconnect(const struct curve_watch *w)
{
    int events = 0;
    size_t n = sizeof(events);
    zmq_disconnect(w->socket, w->address);
    for (int ms = 0; ms < MOST_ENDING_MS; ms++) {
        if (zmq_getsockopt(w->socket, ZMQ_EVENTS, &events, &n) != 0 || !(events & ZMQ_POLLOUT))
            return;
        zmq_poll(NULL, 0, 1);
    }
}

void curve_connect_anew(struct curve_watch *w)
{
    log_debug("%s: connecting anew", w->address);
    w->lost = false;
    disconnect(w);
    if (zmq_connect(w->socket, w->address) != 0)
        log_warn("%s: cannot connect: %s", w->address, zmq_strerror(zmq_errno()));
}
