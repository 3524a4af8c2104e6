// The hub and workers that come when work waits: what is the case is told to elastic, and what
// it wants is a command of the operator's.
#include <math.h>
#include <stdio.h>

#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

#define LOOK_EVERY_S 0.5

static struct elastic_facts look(const struct hub *h)
{
    struct elastic_facts f = { .running = h->start_command.pid != 0 };
    for (size_t i = 0; i < h->fleet.count; i++)
        f.workers += !fleet_is_gone(&h->fleet.workers[i]);
    // A film that nobody can plan, because no model is known, waits for a worker as well.
    f.waits = !h->queue.stopped && (hub_lacks_model(h, &h->p.start_offers) ||
                                    schedule_waits(&h->schedule, &h->p.start_offers));
    return f;
}

static void attend_command(struct hub *h, double now)
{
    char why[128];
    if (!start_command_ended(&h->start_command, now, why, sizeof(why)))
        return;
    if (!*why) {
        elastic_succeeded(&h->elastic);
        return;
    }
    elastic_failed(&h->elastic, &h->p.elastic, now);
    log_warn("the command that starts workers failed: %s; the next time in %.0f s", why,
             h->elastic.not_before_s - now);
}

void hub_elastic_tick(struct hub *h, double now)
{
    if (now < h->elastic_next_s)
        return;
    h->elastic_next_s = now + LOOK_EVERY_S;
    attend_command(h, now); // of one that has been taken out of the settings, too
    if (!h->p.start_command || h->paused)
        return;
    const struct elastic_facts f = look(h);
    if (!elastic_wants(&h->elastic, &h->p.elastic, &f, now))
        return;
    elastic_started(&h->elastic, &h->p.elastic, now);
    log_info("work has waited for %.0f s with %u workers here: another is started",
             now - h->elastic.waits_since_s, f.workers);
    if (start_command_run(&h->start_command, h->p.start_command, now))
        elastic_failed(&h->elastic, &h->p.elastic, now);
}

// What a job asks of workers, when one more could take something of it. NULL: none could.
static const struct require *asked_of_workers(const struct hub *h, int64_t job)
{
    const struct work_job *j = schedule_job(&h->schedule, job);
    if (j)
        return j->ready > 0 && !j->paused ? &j->require : NULL;
    for (size_t i = 0; i < h->errand_count; i++)
        if (h->errands[i].job == job && h->errands[i].lacks_model)
            return &h->errands[i].require;
    return NULL;
}

void hub_elastic_explain(const struct hub *h, int64_t job, double now, char *out, size_t room)
{
    const struct require *asked = asked_of_workers(h, job);
    const struct elastic *e = &h->elastic;
    *out = 0;
    if (!h->p.start_command || h->paused || h->queue.stopped || !asked)
        return;
    const struct require_term *unmet = require_unoffered(asked, &h->p.start_offers);
    if (unmet) {
        char term[REQUIRE_TEXT_BYTES * 2];
        require_term_text(unmet, term, sizeof(term));
        snprintf(out, room, "no worker is started for it: %s is not what start-offers promises",
                 term);
    } else if (e->failures > 0) {
        snprintf(out, room, "the command that starts workers failed; the next time in %.0f s",
                 fmax(0, e->not_before_s - now));
    } else if (e->seen + e->expected >= h->p.elastic.most) {
        snprintf(
            out, room,
            "no more workers are started: %u are here and %u on their way, start-most is %u",
            e->seen, e->expected, h->p.elastic.most);
    } else {
        const double at = fmax(e->waits_since_s + h->p.elastic.after_s, e->not_before_s);
        snprintf(out, room,
                 "another worker is started in %.0f s if it still waits; %u are on their way",
                 fmax(0, at - now), e->expected);
    }
}
