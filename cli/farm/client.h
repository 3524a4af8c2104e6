// client: a farm verb's connection to the coordinator: questions and their answers.
//
// A connection that breaks off is made anew, and what was asked is asked again, as long as the
// patience lasts. What must not be done twice is not: an order to a job, a film with --force.
// One thread; blocks until an answer is here or CLIENT_PATIENCE_S have passed without a word,
// unless told to persist.
#pragma once

#include "common/config/options.h"
#include "common/keys/curve.h"
#include "common/wire/wire.h"

#define CLIENT_PATIENCE_S 10
#define CLIENT_FARM "tcp://127.0.0.1:7480"

// Where the coordinator is and what opens it: the table of the options, with their
// defaults filled in.
struct farm_settings {
    const char *address;
    struct curve_files keys;
};
void farm_table(struct farm_settings *f, struct option_spec *specs);

struct client;

// ERR_USAGE: no address that ZeroMQ can use. ERR_CONFIG, ERR_MISSING: as the keys are
// read. Logged. Whether anybody is there shows later.
ERR_CHECKED enum err client_open(struct client **out, const struct farm_settings *f);
void client_close(struct client **c); // NULL inside is fine

// A message to fill in, zeroed, and then to be sent with client_ask().
struct wire_message *client_question(struct client *c, enum wire_type type);

// How long to wait for an answer, if not CLIENT_PATIENCE_S: some questions take their time. Who is
// not there at all is not waited for longer than that.
void client_patience(struct client *c, double seconds);

// From now on: where a coordinator has answered before and none does any more, what may be
// asked twice waits for the next one, however long it takes. That it waits is logged, and its end.
void client_persist(struct client *c);

// Send it and wait for an answer, all of it. ERR_UNAVAILABLE: there is no coordinator, or not
// any more. ERR_INPUT: it says no, and why. ERR_CONFIG: it does not open to this key. ERR_STOP
// on Ctrl-C. All but the last logged. What comes out is the client's until the next call.
ERR_CHECKED enum err client_ask(struct client *c, const struct wire_message **answer);

// The next message of an answer that has several. Does not wait.
ERR_CHECKED enum err client_next(struct client *c, const struct wire_message **answer);
