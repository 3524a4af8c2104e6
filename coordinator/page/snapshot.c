#include "coordinator/page/snapshot.h"

#include <stdlib.h>

struct snapshot *snapshot_create(void)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    if (s)
        atomic_init(&s->references, 1);
    return s;
}

struct snapshot *snapshot_take(struct snapshot *s)
{
    atomic_fetch_add(&s->references, 1);
    return s;
}

void snapshot_release(struct snapshot **sp)
{
    struct snapshot *s = *sp;
    *sp = NULL;
    if (!s || atomic_fetch_sub(&s->references, 1) > 1)
        return;
    for (size_t i = 0; i < s->job_count; i++) {
        free(s->jobs[i].film);
        free(s->jobs[i].timeline);
    }
    free(s->jobs);
    free(s->nodes);
    free(s->work);
    free(s->failures);
    free(s);
}
