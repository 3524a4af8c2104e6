// gate: who may talk to the coordinator: ZeroMQ asks it about every key (ZAP, RFC 27), the
// hub about every message. The list of keys is read again when its file changes: looked at five
// times a second, and before anybody is refused.
//
// The user id that a connection gets is its public key: no payload can choose it, and a key
// that is revoked loses the connections it has, not only those to come.
//
// One thread, the hub's; nothing blocks.
#pragma once

#include <stdint.h>

#include "common/keys/keys.h"

#define GATE_PEERS 64

// Where a connection came from, by its descriptor, for the log.
struct gate_peer {
    int fd;
    char text[64];
};

struct gate {
    bool open; // without keys everybody may talk
    const char *list_path;
    struct key_list list;
    struct key_pair own;
    void *zap;                    // ZeroMQ's questions
    void *sockets[2], *events[2]; // those that are watched, and what happens to them
    struct gate_peer peers[GATE_PEERS];
    size_t next_peer;
    const char *failed[2]; // why a handshake just came to nothing; its connection follows
    double read_s;         // when the list was looked at
    struct {
        long long s, ns, bytes, inode;
    } stamp;               // of the list that was read
    uint64_t refused;      // connections and messages, counted
    double said_s;         // when a refusal was last logged
    uint32_t said, unsaid; // in that second, and those that were too many
};

// `own` NULL: no keys, open to everybody. Before any socket is bound. Errors of
// common/keys; ERR_UNAVAILABLE; logged.
ERR_CHECKED enum err gate_open(struct gate *g, void *zmq, const char *own, const char *list);
void gate_close(struct gate *g); // before its sockets; a zeroed one is fine

// A ROUTER socket that is about to be bound: it takes keys, and those who do not get in
// are logged. At most two.
ERR_CHECKED enum err gate_guard(struct gate *g, void *zmq, void *socket, const char *name);

// How many descriptors gate_sockets() adds to a poll.
#define GATE_SOCKETS 3
size_t gate_sockets(const struct gate *g, void *out[GATE_SOCKETS]);

// Answers ZeroMQ's questions, logs refusals, looks after the list. True: the list is
// another, so that somebody may have to go.
bool gate_turn(struct gate *g, double now);

// Whose message this is, by the user id of its connection: NULL when it may not talk (any
// more), counted and logged. Never NULL on an open gate, whose peers have no name.
const struct key_entry *gate_who(struct gate *g, const char *user_id, double now);

// Is that name still allowed? Always on an open gate.
bool gate_allows(const struct gate *g, const char *name);
