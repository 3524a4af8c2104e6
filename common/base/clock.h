// clock: the monotonic clock, for measuring and for progress. Nothing that
// decides what the music is may read it.
#pragma once

// Seconds since an arbitrary start; never goes back. Any thread.
double clock_seconds(void);
