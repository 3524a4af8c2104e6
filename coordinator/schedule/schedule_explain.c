// What the schedule can say of a job: how long it will take, and why it does not go on.
#include "coordinator/schedule/schedule_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// What is left

double schedule_left(const struct schedule *s, const struct fleet *f, int64_t job)
{
    const struct work_job *j = schedule_job(s, job);
    double rate = 0, each = 0, left = 0, longest = 0, of_cue = 0;
    for (int64_t i = j ? j->lease : -1; i >= 0; i = s->leases[i].next_of_job) {
        const struct work_lease *l = &s->leases[i];
        if (l->worker == SCHEDULE_NOBODY)
            continue;
        const struct fleet_worker *w = &f->workers[l->worker];
        const double one = schedule_rate(w) / fmax(1, w->held); // they share it
        rate += one;
        each = fmax(each, one);
    }
    if (!j || rate <= 0)
        return -1;
    for (uint32_t i = 0; i < j->count; i++) {
        const double one = j->segments[i].state != WORK_DONE ? j->segments[i].audio_s : 0;
        of_cue = j->segments[i].place == 0 ? one : of_cue + one;
        longest = fmax(longest, of_cue);
        left += one;
    }
    return fmax(left / rate, longest / each);
}

// Explaining

struct reasons {
    uint32_t running, blocked, retrying, pictures, free_worker;
    uint32_t able, asking; // workers that may compose it, and those of them with room
};

bool schedule_excludes(const struct work_job *j, const struct fleet_worker *w, char *out,
                       size_t room)
{
    const struct require_term *unmet = require_unmet(&j->require, w);
    char text[256];
    if (fleet_is_gone(w))
        snprintf(out, room, "is not here (%s)", worker_state_name(w->state));
    else if (!*w->model)
        snprintf(out, room, "has no model yet");
    else if (strcmp(j->model, w->model) != 0)
        snprintf(out, room, "has another model");
    else if (unmet) {
        require_say(unmet, w, text, sizeof(text));
        snprintf(out, room, "does not meet %s", text);
    } else if (w->quarantined)
        snprintf(out, room, "is in quarantine");
    else if (w->drained)
        snprintf(out, room, "is drained");
    else if (w->state == WORKER_RESTING)
        snprintf(out, room, "let %u leases in a row end; it is tried again later", w->hangs);
    else if (!fleet_may_work(w))
        snprintf(out, room, "has not been heard of enough (%s)", worker_state_name(w->state));
    else
        return false;
    return true;
}

static struct reasons count_reasons(const struct work_job *j, const struct fleet *f)
{
    struct reasons r = { 0 };
    for (uint32_t i = 0; i < j->count; i++) {
        const struct work_segment *g = &j->segments[i];
        r.running += g->state == WORK_LEASED;
        r.blocked += g->state == WORK_BLOCKED;
        r.retrying += g->state == WORK_RETRY_WAIT;
        r.pictures += g->state == WORK_READY && g->frames != FRAMES_THERE;
        r.free_worker += g->state == WORK_READY && g->frames == FRAMES_THERE;
    }
    for (size_t i = 0; i < f->count; i++) {
        char why[512];
        const bool able = !schedule_excludes(j, &f->workers[i], why, sizeof(why));
        r.able += able;
        r.asking += able && f->workers[i].want > 0;
    }
    return r;
}

void schedule_explain(const struct schedule *s, const struct fleet *f, int64_t job,
                      const char *held, char *out, size_t room)
{
    const struct work_job *j = schedule_job(s, job);
    if (!j) {
        snprintf(out, room, "none of its segments waits for a worker");
        return;
    }
    struct reasons r = count_reasons(j, f);
    size_t n = (size_t) snprintf(out, room, "%u of %u segments are done, %u are being composed",
                                 j->done, j->count, r.running);
    if (j->paused) {
        snprintf(out + n, room - n, "; the rest waits because the job is paused");
        return;
    }
    if (held) {
        r.free_worker += r.pictures; // and then they would wait for the same
        r.pictures = 0;
    }
    const struct {
        uint32_t count;
        const char *why;
    } parts[] = {
        { r.blocked, "continue a segment that is not done yet" },
        { r.retrying, "will be tried again shortly after a GPU failed them" },
        { r.pictures, "wait for their pictures to be read from the film" },
        { r.free_worker, held            ? held
                         : r.able == 0   ? "wait because no worker may compose them"
                         : r.asking == 0 ? "wait for a worker with room"
                                         : "are next, after work of other jobs or owners" },
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].count && n < room)
            n += (size_t) snprintf(out + n, room - n, "; %u %s", parts[i].count, parts[i].why);
}
