// interrupt: Ctrl-C and SIGTERM as a flag that long work looks at.
#pragma once

#include <stdatomic.h>

// From the first call on, the first SIGINT or SIGTERM sets the flag and a
// second one ends the process at once. The flag lives for ever.
const atomic_bool *interrupt_watch(void);
