// interrupt: Ctrl-C, SIGTERM and SIGHUP as a flag that long work looks at.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

// From the first call on, the first of these signals sets the flag and a second
// one ends the process at once; but SIGHUP stays ignored where it is, as under nohup. The
// flag lives for ever.
const atomic_bool *interrupt_watch(void);

// Is it set?
bool interrupt_asked(void);
