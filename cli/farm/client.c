#include "cli/farm/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"

#define LOOK_UP_MS 100
// So long without an answer over a connection that seems to be there, and it is made anew.
#define SILENCE_S 4.0
// One that is lost at once each time is not made anew more often than this.
#define AGAIN_S 0.5

struct client {
    const char *address;
    void *zmq, *socket;
    struct curve_watch watch;
    double patience_s;
    bool persists, was_answered;
    double last_s; // when something was asked or heard
    struct wire_message question, answer;
    // Of an answer: it is here whole, or not at all; c->answer points into one.
    zmq_msg_t *parts;
    size_t part_count, part_room, next;
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
        .keys = { from_environment("UNDERSCORE_KEY"),
                  from_environment("UNDERSCORE_COORDINATOR_KEY") },
    };
    specs[0] = (struct option_spec){ .name = "Farm", .kind = OPTION_HEADING };
    specs[1] = (struct option_spec){
        .name = "farm",
        .kind = OPTION_STRING,
        .target = &f->address,
        .value = "ADDRESS",
        .help = "of the coordinator; $UNDERSCORE_FARM where not given\n(" CLIENT_FARM ")"
    };
    specs[2] = (struct option_spec){
        .name = "key",
        .kind = OPTION_STRING,
        .target = &f->keys.own,
        .value = "FILE",
        .help =
            "this node's own key, where the farm uses keys; $UNDERSCORE_KEY\nwhere not given"
    };
    specs[3] = (struct option_spec){
        .name = "coordinator-key",
        .kind = OPTION_STRING,
        .target = &f->keys.coordinator,
        .value = "FILE",
        .help = "the coordinator's .pub; $UNDERSCORE_COORDINATOR_KEY where\nnot given"
    };
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
        log_error("--farm %s: %s; such an address is tcp://HOST:7480", f->address,
                  zmq_strerror(zmq_errno()));
        e = ERR_USAGE;
    }
    if (e) {
        client_close(&c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

static void drop_parts(struct client *c)
{
    while (c->part_count)
        zmq_msg_close(&c->parts[--c->part_count]);
    c->next = 0;
}

void client_close(struct client **cp)
{
    struct client *c = *cp;
    if (!c)
        return;
    drop_parts(c);
    free(c->parts);
    curve_watch_close(&c->watch);
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

void client_persist(struct client *c)
{
    c->persists = true;
}

struct wire_message *client_question(struct client *c, enum wire_type type)
{
    c->question = (struct wire_message){ .type = type, .seq = c->question.seq + 1 };
    return &c->question;
}

// Said twice, these come to what they come to once: questions, settings, and a film, which is
// one job however often it is submitted.
static bool may_repeat(const struct wire_message *q)
{
    switch ((int) q->type) {
    case WIRE_SUBMIT: return !q->submit.force;
    case WIRE_CONFIG: return q->config.what != WIRE_CONFIG_RELOAD; // it says what it changed
    case WIRE_LIST:
    case WIRE_SHOW:
    case WIRE_EXPLAIN:
    case WIRE_LOGS:
    case WIRE_NODES:
    case WIRE_NODE_ORDER:
    case WIRE_QUEUE: return true;
    default: return false;
    }
}

static enum err decode(struct client *c, zmq_msg_t *part)
{
    const char *why;
    if (!wire_decode(&c->answer, zmq_msg_data(part), zmq_msg_size(part), &why))
        return ERR_OK;
    log_error("%s: its answer cannot be understood: %s", c->address, why);
    return ERR_UNAVAILABLE;
}

static bool is_last(const struct wire_message *answer)
{
    switch ((int) answer->type) {
    case WIRE_JOBS:
    case WIRE_NODE:
    case WIRE_WORK:
    case WIRE_EVENT:
    case WIRE_LINE: return false;
    default: return true;
    }
}

// Another part of the answer, if one is here: *got. It is in c->answer as well.
static enum err receive(struct client *c, bool *got)
{
    enum err e =
        array_grow((void **) &c->parts, c->part_count, &c->part_room, sizeof(*c->parts));
    *got = false;
    if (e)
        return e;
    zmq_msg_t *part = &c->parts[c->part_count];
    zmq_msg_init(part);
    if (zmq_msg_recv(part, c->socket, ZMQ_DONTWAIT) < 0) {
        zmq_msg_close(part);
        return ERR_OK;
    }
    c->part_count++;
    c->last_s = clock_seconds();
    *got = true;
    return decode(c, part);
}

static enum err send_question(struct client *c)
{
    uint8_t *bytes;
    size_t n;
    const enum err e = wire_encode(&bytes, &n, &c->question);
    if (e)
        return e;
    const int sent = zmq_send(c->socket, bytes, n, ZMQ_DONTWAIT);
    free(bytes);
    c->last_s = clock_seconds();
    if (sent >= 0)
        return ERR_OK;
    log_error("%s: cannot send: %s", c->address, zmq_strerror(zmq_errno()));
    return ERR_UNAVAILABLE;
}

static enum err ask_again(struct client *c)
{
    drop_parts(c);
    curve_connect_anew(&c->watch);
    return send_question(c);
}

// Before it is let in nothing has been said, and ZeroMQ goes on trying.
static enum err mend(struct client *c)
{
    const double quiet_s = clock_seconds() - c->last_s;
    if (!c->watch.was_let_in || quiet_s < AGAIN_S || (!c->watch.lost && quiet_s < SILENCE_S))
        return ERR_OK;
    if (may_repeat(&c->question))
        return ask_again(c);
    if (!c->watch.lost)
        return ERR_OK; // it takes its time
    log_error("%s: the connection broke off; it is not known whether this was done",
              c->address);
    return ERR_UNAVAILABLE;
}

// What has come before the connection broke off is taken.
static enum err turn(struct client *c, bool *got)
{
    zmq_pollitem_t items[] = { { .socket = c->socket, .events = ZMQ_POLLIN },
                               { .socket = c->watch.events, .events = ZMQ_POLLIN } };
    if (interrupt_asked())
        return ERR_STOP;
    zmq_poll(items, 2, LOOK_UP_MS);
    const char *refused = curve_watch_refused(&c->watch);
    const enum err e = receive(c, got);
    if (e || *got)
        return e;
    if (!refused)
        return mend(c);
    log_error("%s: refused: %s", c->address, refused);
    return ERR_CONFIG;
}

// How long to wait from the last word on. A question that takes its time is for somebody who is there.
static double patience_of(const struct client *c)
{
    return c->watch.was_let_in || c->patience_s < CLIENT_PATIENCE_S ? c->patience_s
                                                                    : CLIENT_PATIENCE_S;
}

enum err client_ask(struct client *c, const struct wire_message **answer)
{
    bool got = false, waits = false;
    drop_parts(c);
    enum err e = send_question(c);
    double since_s = clock_seconds();
    while (!e && !(got && is_last(&c->answer))) {
        if (clock_seconds() >= since_s + patience_of(c)) {
            if (!c->persists || !c->was_answered || !may_repeat(&c->question))
                break;
            if (!waits)
                log_warn("%s: no coordinator answers any more; this goes on when one does",
                         c->address);
            waits = true;
        }
        e = turn(c, &got);
        if (got)
            since_s = clock_seconds();
    }
    if (e)
        return e;
    if (!got) {
        log_error("%s: no coordinator answers; is underscored running there?", c->address);
        return ERR_UNAVAILABLE;
    }
    if (waits)
        log_info("%s: answers again", c->address);
    c->was_answered = true;
    return client_next(c, answer);
}

enum err client_next(struct client *c, const struct wire_message **answer)
{
    enum err e = c->next < c->part_count ? decode(c, &c->parts[c->next++]) : ERR_BUG;
    if (e)
        return e;
    *answer = &c->answer;
    if (c->answer.type != WIRE_REJECT)
        return ERR_OK;
    log_error("%s", c->answer.reject.reason);
    return wire_is_later(c->answer.reject.reason) ? ERR_UNAVAILABLE : ERR_INPUT;
}
