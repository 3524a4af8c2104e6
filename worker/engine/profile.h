// profile: how long every kernel runs on the device, by timestamps around each
// dispatch. For people who make kernels faster; off unless asked for, because
// timestamps keep dispatches apart that could overlap.
//
// One thread, that of the device.
#pragma once

#include "worker/engine/device.h"

#define PROFILE_MOST 256 // rows; what comes beyond is left out

// Dispatches of one kernel that are estimated to do the same work.
struct profile_row {
    const char *kernel; // static storage
    const char *label;  // of the stream it ran in, likewise
    double flops;       // of each
    uint64_t dispatches;
    double seconds; // of all of them
};

// Time what is recorded from now on. ERR_UNAVAILABLE when the device's queue has
// no timestamps.
ERR_CHECKED enum err profile_start(struct device *d);

// What was timed so far, the most seconds first; valid until more is. Of a
// recording that was submitted several times over, the last run counts.
const struct profile_row *profile_rows(struct device *d, uint32_t *count);

// Forget what was timed.
void profile_clear(struct device *d);
