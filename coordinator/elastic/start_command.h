// start_command: a command of the operator's, run by the shell in a process of its own while
// the coordinator goes on.
//
// What it prints goes where the coordinator logs. Nothing of the coordinator's is open in it,
// and what it leaves running is left alone. One at a time; one thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

#define START_COMMAND_LONGEST_S 120.0

// Zeroed: none is running.
struct start_command {
    int pid;
    double since_s;
    bool killed;
};

ERR_CHECKED enum err start_command_run(struct start_command *c, const char *command,
                                       double now); // ERR_IO, logged
// True: it has just ended; `why` is empty when with 0, and says how otherwise. Past
// START_COMMAND_LONGEST_S it is killed. Does not wait.
bool start_command_ended(struct start_command *c, double now, char *why, size_t room);
