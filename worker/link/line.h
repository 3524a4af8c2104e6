// line: a worker's two connections with its coordinator, control and bulk, watched and mended.
//
// ZeroMQ connects again where a connection breaks off, but not where something came that does
// not decrypt, and a network may lose one without a word to this side. What is lost is made
// anew here; messages that were under way are lost with it.
// One thread; nothing blocks but line_wait(), and line_refused() while it is not let in.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/keys/curve.h"
#include "common/wire/wire.h"

#define LINE_TICK_MS 50

struct line_end {
    void *socket;
    const char *address; // the caller's, and stays
    struct curve_watch watch;
    double heard_s, made_s; // bulk: heard_s goes on while nothing is waited for
};

struct line {
    struct line_end control, bulk;
    void *zmq;
    uint64_t incarnation, seq;
    uint64_t epoch; // of the coordinator; 0: no WELCOME yet. The caller's
    bool silent;    // control is, and the log has it
    struct wire_message in, out;
};

// The errors of the keys; ERR_USAGE: an address makes no sense. Logged. line_close() in any
// case; a zeroed one is fine.
ERR_CHECKED enum err line_open(struct line *l, const char *control, const char *bulk,
                               const struct curve_files *keys);
void line_close(struct line *l); // waits a little until what was sent last has gone

// The message that line_send() sends next, with its head filled in.
struct wire_message *line_say(struct line *l, enum wire_type type);

// False: it was not sent; what matters is said again later.
bool line_send(struct line *l);

// Until something comes or `wake` (a descriptor, or -1) can be read, LINE_TICK_MS at most.
void line_wait(struct line *l, int wake);

// Calls back for each message that has come, which is in l->in.
typedef void line_on(void *user, double now);
void line_receive(struct line *l, line_on *on_control, line_on *on_bulk, void *user,
                  double now);

// At every turn. beat_s: how often the coordinator answers on control; waits: something was
// asked for on bulk. True: what was asked for there is lost, and has to be asked for again.
bool line_mend(struct line *l, double beat_s, bool waits, double now);

// ERR_CONFIG: the coordinator does not open to this key, or is none; logged.
ERR_CHECKED enum err line_refused(struct line *l);
