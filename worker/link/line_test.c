// A worker's connections, on a clock of our own: when they are made anew.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "worker/link/line.h"

#define BEAT_S 1.0
#define TURN_S 0.05
#define PATIENCE 200 // turns

// A coordinator that answers what it is told to, or hangs up on whoever comes.
struct far {
    void *zmq, *control, *bulk;
    int rude; // a listening socket, on bulk, or -1
    char control_at[64], bulk_at[64];
    struct line line;
    unsigned control_heard, bulk_heard;
};

static void *bind_any(struct far *f, char at[64])
{
    size_t n = 64;
    void *socket = zmq_socket(f->zmq, ZMQ_ROUTER);
    assert_non_null(socket);
    assert_int_equal(zmq_bind(socket, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, at, &n), 0);
    return socket;
}

static int listen_any(char at[64])
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *) &a, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *) &a, &n), 0);
    snprintf(at, 64, "tcp://127.0.0.1:%u", (unsigned) ntohs(a.sin_port));
    return fd;
}

static void begin(struct far *f, bool rude)
{
    *f = (struct far){ .zmq = zmq_ctx_new(), .rude = -1 };
    f->control = bind_any(f, f->control_at);
    if (rude)
        f->rude = listen_any(f->bulk_at);
    else
        f->bulk = bind_any(f, f->bulk_at);
    assert_int_equal(line_open(&f->line, f->control_at, f->bulk_at, &(struct curve_files){ 0 }),
                     ERR_OK);
    f->line.epoch = 1;
}

static void end(struct far *f)
{
    const int linger = 0;
    line_close(&f->line);
    for (int i = 0; i < 2; i++) {
        void *socket = i ? f->bulk : f->control;
        if (!socket)
            continue;
        zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_close(socket);
    }
    if (f->rude >= 0)
        close(f->rude);
    zmq_ctx_term(f->zmq);
}

static void on_control(void *user, double now)
{
    (void) now;
    ((struct far *) user)->control_heard++;
}

static void on_bulk(void *user, double now)
{
    (void) now;
    ((struct far *) user)->bulk_heard++;
}

// Says something on one end, once, and has it come back.
static void hear(struct far *f, bool bulk, double now)
{
    unsigned *heard = bulk ? &f->bulk_heard : &f->control_heard;
    const unsigned before = *heard;
    void *socket = bulk ? f->bulk : f->control;
    bool sent = false;
    for (int i = 0; i < PATIENCE && *heard == before; i++) {
        line_say(&f->line, bulk ? WIRE_OPEN : WIRE_PULL);
        sent = sent || line_send(&f->line);
        zmq_msg_t part;
        zmq_msg_init(&part);
        while (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) >= 0)
            zmq_msg_send(&part, socket, zmq_msg_more(&part) ? ZMQ_SNDMORE : 0);
        zmq_msg_close(&part);
        line_wait(&f->line, -1);
        line_receive(&f->line, on_control, on_bulk, f, now);
    }
    assert_int_equal(*heard, before + 1);
}

static void test_silent_bulk_is_made_anew_while_it_is_waited_for(void **state)
{
    (void) state;
    struct far f;
    begin(&f, false);
    const double now = clock_seconds();
    hear(&f, false, now);
    hear(&f, true, now);
    for (int s = 0; s < 60; s++) { // nothing is asked for there
        f.line.control.heard_s = now + s;
        assert_false(line_mend(&f.line, BEAT_S, false, now + s));
    }
    double at = 0;
    for (int turn = 0; turn < 200 && at <= 0; turn++) {
        const double s = 60 + turn * TURN_S;
        f.line.control.heard_s = now + s;
        if (line_mend(&f.line, BEAT_S, true, now + s))
            at = s;
    }
    assert_true(at > 63 && at < 65);
    hear(&f, true, now + at); // and it works
    assert_false(f.line.silent);
    end(&f);
}

static void test_a_coordinator_that_is_slow_is_waited_for(void **state)
{
    (void) state;
    struct far f;
    begin(&f, false);
    const double now = clock_seconds();
    hear(&f, false, now);
    hear(&f, true, now);
    for (int turn = 0; turn < 120; turn++) {
        if (turn == 98) // nothing came for 4.9 s; then control is first
            f.line.control.heard_s = now + turn * TURN_S;
        assert_false(line_mend(&f.line, BEAT_S, true, now + turn * TURN_S));
    }
    end(&f);
}

static void test_both_are_made_anew_when_control_is_silent(void **state)
{
    (void) state;
    struct far f;
    begin(&f, false);
    const double now = clock_seconds();
    hear(&f, false, now);
    assert_false(line_mend(&f.line, BEAT_S, false, now + 4.9));
    assert_true(line_mend(&f.line, BEAT_S, false, now + 5.2));
    assert_true(f.line.silent);
    assert_false(line_mend(&f.line, BEAT_S, false, now + 5.3)); // it has as long again
    assert_true(f.line.silent);
    hear(&f, false, now + 5.4);
    hear(&f, true, now + 5.4);
    assert_false(line_mend(&f.line, BEAT_S, false, now + 5.5));
    assert_false(f.line.silent);
    end(&f);
}

static void test_what_breaks_off_is_made_anew_at_once(void **state)
{
    (void) state;
    struct far f;
    begin(&f, true);
    const double start = clock_seconds();
    unsigned mended = 0, accepted = 0;
    // One second and a bit, but for a busy machine.
    while (mended < 2 && clock_seconds() < start + 60) {
        const int fd = accept(f.rude, NULL, NULL);
        if (fd >= 0) {
            // The beginning of a ZMTP greeting.
            const char greeting[] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL";
            accepted++;
            assert_true(write(fd, greeting, sizeof(greeting)) > 0);
            usleep(10000);
            close(fd);
        }
        line_wait(&f.line, -1);
        f.line.control.heard_s = clock_seconds();
        assert_int_equal(line_refused(&f.line), ERR_OK);
        mended += line_mend(&f.line, BEAT_S, false, clock_seconds());
    }
    assert_int_equal(mended, 2);
    assert_true(accepted >= 2);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_bulk_is_made_anew_while_it_is_waited_for),
        cmocka_unit_test(test_a_coordinator_that_is_slow_is_waited_for),
        cmocka_unit_test(test_both_are_made_anew_when_control_is_silent),
        cmocka_unit_test(test_what_breaks_off_is_made_anew_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
