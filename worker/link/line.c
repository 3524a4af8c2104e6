#include "worker/link/line.h"

#include <math.h>
#include <stdlib.h>
#include <sys/random.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define HIGH_WATER 1000
#define GOODBYE_LINGER_MS 1000
#define LARGEST_MESSAGE (2 << 20)
#define AT_ONCE 256 // messages of one end, before it is the other's turn
// How long an answer may take before a connection that still seems to be there is made anew.
#define SILENCE_S 5.0
#define SILENCE_BEATS 5
// While the coordinator is slow to answer on control, bulk's silence means nothing.
#define PROMPT_BEATS 2
// What is not open after so long does not open any more. ZeroMQ alone waits for 30 s.
#define HANDSHAKE_MS 3000
// A connection that is lost at once each time is not made anew more often than this.
#define AGAIN_S 0.5

static enum err end_open(struct line_end *end, void *zmq, const char *address,
                         const struct curve_files *keys)
{
    const int immediate = 1, linger = 0, high_water = HIGH_WATER, handshake = HANDSHAKE_MS;
    const int64_t largest = LARGEST_MESSAGE;
    end->address = address;
    end->heard_s = end->made_s = clock_seconds();
    end->socket = zmq_socket(zmq, ZMQ_DEALER);
    if (end->socket) {
        zmq_setsockopt(end->socket, ZMQ_IMMEDIATE, &immediate, sizeof(immediate));
        zmq_setsockopt(end->socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_setsockopt(end->socket, ZMQ_SNDHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(end->socket, ZMQ_RCVHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(end->socket, ZMQ_HANDSHAKE_IVL, &handshake, sizeof(handshake));
        zmq_setsockopt(end->socket, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
        enum err e = curve_connect(end->socket, keys);
        if (!e)
            e = curve_watch_open(&end->watch, zmq, end->socket, keys, address);
        if (e)
            return e;
        if (zmq_connect(end->socket, address) == 0)
            return ERR_OK;
    }
    log_error("%s: cannot connect: %s", address, zmq_strerror(zmq_errno()));
    return ERR_USAGE;
}

static void end_close(struct line_end *end)
{
    const int linger = GOODBYE_LINGER_MS;
    curve_watch_close(&end->watch);
    if (!end->socket)
        return;
    zmq_setsockopt(end->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_close(end->socket);
}

static void connect_anew(struct line_end *end, double now)
{
    end->made_s = now;
    curve_connect_anew(&end->watch);
}

enum err line_open(struct line *l, const char *control, const char *bulk,
                   const struct curve_files *keys)
{
    l->zmq = zmq_ctx_new();
    if (!l->zmq)
        return ERR_NOMEM;
    if (getrandom(&l->incarnation, sizeof(l->incarnation), 0) != sizeof(l->incarnation))
        return ERR_UNAVAILABLE;
    const enum err e = end_open(&l->control, l->zmq, control, keys);
    return e ? e : end_open(&l->bulk, l->zmq, bulk, keys);
}

void line_close(struct line *l)
{
    end_close(&l->control);
    end_close(&l->bulk);
    if (l->zmq)
        zmq_ctx_term(l->zmq);
    *l = (struct line){ 0 };
}

struct wire_message *line_say(struct line *l, enum wire_type type)
{
    l->out = (struct wire_message){ .type = type,
                                    .seq = ++l->seq,
                                    .incarnation = l->incarnation,
                                    .epoch = l->epoch };
    return &l->out;
}

bool line_send(struct line *l)
{
    uint8_t *bytes;
    size_t n;
    if (wire_encode(&bytes, &n, &l->out))
        return false;
    const int sent = zmq_send(wire_is_bulk(l->out.type) ? l->bulk.socket : l->control.socket,
                              bytes, n, ZMQ_DONTWAIT);
    free(bytes);
    return sent >= 0;
}

void line_wait(struct line *l, int wake)
{
    zmq_pollitem_t items[] = {
        { .socket = l->control.socket, .events = ZMQ_POLLIN },
        { .socket = l->bulk.socket, .events = ZMQ_POLLIN },
        { .fd = wake, .events = ZMQ_POLLIN },
    };
    zmq_poll(items, wake < 0 ? 2 : 3, LINE_TICK_MS);
}

static void receive(struct line *l, struct line_end *end, line_on *on, void *user, double now)
{
    for (int i = 0; i < AT_ONCE; i++) {
        zmq_msg_t message;
        const char *why;
        zmq_msg_init(&message);
        const int n = zmq_msg_recv(&message, end->socket, ZMQ_DONTWAIT);
        if (n >= 0)
            end->heard_s = now;
        if (n >= 0 && !zmq_msg_more(&message)) {
            if (!wire_decode(&l->in, zmq_msg_data(&message), (size_t) n, &why))
                on(user, now);
            else
                log_debug("a message of the coordinator dropped: %s", why);
        }
        zmq_msg_close(&message);
        if (n < 0)
            return;
    }
}

void line_receive(struct line *l, line_on *on_control, line_on *on_bulk, void *user, double now)
{
    receive(l, &l->control, on_control, user, now);
    receive(l, &l->bulk, on_bulk, user, now);
}

static bool is_lost(const struct line_end *end, double now)
{
    return end->watch.lost && now - end->made_s > AGAIN_S;
}

static bool is_silent(const struct line_end *end, double most_s, double now)
{
    return now - fmax(end->heard_s, end->made_s) > most_s;
}

bool line_mend(struct line *l, double beat_s, bool waits, double now)
{
    const double most_s = fmax(SILENCE_S, beat_s * SILENCE_BEATS);
    const bool silent = is_silent(&l->control, most_s, now);
    if (silent && l->epoch != 0 && !l->silent)
        log_warn(
            "nothing heard of the coordinator for %.0f s: connecting anew until it answers",
            most_s);
    l->silent = silent || (l->silent && l->control.heard_s < l->control.made_s);
    if (silent || is_lost(&l->control, now))
        connect_anew(&l->control, now);
    if (!waits || now - l->control.heard_s > beat_s * PROMPT_BEATS)
        l->bulk.heard_s = now;
    // Where control was silent, bulk is not likely to have fared better.
    if (!silent && !is_lost(&l->bulk, now) && !is_silent(&l->bulk, most_s, now))
        return false;
    connect_anew(&l->bulk, now);
    return true;
}

enum err line_refused(struct line *l)
{
    struct line_end *ends[] = { &l->control, &l->bulk };
    for (int i = 0; i < 2; i++) {
        const char *why = curve_watch_refused(&ends[i]->watch);
        if (!why)
            continue;
        log_error("%s: refused: %s", ends[i]->address, why);
        return ERR_CONFIG;
    }
    return ERR_OK;
}
