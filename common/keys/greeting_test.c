// What listeners of every kind say of themselves, or do not.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "common/keys/curve.h"
#include "common/keys/greeting.h"

static void check(void *zmq, bool keys, const char *bind_to, const char *says)
{
    char address[256], mechanism[GREETING_MECHANISM_BYTES];
    size_t bytes = sizeof(address);
    struct key_pair pair = { 0 };
    const int linger = 0;
    void *socket = zmq_socket(zmq, ZMQ_ROUTER);
    assert_non_null(socket);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger));
    assert_int_equal(zmq_curve_keypair(pair.public_half, pair.secret_half), 0);
    if (keys)
        assert_int_equal(curve_listen(socket, &pair), ERR_OK);
    assert_int_equal(zmq_bind(socket, bind_to), 0);
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, address, &bytes), 0);
    assert_true(greeting_mechanism(mechanism, address));
    assert_string_equal(mechanism, says);
    zmq_close(socket);
}

static void test_peers(void **state)
{
    (void) state;
    char ipc[64];
    void *zmq = zmq_ctx_new();
    snprintf(ipc, sizeof(ipc), "ipc:///tmp/greeting_test.%d", (int) getpid());
    check(zmq, false, "tcp://127.0.0.1:*", "NULL");
    check(zmq, true, "tcp://127.0.0.1:*", "CURVE");
    check(zmq, false, ipc, "NULL");
    check(zmq, true, ipc, "CURVE");
    zmq_ctx_term(zmq);
    unlink(ipc + strlen("ipc://"));
}

// No addresses, nobody there, and somebody who says nothing.
static void test_others(void **state)
{
    (void) state;
    char address[128], mechanism[GREETING_MECHANISM_BYTES];
    struct sockaddr_un here = { .sun_family = AF_UNIX };
    static const char *const nobody[] = {
        "tcp://127.0.0.1:1", "tcp://127.0.0.1", "tcp://:", "tcp://[::1]:1",
        "ipc:///nowhere",    "inproc://x",      "",        "tcp://"
    };
    for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
        assert_false(greeting_mechanism(mechanism, nobody[i]));
        assert_string_equal(mechanism, "");
    }
    snprintf(here.sun_path, sizeof(here.sun_path), "/tmp/greeting_test.other.%d",
             (int) getpid());
    snprintf(address, sizeof(address), "ipc://%s", here.sun_path);
    const int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *) &here, sizeof(here)), 0);
    assert_int_equal(listen(listener, 4), 0);
    // It listens and says nothing: a second, no more.
    assert_false(greeting_mechanism(mechanism, address));
    close(listener);
    assert_false(greeting_mechanism(mechanism, address));
    unlink(here.sun_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
