// The workers that `bench farm` lets loose: what worker/link says to the coordinator, for many
// workers in one thread, and a clock where they would compose.
#include "cli/bench_farm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/parts/parts.h"
#include "common/wire/crc32c.h"
#include "common/wire/wire.h"

#define BEAT_S 5.0
#define PATIENCE_S 60.0
#define LOOK_AGAIN_S 0.02
#define HOP 100
#define MOST_PART 65536

struct hand {
    void *control, *bulk;
    uint64_t seq;
    bool welcome;
    uint64_t attempt, fence; // 0: it has none
    uint32_t columns;
    char key[WIRE_KEY_BYTES];
    double ready_s; // when it is composed; 0: it is on its way
    double beat_s;
};

struct crew {
    const struct bench_crew *p;
    void *zmq;
    int poll;
    struct hand *hands;
    uint32_t welcome;
    struct wire_message in, out;
    uint8_t part[MOST_PART];
    char draft[64];
    struct bench_crew_result *result;
    bool measuring;
    enum err error;
};

static struct wire_message *say(struct crew *c, struct hand *h, enum wire_type type)
{
    c->out = (struct wire_message){ .type = type,
                                    .seq = ++h->seq,
                                    .incarnation = (uint64_t) (h - c->hands) + 1 };
    return &c->out;
}

static void send_it(struct crew *c, struct hand *h)
{
    uint8_t *bytes;
    size_t n;
    c->error = c->error ? c->error : wire_encode(&bytes, &n, &c->out);
    if (c->error)
        return;
    zmq_send(wire_is_bulk(c->out.type) ? h->bulk : h->control, bytes, n, ZMQ_DONTWAIT);
    free(bytes);
}

static void hello(struct crew *c, struct hand *h)
{
    struct wire_hello *m = &say(c, h, WIRE_HELLO)->hello;
    snprintf(m->name, sizeof(m->name), "bench/%ld", (long) (h - c->hands));
    snprintf(m->device, sizeof(m->device), "a clock");
    m->slots = 1;
    m->rate = 1.5 / c->p->compose_s;
    m->model = (struct wire_model){ .sample_rate = 1000,
                                    .hop = HOP,
                                    .max_duration_ms = 2000,
                                    .frames_per_s = 0.01,
                                    .image = 1,
                                    .codebooks = 1 };
    memset(m->model.sha256, '0', WIRE_SHA256_BYTES - 1);
    send_it(c, h);
}

static void pull(struct crew *c, struct hand *h)
{
    say(c, h, WIRE_PULL)->pull.want = h->attempt ? 0 : 1;
    send_it(c, h);
}

static void beat(struct crew *c, struct hand *h, double now)
{
    struct wire_message *m = say(c, h, WIRE_BEAT);
    m->beat.progress = h->seq;
    m->beat.rate = 1.5 / c->p->compose_s;
    m->beat.held.count = h->attempt ? 1 : 0;
    m->beat.held.id[0] = h->attempt;
    send_it(c, h);
    h->beat_s = now;
}

// A part of silence, as a worker would write it.
static size_t make_part(struct crew *c, const struct hand *h)
{
    static const int32_t tokens[1024];
    static const float pcm[1024 * HOP];
    const enum err e = part_file_write(
        c->draft, &(struct part_content){ .key = h->key,
                                          .codebooks = 1,
                                          .columns = h->columns,
                                          .tokens = tokens,
                                          .samples = (uint64_t) h->columns * HOP,
                                          .pcm = pcm });
    FILE *f = e ? NULL : fopen(c->draft, "rb");
    const size_t n = f ? fread(c->part, 1, sizeof(c->part), f) : 0;
    if (f)
        fclose(f);
    return n;
}

static void open_result(struct crew *c, struct hand *h)
{
    const size_t n = make_part(c, h);
    struct wire_message *m = say(c, h, WIRE_OPEN);
    m->open.attempt = h->attempt;
    m->open.fence = h->fence;
    m->open.bytes = n;
    h->ready_s = 0;
    send_it(c, h);
}

static void send_result(struct crew *c, struct hand *h)
{
    const size_t n = make_part(c, h);
    struct wire_message *m = say(c, h, WIRE_CHUNK);
    m->chunk.attempt = h->attempt;
    m->chunk.what = WIRE_RESULT;
    m->chunk.crc32c = crc32c(0, c->part, n);
    m->chunk.data = (struct wire_bytes){ c->part, (uint32_t) n };
    send_it(c, h);
    m = say(c, h, WIRE_COMMIT);
    m->commit.attempt = h->attempt;
    m->commit.fence = h->fence;
    m->commit.bytes = n;
    m->commit.crc32c = crc32c(0, c->part, n);
    send_it(c, h);
}

static void on_lease(struct crew *c, struct hand *h, double now)
{
    const struct wire_lease *l = &c->in.lease;
    if (!h->attempt && l->columns <= 1024) {
        h->attempt = l->attempt;
        h->fence = l->fence;
        h->columns = l->columns;
        memcpy(h->key, l->key, sizeof(h->key));
        h->ready_s = now + c->p->compose_s;
    }
    say(c, h, WIRE_LEASE_ACK)->lease_ack.attempt = l->attempt;
    send_it(c, h);
}

static void settle(struct crew *c, struct hand *h, bool accepted)
{
    c->result->accepted += accepted && c->measuring;
    c->result->refused += !accepted;
    h->attempt = 0;
    h->ready_s = 0;
    pull(c, h);
}

static void hear(struct crew *c, struct hand *h, double now)
{
    switch ((int) c->in.type) {
    case WIRE_WELCOME:
        c->welcome += !h->welcome;
        h->welcome = true;
        pull(c, h);
        break;
    case WIRE_LEASE: on_lease(c, h, now); break;
    case WIRE_CREDITS:
        if (c->in.credits.chunks > 1) // of the opening; one more comes for the chunk
            send_result(c, h);
        break;
    case WIRE_ACCEPTED: settle(c, h, true); break;
    case WIRE_STALE:
    case WIRE_DUP: settle(c, h, false); break;
    case WIRE_CANCEL:
        if (c->in.cancel.attempt == h->attempt && h->ready_s > 0)
            settle(c, h, false);
        break;
    case WIRE_CORRUPT:
    case WIRE_NOSPACE:
        c->result->refused++;
        h->ready_s = now + 1;
        break;
    default: break;
    }
}

static void receive(struct crew *c, struct hand *h, void *socket, double now)
{
    for (;;) {
        zmq_msg_t m;
        const char *why;
        zmq_msg_init(&m);
        const int n = zmq_msg_recv(&m, socket, ZMQ_DONTWAIT);
        if (n >= 0 && !wire_decode(&c->in, zmq_msg_data(&m), (size_t) n, &why))
            hear(c, h, now);
        zmq_msg_close(&m);
        if (n < 0)
            return;
    }
}

// A socket's descriptor speaks up once for several messages, and sending may take that away:
// so all of a worker's are received whenever it has done anything.
static void attend(struct crew *c, struct hand *h, double now)
{
    receive(c, h, h->control, now);
    receive(c, h, h->bulk, now);
    receive(c, h, h->control, now);
}

static enum err connect_to(struct crew *c, struct hand *h, void **socket, const char *address)
{
    const int linger = 0;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET,
                                 .data.u32 = (uint32_t) (h - c->hands) };
    int fd;
    size_t size = sizeof(fd);
    *socket = zmq_socket(c->zmq, ZMQ_DEALER);
    if (!*socket || zmq_setsockopt(*socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
        zmq_connect(*socket, address) != 0 ||
        zmq_getsockopt(*socket, ZMQ_FD, &fd, &size) != 0 ||
        epoll_ctl(c->poll, EPOLL_CTL_ADD, fd, &event) != 0) {
        log_error("%s: no connection for worker %ld: %s", address, (long) (h - c->hands),
                  zmq_strerror(errno));
        return ERR_UNAVAILABLE;
    }
    return ERR_OK;
}

static enum err set_up(struct crew *c, const struct bench_crew *p)
{
    c->poll = epoll_create1(EPOLL_CLOEXEC);
    c->zmq = zmq_ctx_new();
    c->hands = calloc(p->workers, sizeof(*c->hands));
    if (!c->zmq || !c->hands || c->poll < 0)
        return ERR_NOMEM;
    zmq_ctx_set(c->zmq, ZMQ_MAX_SOCKETS, (int) (2 * p->workers + 16));
    snprintf(c->draft, sizeof(c->draft), "/dev/shm/underscore-bench-%ld.part", (long) getpid());
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < p->workers; i++) {
        e = connect_to(c, &c->hands[i], &c->hands[i].control, p->site->control);
        if (!e)
            e = connect_to(c, &c->hands[i], &c->hands[i].bulk, p->site->bulk);
        if (!e)
            hello(c, &c->hands[i]);
    }
    return e;
}

static void turn(struct crew *c)
{
    struct epoll_event events[256];
    const int n = epoll_wait(c->poll, events, 256, 2);
    const double now = clock_seconds();
    for (int i = 0; i < n; i++)
        attend(c, &c->hands[events[i].data.u32], now);
}

static void keep_going(struct crew *c, double now)
{
    for (uint32_t i = 0; i < c->p->workers; i++) {
        struct hand *h = &c->hands[i];
        if (h->ready_s > 0 && now >= h->ready_s)
            open_result(c, h);
        else if (h->welcome && now - h->beat_s > BEAT_S)
            beat(c, h, now);
        else
            continue;
        attend(c, h, now);
    }
}

static enum err all_are_welcome(struct crew *c)
{
    const double begun = clock_seconds();
    while (c->welcome < c->p->workers && !c->error) {
        turn(c);
        if (interrupt_asked())
            return ERR_STOP;
        if (clock_seconds() - begun < PATIENCE_S)
            continue;
        log_error("%u of %u workers were welcomed in %.0f s", c->welcome, c->p->workers,
                  PATIENCE_S);
        return ERR_UNAVAILABLE;
    }
    return c->error;
}

static enum err work(struct crew *c)
{
    const struct bench_crew *p = c->p;
    const double cpu = bench_site_cpu_s(p->site), begun = clock_seconds();
    double now = begun, looked = begun;
    bool is_over = true;
    c->measuring = true;
    while (!c->error &&
           ((now - begun < p->seconds && c->result->accepted < p->most) || !is_over)) {
        turn(c);
        if (interrupt_asked())
            return ERR_STOP;
        now = clock_seconds();
        if (now - looked > LOOK_AGAIN_S) {
            keep_going(c, now);
            looked = now;
            is_over = !p->attend || p->attend(p->user);
        }
    }
    c->result->seconds = now - begun;
    c->result->cpu_s = bench_site_cpu_s(p->site) - cpu;
    return c->error;
}

static void dismiss(struct crew *c)
{
    for (uint32_t i = 0; c->hands && i < c->p->workers; i++) {
        if (c->hands[i].control)
            zmq_close(c->hands[i].control);
        if (c->hands[i].bulk)
            zmq_close(c->hands[i].bulk);
    }
    if (c->zmq)
        zmq_ctx_term(c->zmq);
    if (c->poll >= 0)
        close(c->poll);
    unlink(c->draft);
    free(c->hands);
}

enum err bench_crew_run(struct bench_crew_result *out, const struct bench_crew *crew)
{
    struct crew *c = calloc(1, sizeof(*c));
    *out = (struct bench_crew_result){ 0 };
    if (!c)
        return ERR_NOMEM;
    c->p = crew;
    c->result = out;
    enum err e = set_up(c, crew);
    if (!e)
        e = all_are_welcome(c);
    if (!e)
        e = work(c);
    dismiss(c);
    free(c);
    return e;
}
