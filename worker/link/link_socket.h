// link_socket: a worker's end of one of the coordinator's ports.
#pragma once

#include "common/base/err.h"
#include "common/keys/curve.h"

struct link_socket_params {
    void *zmq;
    const char *address; // stays
    const struct curve_files *keys;
    struct curve_watch *watch; // or NULL: whether it is let in is not watched
};

// The errors of the keys; ERR_USAGE: the address makes no sense. Logged. *out is closed by
// link_socket_close() in any case, after its watch.
ERR_CHECKED enum err link_socket_open(void **out, const struct link_socket_params *p);
void link_socket_close(void **socket); // waits a little until what was sent last has gone; NULL inside is fine
