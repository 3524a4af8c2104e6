#include "worker/link/link_socket.h"

#include <zmq.h>

#include "common/base/log.h"

#define HIGH_WATER 1000
#define GOODBYE_LINGER_MS 1000
#define LARGEST_MESSAGE (2 << 20)

enum err link_socket_open(void **out, const struct link_socket_params *p)
{
    const int immediate = 1, linger = 0, high_water = HIGH_WATER;
    const int64_t largest = LARGEST_MESSAGE;
    *out = zmq_socket(p->zmq, ZMQ_DEALER);
    if (*out) {
        zmq_setsockopt(*out, ZMQ_IMMEDIATE, &immediate, sizeof(immediate));
        zmq_setsockopt(*out, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_setsockopt(*out, ZMQ_SNDHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(*out, ZMQ_RCVHWM, &high_water, sizeof(high_water));
        zmq_setsockopt(*out, ZMQ_MAXMSGSIZE, &largest, sizeof(largest));
        enum err e = curve_connect(*out, p->keys);
        if (!e && p->watch)
            e = curve_watch_open(p->watch, p->zmq, *out, p->keys, p->address);
        if (e)
            return e;
        if (zmq_connect(*out, p->address) == 0)
            return ERR_OK;
    }
    log_error("%s: cannot connect: %s", p->address, zmq_strerror(zmq_errno()));
    return ERR_USAGE;
}

void link_socket_close(void **socket)
{
    const int linger = GOODBYE_LINGER_MS;
    if (!*socket)
        return;
    zmq_setsockopt(*socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_close(*socket);
    *socket = NULL;
}
