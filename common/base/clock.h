// clock: the monotonic clock, for measuring and for progress. Nothing that
// decides what the music is may read it.
#pragma once

#include <stdint.h>

// Seconds since an arbitrary start; never goes back. Any thread.
double clock_seconds(void);

// Milliseconds of Unix time, for people to read: it may jump. Any thread.
int64_t clock_unix_ms(void);
