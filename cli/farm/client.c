#include "cli/farm/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"

#define LOOK_UP_MS 100

struct client {
    const char *address;
    void *zmq, *socket;
    struct curve_watch watch;
    double patience_s;
    struct wire_message question, answer;
    zmq_msg_t message; // of the answer, which points into it
};

static const char *from_environment(const char *name)
{
    const char *set = getenv(name);
    return set && *set ? set : NULL;
}

void farm_table(struct farm_settings *f, struct option_spec *specs)
{
    const char *set = from_environment("UNDERSCORE_FARM");
    *f = (struct farm_settings){
        .address = set ? set : CLIENT_FARM,
        .keys = { from_environment("UNDERSCORE_KEY"), from_environment("UNDERSCORE_COORDINATOR_KEY") },
    };
    specs[0] = (struct option_spec){ .name = "Farm", .kind = OPTION_HEADING };
    specs[1] = (struct option_spec){ .name = "farm", .kind = OPTION_STRING, .target = &f->address, .value = "ADDRESS",
        .help = "of the coordinator; $UNDERSCORE_FARM where not given\n(" CLIENT_FARM ")" };
    specs[2] = (struct option_spec){ .name = "key", .kind = OPTION_STRING, .target = &f->keys.own, .value = "FILE",
        .help = "this node's own key, where the farm uses keys; $UNDERSCORE_KEY\nwhere not given" };
    specs[3] = (struct option_spec){ .name = "coordinator-key", .kind = OPTION_STRING, .target = &f->keys.coordinator,
        .value = "FILE", .help = "the coordinator's .pub; $UNDERSCORE_COORDINATOR_KEY where\nnot given" };
    specs[4] = (struct option_spec){ 0 };
}

enum err client_open(struct client **out, const struct farm_settings *f)
{
    const int linger = 0, most = WIRE_BULK_BYTES;
    const int64_t largest = most;
    *out = NULL;
    struct client *c = calloc(1, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    zmq_msg_init(&c->message);
    c->address = f->address;
    c->patience_s = CLIENT_PATIENCE_S;
    c->zmq = zmq_ctx_new();
    c->socket = c->zmq ? zmq_socket(c->zmq, ZMQ_DEALER) : NULL;
    if (c->socket) {
        zmq_setsockopt(c->socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
    }
    enum err e = c->socket ? curve_connect(c->socket, &f->keys) : ERR_NOMEM;
    if (!e)
        e = curve_watch_open(&c->watch, c->zmq, c->socket, &f->keys, f->address);
    if (!e && zmq_connect(c->socket, f->address) != 0) {
        log_error("--farm %s: %s", f->address, zmq_strerror(zmq_errno()));
        e = ERR_USAGE;
    }
    if (e) {
        client_close(&c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void client_close(struct client **cp)
{
    struct client *c = *cp;
    if (!c)
        return;
    curve_watch_close(&c->watch);
    zmq_msg_close(&c->message);
    if (c->socket)
        zmq_close(c->socket);
    if (c->zmq)
        zmq_ctx_term(c->zmq);
    free(c);
    *cp = NULL;
}

void client_patience(struct client *c, double seconds)
{
    c->patience_s = seconds;
}

struct wire_message *client_question(struct client *c, enum wire_type type)
{
    c->question = (struct wire_message){ .type = type, .seq = c->question.seq + 1 };
    return &c->question;
}

static enum err take(struct client *c, const struct wire_message **answer)
{
    const char *why;
    const int n = zmq_msg_recv(&c->message, c->socket, ZMQ_DONTWAIT); // the one before is gone then
    enum err e = n < 0 ? ERR_UNAVAILABLE
                       : wire_decode(&c->answer, zmq_msg_data(&c->message), (size_t) n, &why);
    if (e) {
        log_error("%s: its answer cannot be understood: %s", c->address, n < 0 ? zmq_strerror(zmq_errno()) : why);
        return ERR_UNAVAILABLE;
    }
    *answer = &c->answer;
    if (c->answer.type != WIRE_REJECT)
        return ERR_OK;
    log_error("%s", c->answer.reject.reason);
    return ERR_INPUT;
}

enum err client_next(struct client *c, const struct wire_message **answer)
{
    const double until = clock_seconds() + c->patience_s;
    zmq_pollitem_t items[] = { { .socket = c->socket, .events = ZMQ_POLLIN },
                               { .socket = c->watch.events, .events = ZMQ_POLLIN } };
    while (clock_seconds() < until) {
        if (interrupt_asked())
            return ERR_STOP;
        zmq_poll(items, 2, LOOK_UP_MS);
        if (items[0].revents)
            return take(c, answer);
        const char *refused = curve_watch_refused(&c->watch);
        if (refused) {
            log_error("%s: refused: %s", c->address, refused);
            return ERR_CONFIG;
        }
    }
    log_error("%s: no coordinator answers; is underscored running there?", c->address);
    return ERR_UNAVAILABLE;
}

enum err client_ask(struct client *c, const struct wire_message **answer)
{
    uint8_t *bytes;
    size_t n;
    const enum err e = wire_encode(&bytes, &n, &c->question);
    if (e)
        return e;
    const int sent = zmq_send(c->socket, bytes, n, ZMQ_DONTWAIT);
    free(bytes);
    if (sent < 0) {
        log_error("%s: cannot send: %s", c->address, zmq_strerror(zmq_errno()));
        return ERR_UNAVAILABLE;
    }
    return client_next(c, answer);
}
