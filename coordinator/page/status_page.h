// status_page: a snapshot as a page, and as figures for Prometheus. Pure; any thread.
#pragma once

#include <stdio.h>

#include "coordinator/page/snapshot.h"

#define STATUS_PAGE_REFRESH_S 5

// HTML that asks for nothing else and runs nothing; it loads itself again.
void status_page_write(FILE *f, const struct snapshot *s);

// The text format of Prometheus, version 0.0.4.
void status_metrics_write(FILE *f, const struct snapshot *s);
