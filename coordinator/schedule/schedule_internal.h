// schedule_internal: what the files of the schedule share.
#pragma once

#include "common/base/array.h"
#include "coordinator/schedule/schedule.h"

// schedule.c
struct work_job *schedule_find_job(const struct schedule *s, int64_t job); // NULL: not here
// Seconds of music that it makes a second, guessed if need be.
double schedule_rate(const struct fleet_worker *w);

// schedule_leases.c
// ERR_NOMEM: nothing has changed.
ERR_CHECKED enum err schedule_add_lease(struct schedule *s, struct work_job *j,
                                        const struct work_lease *lease);
void schedule_drop_lease(struct schedule *s, struct work_job *j, int64_t lease);
// Chains of workers. SCHEDULE_NOBODY is always known.
ERR_CHECKED enum err schedule_know_worker(struct schedule *s, size_t worker);
void schedule_chain(struct schedule *s, int64_t lease);
void schedule_unchain(struct schedule *s, int64_t lease);
