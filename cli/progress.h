// progress: how far the work is: a bar with rate and ETA on a terminal, a line
// every ten seconds elsewhere, nothing with --quiet. To standard error.
#pragma once

#include <stdbool.h>

struct progress {
    const char *label;
    bool quiet, terminal, drawn;
    double started, last;
    double first; // the value at the start: what was there already says nothing about the rate
};

// `label` is static. A progress already shown is ended first.
void progress_begin(struct progress *p, const char *label, double first, bool quiet);

// `done` of `total` seconds of film. Cheap to call often.
void progress_update(struct progress *p, double done, double total);
void progress_end(struct progress *p);
