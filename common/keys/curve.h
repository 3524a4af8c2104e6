// curve: keys on ZeroMQ sockets, and what becomes of a connection that they do not open.
//
// CURVE encrypts and authenticates both ways: who connects knows the public half of whom
// it connects to, who listens asks its list of keys (coordinator/gate). Each call is for
// the thread that owns the socket; none blocks but where it says so.
#pragma once

#include "common/keys/keys.h"

// What a node connects with, by the names of its files; both NULL: without keys.
struct curve_files {
    const char *own;         // its .key
    const char *coordinator; // the coordinator's .pub
};

// Before zmq_bind().
ERR_CHECKED enum err curve_listen(void *socket, const struct key_pair *own);

// Before zmq_connect(). ERR_USAGE: one file without the other; otherwise as the files are
// read. Logged.
ERR_CHECKED enum err curve_connect(void *socket, const struct curve_files *files);

// Watches whether a socket that connects is let in.
struct curve_watch {
    void *socket, *events;
    const char *address; // the caller's, and stays
    bool with_keys, was_let_in;
    bool lost; // a connection has broken off, or was never opened; for the caller to set back
    unsigned failures; // of somebody who has keys, too
};

// Before zmq_connect(). Zeroed is closed.
ERR_CHECKED enum err curve_watch_open(struct curve_watch *w, void *zmq, void *socket,
                                      const struct curve_files *files, const char *address);
void curve_watch_close(struct curve_watch *w); // before zmq_close() of its socket

// Why the other side does not let this one in, or NULL: it does, or is not there yet. While
// it hangs up on this one without a word, looks why, which may block for a second.
const char *curve_watch_refused(struct curve_watch *w);

// ZeroMQ connects again where a connection breaks off, but not where something came that does
// not decrypt. Messages that were under way, either way, are lost. Blocks until the old
// connection has ended: milliseconds, a second at most.
void curve_connect_anew(struct curve_watch *w);

// One event of a socket that is watched (zmq_socket_monitor); false: there is none now.
struct curve_event {
    unsigned kind; // ZMQ_EVENT_...
    unsigned value;
};
bool curve_event_next(void *events, struct curve_event *out);

// The other end of zmq_socket_monitor(socket, "inproc://NAME", kinds), or NULL, logged.
// Bounded by memory only, so that nothing ever waits for its reader.
void *curve_events_open(void *zmq, void *socket, const char *name, int kinds);
void curve_events_close(void *socket, void *events);
