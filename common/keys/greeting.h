// greeting: what a ZeroMQ peer says of itself before anything else (ZMTP 3.1, section 3.2):
// whether it uses keys. libzmq hangs up on a peer of the other kind before it has told it.
#pragma once

#include <stdbool.h>

#define GREETING_MECHANISM_BYTES 21

// "NULL" or "CURVE", of who listens at tcp://HOST:PORT or ipc://PATH. False: nobody, or not a
// ZeroMQ peer. Connects by itself; blocks for a second at most, and as long as a name takes
// to be looked up.
bool greeting_mechanism(char out[GREETING_MECHANISM_BYTES], const char *address);
