// Chunks as results are sent, from one thread to another over TCP: encoded, summed, decoded,
// with credit, and with or without CURVE.
#include "cli/bench_farm.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wire/crc32c.h"
#include "common/wire/wire.h"

struct stream {
    // The receiver's; the sender has its own, as on a farm, where they are two processes.
    void *zmq;
    char address[64], server_public[41], server_secret[41], public[41], secret[41];
    bool curve;
    double seconds;
    enum err error; // of the sender
};

static void *socket_for(const struct stream *s, void *zmq, bool server)
{
    const int on = 1, linger = 0, patience = 10000;
    void *socket = zmq ? zmq_socket(zmq, server ? ZMQ_ROUTER : ZMQ_DEALER) : NULL;
    if (!socket)
        return NULL;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof(patience));
    if (!s->curve)
        return socket;
    if (server) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof(on));
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, s->server_secret, 41);
    } else {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, s->server_public, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, s->public, 41);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, s->secret, 41);
    }
    return socket;
}

static enum err send_chunk(void *socket, struct wire_message *m, const uint8_t *data)
{
    uint8_t *bytes;
    size_t n;
    *m = (struct wire_message){ .type = WIRE_CHUNK };
    m->chunk.attempt = 1;
    m->chunk.what = WIRE_RESULT;
    m->chunk.crc32c = crc32c(0, data, WIRE_CHUNK_BYTES);
    m->chunk.data = (struct wire_bytes){ data, WIRE_CHUNK_BYTES };
    enum err e = wire_encode(&bytes, &n, m);
    if (!e && zmq_send(socket, bytes, n, 0) < 0)
        e = ERR_UNAVAILABLE;
    if (!e)
        free(bytes);
    return e;
}

// As many chunks as there is credit for; an empty answer ends it.
static void *send_all(void *user)
{
    struct stream *s = user;
    struct wire_message *m = malloc(sizeof(*m));
    uint8_t *data = malloc(WIRE_CHUNK_BYTES);
    void *zmq = zmq_ctx_new(), *socket = socket_for(s, zmq, false);
    enum err e =
        m && data && socket && zmq_connect(socket, s->address) == 0 ? ERR_OK : ERR_UNAVAILABLE;
    for (size_t i = 0; !e && i < WIRE_CHUNK_BYTES; i++)
        data[i] = (uint8_t) (i * 2654435761u >> 24);
    for (int i = 0; !e && i < WIRE_CREDIT; i++)
        e = send_chunk(socket, m, data);
    for (char credit; !e && zmq_recv(socket, &credit, 1, 0) > 0;)
        e = send_chunk(socket, m, data);
    s->error = e;
    if (socket)
        zmq_close(socket);
    if (zmq)
        zmq_ctx_term(zmq);
    free(m), free(data);
    return NULL;
}

static enum err take_all(const struct stream *s, void *socket, double *mb_s)
{
    struct wire_message *m = malloc(sizeof(*m));
    uint64_t bytes = 0;
    double begun = 0, now = 0;
    uint8_t id[64];
    enum err e = m ? ERR_OK : ERR_NOMEM;
    while (!e && (begun <= 0 || now - begun < s->seconds)) {
        zmq_msg_t message;
        const char *why;
        zmq_msg_init(&message);
        const int n = zmq_recv(socket, id, sizeof(id), 0);
        if (n < 0 || zmq_msg_recv(&message, socket, 0) < 0 ||
            wire_decode(m, zmq_msg_data(&message), zmq_msg_size(&message), &why) ||
            crc32c(0, m->chunk.data.data, m->chunk.data.bytes) != m->chunk.crc32c)
            e = ERR_UNAVAILABLE;
        now = clock_seconds();
        if (begun <= 0)
            begun = now; // the handshake is over
        else if (!e)
            bytes += m->chunk.data.bytes;
        if (!e && (zmq_send(socket, id, (size_t) n, ZMQ_SNDMORE) < 0 ||
                   zmq_send(socket, "c", 1, 0) < 0))
            e = ERR_UNAVAILABLE;
        zmq_msg_close(&message);
        if (!e && now - begun >= s->seconds &&
            (zmq_send(socket, id, (size_t) n, ZMQ_SNDMORE) < 0 ||
             zmq_send(socket, "", 0, 0) < 0))
            e = ERR_UNAVAILABLE;
    }
    *mb_s = now > begun ? (double) bytes / 1e6 / (now - begun) : 0;
    free(m);
    return e;
}

enum err bench_bulk(double *mb_s, bool curve, double seconds)
{
    struct stream s = { .zmq = zmq_ctx_new(), .curve = curve, .seconds = seconds };
    size_t size = sizeof(s.address);
    pthread_t sender;
    wire_keep_memory();
    *mb_s = 0;
    if (!s.zmq)
        return ERR_NOMEM;
    if (curve && (zmq_curve_keypair(s.server_public, s.server_secret) != 0 ||
                  zmq_curve_keypair(s.public, s.secret) != 0)) {
        zmq_ctx_term(s.zmq);
        return ERR_UNAVAILABLE;
    }
    void *socket = socket_for(&s, s.zmq, true);
    enum err e = socket && zmq_bind(socket, "tcp://127.0.0.1:*") == 0 &&
                         zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, s.address, &size) == 0 &&
                         pthread_create(&sender, NULL, send_all, &s) == 0
                     ? ERR_OK
                     : ERR_UNAVAILABLE;
    if (!e) {
        e = take_all(&s, socket, mb_s);
        pthread_join(sender, NULL);
        e = e ? e : s.error;
    }
    if (e)
        log_error("chunks did not get through: %s", err_text(e));
    if (socket)
        zmq_close(socket);
    zmq_ctx_term(s.zmq);
    return e;
}
