// A client and a coordinator that hangs up or says nothing: what is asked again, and what is not.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zmq.h>

#include "cli/farm/client.h"
#include "common/base/clock.h"

#define TURN_MS 10
#define AWAY_MS 1200
#define PATIENCE_S 60 // of a busy machine

// Answers with a line and LISTED; the first question with another line alone before it hangs
// up, or not at all; the second one after it was away for a while.
struct far {
    void *zmq, *socket;
    char at[64];
    bool hangs_up, is_silent, goes_away;
    atomic_uint asked;
    atomic_bool stop;
    pthread_t thread;
    struct client *c;
};

static void listen_at(struct far *f, const char *at)
{
    f->socket = zmq_socket(f->zmq, ZMQ_ROUTER);
    while (zmq_bind(f->socket, at) != 0) // until the one before is gone
        zmq_poll(NULL, 0, TURN_MS);
}

static void say(struct far *f, zmq_msg_t *to, const struct wire_message *m)
{
    uint8_t *bytes;
    size_t n;
    zmq_msg_t id;
    if (wire_encode(&bytes, &n, m))
        return;
    zmq_msg_init(&id);
    zmq_msg_copy(&id, to);
    if (zmq_msg_send(&id, f->socket, ZMQ_SNDMORE) < 0 || zmq_send(f->socket, bytes, n, 0) < 0)
        zmq_msg_close(&id);
    free(bytes);
}

static void say_line(struct far *f, zmq_msg_t *to, const char *text)
{
    struct wire_message m = { .type = WIRE_LINE };
    snprintf(m.line.text, sizeof(m.line.text), "%s", text);
    say(f, to, &m);
}

static void answer(struct far *f, zmq_msg_t *to)
{
    const unsigned before = atomic_fetch_add(&f->asked, 1);
    const bool first = before == 0;
    if (first && f->is_silent)
        return;
    if (before == 1 && f->goes_away) {
        zmq_close(f->socket);
        zmq_poll(NULL, 0, AWAY_MS);
        listen_at(f, f->at);
        return;
    }
    say_line(f, to, first && f->hangs_up ? "half" : "whole");
    if (!first || !f->hangs_up) {
        say(f, to, &(struct wire_message){ .type = WIRE_LISTED });
        return;
    }
    zmq_close(f->socket);
    listen_at(f, f->at);
}

static void *run(void *user)
{
    struct far *f = user;
    while (!atomic_load(&f->stop)) {
        zmq_pollitem_t item = { .socket = f->socket, .events = ZMQ_POLLIN };
        zmq_msg_t id, body;
        if (zmq_poll(&item, 1, TURN_MS) <= 0)
            continue;
        zmq_msg_init(&id);
        zmq_msg_init(&body);
        if (zmq_msg_recv(&id, f->socket, 0) >= 0 && zmq_msg_recv(&body, f->socket, 0) >= 0)
            answer(f, &id);
        zmq_msg_close(&id);
        zmq_msg_close(&body);
    }
    zmq_close(f->socket);
    return NULL;
}

static void begin(struct far *f, bool hangs_up, bool is_silent, bool goes_away)
{
    *f = (struct far){ .zmq = zmq_ctx_new(),
                       .hangs_up = hangs_up,
                       .is_silent = is_silent,
                       .goes_away = goes_away };
    size_t n = sizeof(f->at);
    listen_at(f, "tcp://127.0.0.1:*");
    assert_int_equal(zmq_getsockopt(f->socket, ZMQ_LAST_ENDPOINT, f->at, &n), 0);
    assert_int_equal(client_open(&f->c, &(struct farm_settings){ .address = f->at }), ERR_OK);
    client_patience(f->c, PATIENCE_S);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
}

static void end(struct far *f)
{
    client_close(&f->c);
    atomic_store(&f->stop, true);
    pthread_join(f->thread, NULL);
    zmq_ctx_term(f->zmq);
}

static void expect_whole(struct far *f)
{
    const struct wire_message *m;
    assert_int_equal(client_ask(f->c, &m), ERR_OK);
    assert_int_equal(m->type, WIRE_LINE);
    assert_string_equal(m->line.text, "whole");
    assert_int_equal(client_next(f->c, &m), ERR_OK);
    assert_int_equal(m->type, WIRE_LISTED);
}

static void test_half_an_answer_is_asked_for_again(void **state)
{
    (void) state;
    struct far f;
    begin(&f, true, false, false);
    client_question(f.c, WIRE_EXPLAIN)->explain.job = 1;
    expect_whole(&f);
    end(&f);
}

static void test_silence_is_not_waited_out(void **state)
{
    (void) state;
    struct far f;
    begin(&f, false, true, false);
    client_question(f.c, WIRE_EXPLAIN)->explain.job = 1;
    expect_whole(&f);
    end(&f);
}

static void test_a_film_is_submitted_again(void **state)
{
    (void) state;
    struct far f;
    begin(&f, true, false, false);
    client_question(f.c, WIRE_SUBMIT);
    expect_whole(&f);
    end(&f);
}

// What would be done twice; and the connection is there for the next.
static void expect_once(enum wire_type type)
{
    struct far f;
    const struct wire_message *m;
    begin(&f, true, false, false);
    struct wire_message *q = client_question(f.c, type);
    if (type == WIRE_SUBMIT)
        q->submit.force = true;
    assert_int_equal(client_ask(f.c, &m), ERR_UNAVAILABLE);
    assert_int_equal(atomic_load(&f.asked), 1);
    client_question(f.c, WIRE_SHOW)->show.job = 1;
    expect_whole(&f);
    end(&f);
}

static void test_what_would_be_done_twice_is_not(void **state)
{
    (void) state;
    expect_once(WIRE_ORDER);
    expect_once(WIRE_LEDGER);
    expect_once(WIRE_SUBMIT);
}

// Longer than it has patience for.
static void is_away_in_between(bool persists)
{
    struct far f;
    const struct wire_message *m;
    begin(&f, false, false, true);
    if (persists)
        client_persist(f.c);
    client_question(f.c, WIRE_SHOW)->show.job = 1;
    expect_whole(&f);
    client_patience(f.c, AWAY_MS / 4e3);
    client_question(f.c, WIRE_SHOW)->show.job = 1;
    if (persists)
        expect_whole(&f);
    else
        assert_int_equal(client_ask(f.c, &m), ERR_UNAVAILABLE);
    end(&f);
}

static void test_one_that_persists_waits_on(void **state)
{
    (void) state;
    is_away_in_between(true);
    is_away_in_between(false);
}

static void test_nobody_there_from_the_start(void **state)
{
    (void) state;
    struct client *c;
    const struct wire_message *m;
    assert_int_equal(client_open(&c, &(struct farm_settings){ .address = "tcp://127.0.0.1:1" }),
                     ERR_OK);
    client_patience(c, 0.3);
    client_persist(c);
    client_question(c, WIRE_SHOW)->show.job = 1;
    assert_int_equal(client_ask(c, &m), ERR_UNAVAILABLE);
    // Nor does a question that takes its time wait longer for nobody.
    const double from_s = clock_seconds();
    client_patience(c, 10 * CLIENT_PATIENCE_S);
    assert_int_equal(client_ask(c, &m), ERR_UNAVAILABLE);
    assert_true(clock_seconds() - from_s < 5 * CLIENT_PATIENCE_S);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_half_an_answer_is_asked_for_again),
        cmocka_unit_test(test_silence_is_not_waited_out),
        cmocka_unit_test(test_a_film_is_submitted_again),
        cmocka_unit_test(test_what_would_be_done_twice_is_not),
        cmocka_unit_test(test_one_that_persists_waits_on),
        cmocka_unit_test(test_nobody_there_from_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
