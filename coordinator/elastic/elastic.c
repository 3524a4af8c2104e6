#include "coordinator/elastic/elastic.h"

#include <math.h>

// Workers that have come since are no longer expected.
static void count_arrivals(struct elastic *e, uint32_t workers)
{
    const uint32_t came = workers > e->seen ? workers - e->seen : 0;
    e->expected -= came < e->expected ? came : e->expected;
    e->seen = workers;
}

bool elastic_wants(struct elastic *e, const struct elastic_rules *r,
                   const struct elastic_facts *f, double now)
{
    count_arrivals(e, f->workers);
    if (now - e->started_s > r->patience_s)
        e->expected = 0;
    if (f->waits && !e->waiting)
        e->waits_since_s = now;
    e->waiting = f->waits;
    return f->waits && !f->running && now - e->waits_since_s >= r->after_s &&
           now >= e->not_before_s && (uint64_t) f->workers + e->expected < r->most;
}

void elastic_started(struct elastic *e, const struct elastic_rules *r, double now)
{
    e->expected++;
    e->started_s = now;
    e->not_before_s = now + r->pause_s;
}

void elastic_failed(struct elastic *e, const struct elastic_rules *r, double now)
{
    const uint32_t doublings = e->failures < 31 ? e->failures + 1 : 31;
    e->failures = doublings;
    e->expected -= e->expected > 0;
    e->not_before_s =
        now + fmin(fmax(ELASTIC_MOST_PAUSE_S, r->pause_s), ldexp(r->pause_s, (int) doublings));
}

void elastic_succeeded(struct elastic *e)
{
    e->failures = 0;
}
