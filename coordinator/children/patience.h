// patience: how long what failed is tried again, where it was not the film's fault.
//
// After 5, 10, 20, ... seconds, ten minutes at most; the tenth failure in a row, after about
// half an hour, is the last. A disk without room says nothing of the work: it is asked every
// 5 seconds for as long as it takes. Pure. Times are seconds of the monotonic clock.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

#define PATIENCE_FIRST_S 5.0
#define PATIENCE_MOST_S 600.0
#define PATIENCE_TRIES 10

struct patience {
    uint32_t failures;   // in a row
    double not_before_s; // when it may be tried again
};

// It has failed once more. False: it is not to be tried again.
bool patience_fail(struct patience *p, enum err why, double now);
