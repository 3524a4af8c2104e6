// The hub and the jobs: what it has in memory of those under way, from submitted to delivered.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/timeline/frame_grid.h"
#include "coordinator/extract/extract.h"
#include "coordinator/hub/hub_internal.h"
#include "coordinator/publish/publish.h"

// Jobs under way

// Where a job is among them, or would have to be.
static size_t place_of(const struct hub *h, int64_t job)
{
    size_t low = 0, high = h->job_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (h->jobs[middle]->id < job)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct hub_job *hub_job_find(const struct hub *h, int64_t job)
{
    const size_t i = place_of(h, job);
    return i < h->job_count && h->jobs[i]->id == job ? h->jobs[i] : NULL;
}

static void free_job(struct hub_job *j)
{
    plan_destroy(&j->plan);
    free(j);
}

void hub_job_forget(struct hub *h, int64_t job)
{
    struct hub_job *j = hub_job_find(h, job);
    if (!j)
        return;
    const size_t i = place_of(h, job);
    memmove(&h->jobs[i], &h->jobs[i + 1], (--h->job_count - i) * sizeof(struct hub_job *));
    free_job(j);
}

const struct ledger_model *hub_model_find(const struct hub *h, const char *sha256)
{
    for (size_t i = 0; i < h->model_count; i++)
        if (!strcmp(h->models[i].sha256, sha256))
            return &h->models[i];
    return NULL;
}

static enum err read_identity(const struct hub *h, struct hub_job *j)
{
    struct file_map m = { 0 };
    char *path = spool_path(&h->spool, j->id, "identity");
    const enum err e = path ? file_map(&m, path) : ERR_NOMEM;
    if (!e)
        snprintf(j->identity, sizeof(j->identity), "%.*s", (int) (m.bytes < 63 ? m.bytes : 63),
                 m.data ? (const char *) m.data : "");
    file_unmap(&m);
    free(path);
    return e;
}

static enum err read_job(const struct hub *h, struct hub_job *j)
{
    char *folder = spool_path(&h->spool, j->id, NULL),
         *plan = spool_path(&h->spool, j->id, "plan.json");
    struct wire_submit *r = malloc(sizeof(*r));
    enum err e = folder && plan && r ? extract_request(r, folder) : ERR_NOMEM;
    if (!e)
        e = film_plan_read(&j->plan, plan);
    if (!e)
        e = read_identity(h, j);
    if (!e)
        j->inputs = (struct part_inputs){
            .model_sha256 = j->model.sha256,
            .film = j->identity,
            .temperature = r->temperature,
            .top_p = r->top_p,
            .guidance = r->guidance >= 0 ? r->guidance : j->model.guidance,
            .top_k = r->top_k,
        };
    free(folder), free(plan), free(r);
    return e;
}

enum err hub_job_load(struct hub *h, int64_t job, const char *sha256, struct hub_job **out)
{
    *out = hub_job_find(h, job);
    if (*out)
        return ERR_OK;
    const struct ledger_model *model = hub_model_find(h, sha256);
    struct hub_job *j = calloc(1, sizeof(*j));
    enum err e =
        j ? array_grow((void **) &h->jobs, h->job_count, &h->job_room, sizeof(*h->jobs))
          : ERR_NOMEM;
    if (!e && !model) {
        log_error("job %lld: its model is not known any more", (long long) job);
        e = ERR_MISSING;
    }
    if (!e) {
        j->id = job;
        j->model = *model;
        e = read_job(h, j);
    }
    if (e) {
        if (j)
            free_job(j);
        return e;
    }
    const size_t i = place_of(h, job);
    memmove(&h->jobs[i + 1], &h->jobs[i], (h->job_count++ - i) * sizeof(struct hub_job *));
    h->jobs[i] = *out = j;
    return ERR_OK;
}

struct hub_job *hub_job_get(struct hub *h, int64_t job)
{
    const struct work_job *work = schedule_job(&h->schedule, job);
    struct hub_job *j = NULL;
    if (!work)
        return NULL;
    enum err e = hub_job_load(h, job, work->model, &j);
    if (!e && j->plan->segment_count == work->count)
        return j;
    if (e != ERR_NOMEM)
        h->unreadable = job;
    return NULL;
}

uint64_t hub_frames_bytes(const struct hub_job *j, uint32_t segment)
{
    const struct plan_span watch = plan_watch(j->plan, segment);
    return frame_count(j->model.frames_per_s, watch.from_ms, watch.to_ms) * 3 * j->model.image *
           j->model.image;
}

static enum err owner_of(struct hub *h, const char *name, size_t *out)
{
    return schedule_owner(&h->schedule, name, weight_of(h->p.weights, name), 0, out);
}

enum err hub_job_require(const struct hub *h, int64_t job, struct require *out)
{
    void *request;
    size_t bytes;
    char text[WIRE_TEXT_BYTES];
    const char *why = text;
    struct wire_message *m = malloc(sizeof(*m));
    enum err e = ledger_request(h->ledger, job, &request, &bytes);
    if (!e)
        e = m ? wire_decode(m, request, bytes, &why) : ERR_NOMEM;
    if (!e)
        e = m->type == WIRE_SUBMIT ? require_parse(out, m->submit.require, text, sizeof(text))
                                   : ERR_INPUT;
    free(request), free(m);
    return e;
}

// Pictures that an earlier coordinator has left.
static enum err find_frames(struct hub *h, const struct work_job *work)
{
    struct hub_job *j;
    if (!spool_has_any_frames(&h->spool, work->id))
        return ERR_OK;
    const enum err e = hub_job_load(h, work->id, work->model, &j);
    if (e)
        return e;
    if (j->plan->segment_count != work->count)
        return ERR_CONFIG;
    for (uint32_t i = 0; i < work->count; i++)
        if (work->segments[i].state != WORK_DONE &&
            spool_has_frames(&h->spool, work->id, i, hub_frames_bytes(j, i)))
            work->segments[i].frames = FRAMES_THERE;
    return ERR_OK;
}

// A planned job becomes work.
enum err hub_job_activate(void *user, const struct ledger_job *row, double now)
{
    struct hub *h = user;
    (void) now;
    struct work_job work = { .id = row->id,
                             .priority = row->priority,
                             .paused = row->state == JOB_PAUSED,
                             .count = row->segments };
    snprintf(work.model, sizeof(work.model), "%s", row->model);
    enum err e = hub_job_require(h, row->id, &work.require);
    if (!e && !spool_has_plan(&h->spool, row->id))
        e = ERR_MISSING;
    if (!e)
        e = owner_of(h, row->owner, &work.owner);
    if (!e)
        e = foreman_mirror(&h->foreman, row->id, row->segments, &work.segments);
    if (!e)
        e = find_frames(h, &work);
    if (!e)
        e = schedule_add(&h->schedule, &work);
    if (e)
        free(work.segments);
    return e;
}

enum err hub_job_fail(struct hub *h, int64_t job, const char *reason, double now)
{
    log_event(LOG_WARN, &(struct log_subject){ .job = job }, "job %lld failed: %s",
              (long long) job, reason);
    const enum err e = ledger_move_job(h->ledger, job, JOB_FAILED, reason, clock_unix_ms());
    return e ? e : hub_job_follow(h, job, now);
}

enum err hub_job_unreadable(struct hub *h, int64_t job, double now)
{
    return hub_job_fail(h, job, "what it had in the spool cannot be read; submit it again",
                        now);
}

// What is not to go on is stopped, what it holds in memory freed.
static void withdraw(struct hub *h, int64_t job)
{
    children_kill(&h->children, job);
    hub_errands_drop(h, job);
    hub_job_forget(h, job);
}

enum err hub_job_follow(struct hub *h, int64_t job, double now)
{
    struct ledger_job *row = malloc(sizeof(*row));
    enum err e = row ? ledger_job(h->ledger, job, row) : ERR_NOMEM;
    const enum err known = e;
    if (!e)
        e = foreman_follow(&h->foreman, row, now);
    // Its files are gone or damaged: it alone fails.
    if (!known && (e == ERR_MISSING || e == ERR_INPUT))
        e = hub_job_unreadable(h, job, now);
    else if (!e)
        switch (row->state) {
        case JOB_SUBMITTED:
            if (!hub_errand_has(h, job, CHILD_PLAN))
                e = hub_errand_add(h, job, CHILD_PLAN);
            break;
        case JOB_ASSEMBLING:
            if (hub_errand_has(h, job, CHILD_PUBLISH))
                break;
            withdraw(h, job);
            e = hub_errand_add(h, job, CHILD_PUBLISH);
            break;
        case JOB_DONE:
            withdraw(h, job);
            spool_remove(&h->spool, job);
            break;
        case JOB_FAILED:
        case JOB_CANCELLED:
        case JOB_HELD: {
            const bool unfinished = hub_errand_has(h, job, CHILD_PUBLISH);
            withdraw(h, job);
            if (unfinished && hub_answers(h, row->output))
                publish_forget(row->output, job);
            break;
        }
        case JOB_PLANNED:
        case JOB_RUNNING:
        case JOB_PAUSED:
        case JOB_PROBING:
        case JOB_STATES: break;
        }
    free(row);
    return e;
}

enum err hub_job_submitted(struct hub *h, int64_t job)
{
    return hub_errand_add(h, job, CHILD_PLAN);
}

// Taking up what an earlier coordinator left

enum err hub_job_wake(void *user, int64_t job, enum job_state state, double now)
{
    struct hub *h = user;
    enum err e = ERR_OK;
    if (state == JOB_PROBING)
        e = ledger_move_job(h->ledger, job, JOB_SUBMITTED, NULL, 0);
    if (!e && (state == JOB_PROBING || state == JOB_SUBMITTED))
        return hub_job_submitted(h, job);
    return e ? e : hub_job_follow(h, job, now);
}

enum err hub_job_find_result(void *user, const struct ledger_attempt *a, bool *goes_on,
                             bool *there, double now)
{
    struct hub *h = user;
    const struct hub_job *j = hub_job_get(h, a->job);
    *goes_on = j != NULL;
    if (!j)
        return hub_job_unreadable(h, a->job, now);
    char *parts = spool_path(&h->spool, a->job, "parts"), key[PART_KEY_BYTES];
    if (!parts)
        return ERR_NOMEM;
    part_key(key, &j->inputs, j->plan, a->segment);
    *there = part_is_made_of(parts, j->plan, a->segment, key);
    free(parts);
    return ERR_OK;
}

static bool was_delivering(const struct ledger_job *row)
{
    return (row->state == JOB_FAILED || row->state == JOB_CANCELLED ||
            row->state == JOB_HELD) &&
           row->segments > 0 && row->done == row->segments;
}

// A kill may have come between the last word on a job and the clearing away. Of jobs beyond the
// last of this ledger another may know more.
static enum err clear_away(struct hub *h)
{
    int64_t *jobs = NULL, last = 0;
    size_t count;
    struct ledger_job *row = malloc(sizeof(*row));
    enum err e = row ? spool_jobs(&h->spool, &jobs, &count) : ERR_NOMEM;
    if (!e)
        e = ledger_last_job(h->ledger, &last);
    for (size_t i = 0; !e && i < count; i++) {
        const enum err found = ledger_job(h->ledger, jobs[i], row);
        const bool pruned = found == ERR_MISSING && jobs[i] <= last;
        if (pruned || (!found && row->state == JOB_DONE))
            spool_remove(&h->spool, jobs[i]);
        else if (!found && was_delivering(row) && hub_answers(h, row->output))
            publish_forget(row->output, jobs[i]);
    }
    free(jobs);
    free(row);
    return e;
}

enum err hub_jobs_load(struct hub *h, double now)
{
    size_t jobs = 0, leases = 0;
    enum err e = clear_away(h);
    if (!e)
        e = foreman_load(&h->foreman, &jobs, &leases, now);
    if (!e && jobs)
        log_info("%zu jobs and %zu leases taken up", jobs, leases);
    return e;
}

void hub_jobs_finish(struct hub *h)
{
    for (size_t i = 0; i < h->job_count; i++)
        free_job(h->jobs[i]);
    free(h->jobs);
    free(h->errands);
}
