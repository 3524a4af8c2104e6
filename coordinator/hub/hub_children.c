// The hub and its child processes: which are started when, and what becomes of a job when they end.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

#define FRAMES_AT_ONCE 8
// Segments whose pictures are ready beside what the workers have asked for.
#define PICTURES_AHEAD 4

// Errands: what waits for a child process

enum err hub_errand_add(struct hub *h, int64_t job, enum hub_child what)
{
    const enum err e = array_grow((void **) &h->errands, h->errand_count, &h->errand_room,
                                  sizeof(*h->errands));
    if (!e)
        h->errands[h->errand_count++] = (struct hub_errand){ .job = job, .what = (int) what };
    return e;
}

static void drop_errand(struct hub *h, size_t i)
{
    memmove(&h->errands[i], &h->errands[i + 1], (--h->errand_count - i) * sizeof(*h->errands));
}

static int64_t find_errand(const struct hub *h, int64_t job, int what)
{
    for (size_t i = 0; i < h->errand_count; i++)
        if (h->errands[i].job == job && h->errands[i].what == what)
            return (int64_t) i;
    return -1;
}

bool hub_errand_has(const struct hub *h, int64_t job, enum hub_child what)
{
    return find_errand(h, job, (int) what) >= 0;
}

void hub_errands_drop(struct hub *h, int64_t job)
{
    for (size_t i = h->errand_count; i-- > 0;)
        if (h->errands[i].job == job)
            drop_errand(h, i);
}

// Starting children

static enum err start(struct hub *h, int64_t job, enum hub_child what,
                      const char *const *arguments)
{
    return children_start(&h->children, job, (int) what, arguments);
}

static void frames_settled(struct hub *h, int64_t job)
{
    const struct hub_job *j = hub_job_find(h, job);
    const struct work_job *work = schedule_job(&h->schedule, job);
    for (uint32_t i = 0; j && work && i < work->count; i++)
        if (work->segments[i].frames == FRAMES_ASKED)
            schedule_frames(&h->schedule, job, i,
                            spool_has_frames(&h->spool, job, i, hub_frames_bytes(j, i))
                                ? FRAMES_THERE
                                : FRAMES_ABSENT);
}

// Its segments leave the line for pictures, so that it keeps no other job from them, or come
// back to it.
static void postpone_frames(struct hub *h, struct hub_job *j, bool postponed)
{
    const struct work_job *work = schedule_job(&h->schedule, j->id);
    const enum work_frames from = postponed ? FRAMES_ABSENT : FRAMES_LATER;
    j->postponed = postponed;
    for (uint32_t i = 0; work && i < work->count; i++)
        if (work->segments[i].frames == from)
            schedule_frames(&h->schedule, j->id, i, postponed ? FRAMES_LATER : FRAMES_ABSENT);
    if (postponed)
        h->postponed_s = fmin(h->postponed_s, j->patience.not_before_s);
}

// A job whose file system does not answer is looked at again soon: nobody has failed.
static void put_off(struct hub *h, int64_t job, enum hub_child what, double now)
{
    const int64_t i = find_errand(h, job, (int) what);
    struct hub_job *j = hub_job_find(h, job);
    if (i >= 0) {
        h->errands[i].patience.not_before_s = now + PATIENCE_FIRST_S;
    } else if (what == CHILD_FRAMES && j) {
        frames_settled(h, job);
        j->patience.not_before_s = now + PATIENCE_FIRST_S;
        postpone_frames(h, j, true);
    }
}

static enum err place_of_job(struct hub *h, int64_t job, enum place *out)
{
    struct ledger_job *row = malloc(sizeof(*row));
    const enum err e = row ? ledger_job(h->ledger, job, row) : ERR_NOMEM;
    *out = e ? PLACE_SILENT : hub_place_of_job(h, row->film, row->output);
    free(row);
    return e;
}

// May a child read its film and write its output? It fails when one lies in no media folder any more, and waits, for as
// long as it takes, where one does not answer.
static enum err check_media(struct hub *h, int64_t job, enum hub_child what, bool *may,
                            double now)
{
    enum place place;
    const enum err e = place_of_job(h, job, &place);
    *may = !e && place == PLACE_MEDIA;
    if (!e && place == PLACE_SILENT)
        put_off(h, job, what, now);
    if (e || place != PLACE_ELSEWHERE)
        return e;
    return hub_job_fail(
        h, job,
        "its film or its output does not lie in a media folder any more: a link or --media was "
        "changed",
        now);
}

// Which model a job is for: the one it names, or the only one. NULL: not known yet.
static const struct ledger_model *model_for(struct hub *h, const struct ledger_job *row)
{
    if (*row->model)
        return hub_model_find(h, row->model);
    return h->model_count == 1 ? &h->models[0] : NULL;
}

// Its folder, with nothing in it but the request: with another ledger its number may have been another job's.
static enum err begin_spool(const struct hub *h, int64_t job)
{
    void *request;
    size_t bytes;
    spool_remove(&h->spool, job);
    enum err e = ledger_request(h->ledger, job, &request, &bytes);
    if (!e)
        e = spool_begin(&h->spool, job, request, bytes);
    free(request);
    return e;
}

static enum err start_plan(struct hub *h, struct hub_errand *errand, double now)
{
    bool may;
    enum err e = check_media(h, errand->job, CHILD_PLAN, &may, now);
    if (e || !may)
        return e;
    struct ledger_job *row = malloc(sizeof(*row));
    e = row ? ledger_job(h->ledger, errand->job, row) : ERR_NOMEM;
    const struct ledger_model *m = e ? NULL : model_for(h, row);
    const bool probing = !e && row->state == JOB_PROBING; // the ledger failed when it ended
    char *folder = spool_path(&h->spool, errand->job, NULL);
    errand->lacks_model = !e && !m;
    errand->models_then = h->models_learnt;
    snprintf(errand->model, sizeof(errand->model), "%s", e ? "" : row->model);
    free(row);
    if (errand->lacks_model) { // until a worker says what its model is like
        free(folder);
        if (hub_job_require(h, errand->job, &errand->require))
            errand->require = (struct require){ 0 }; // its plan will fail for the same reason
        return ERR_OK;
    }
    char rate[16], hop[16], most[16];
    if (m) {
        snprintf(rate, sizeof(rate), "%u", m->sample_rate);
        snprintf(hop, sizeof(hop), "%u", m->hop);
        snprintf(most, sizeof(most), "%u", m->max_duration_ms);
        e = folder ? ledger_choose_model(h->ledger, errand->job, m->sha256) : ERR_NOMEM;
    }
    if (!e && !probing)
        e = ledger_move_job(h->ledger, errand->job, JOB_PROBING, NULL, 0);
    if (!e)
        e = begin_spool(h, errand->job);
    if (!e)
        e = start(h, errand->job, CHILD_PLAN,
                  (const char *const[]){ "plan", folder, rate, hop, most, NULL });
    errand->running = !e;
    free(folder);
    return e;
}

static enum err start_publish(struct hub *h, struct hub_errand *errand, double now)
{
    bool may;
    const enum err refused = check_media(h, errand->job, CHILD_PUBLISH, &may, now);
    if (refused || !may)
        return refused;
    char *folder = spool_path(&h->spool, errand->job, NULL), number[24];
    snprintf(number, sizeof(number), "%lld", (long long) errand->job);
    const enum err e = folder ? start(h, errand->job, CHILD_PUBLISH,
                                      (const char *const[]){ "publish", folder, number, NULL })
                              : ERR_NOMEM;
    errand->running = !e;
    free(folder);
    return e;
}

static bool has_child(const struct hub *h, int64_t job, enum hub_child what)
{
    for (uint32_t i = 0; i < CHILDREN_MOST; i++)
        if (h->children.running[i].pid && h->children.running[i].job == job &&
            h->children.running[i].what == (int) what)
            return true;
    return false;
}

static uint32_t wanted_by_workers(const struct hub *h)
{
    uint32_t n = 0;
    for (size_t i = 0; i < h->fleet.count; i++)
        n += fleet_may_work(&h->fleet.workers[i]) ? h->fleet.workers[i].want : 0;
    return n;
}

// The next segments of one job whose pictures are wanted; they count as asked for.
static uint32_t choose_frames(struct hub *h, int64_t *job, uint32_t *segments)
{
    uint32_t n = 0;
    int64_t of;
    const uint32_t ahead = PICTURES_AHEAD + 2 * wanted_by_workers(h);
    while (n < FRAMES_AT_ONCE &&
           schedule_wants_frames(&h->schedule, ahead, &of, &segments[n])) {
        if ((n > 0 && of != *job) || has_child(h, of, CHILD_FRAMES) || !hub_job_get(h, of))
            break;
        *job = of;
        schedule_frames(&h->schedule, of, segments[n++], FRAMES_ASKED);
    }
    return n;
}

static enum err start_frames(struct hub *h, double now, bool *started)
{
    uint32_t segments[FRAMES_AT_ONCE];
    char numbers[FRAMES_AT_ONCE][16], rate[32], side[16];
    const char *arguments[FRAMES_AT_ONCE + 5] = { "frames" };
    int64_t job = 0;
    *started = false;
    const uint32_t n = now < h->frames_not_before_s ? 0 : choose_frames(h, &job, segments);
    if (n == 0)
        return ERR_OK;
    bool may;
    enum err e = check_media(h, job, CHILD_FRAMES, &may, now);
    if (e)
        frames_settled(h, job);
    *started = !e; // or another's may be
    if (e || !may)
        return e;
    const struct hub_job *j = hub_job_find(h, job);
    char *folder = spool_path(&h->spool, job, NULL);
    snprintf(rate, sizeof(rate), "%.17g", j->model.frames_per_s);
    snprintf(side, sizeof(side), "%u", j->model.image);
    arguments[1] = folder;
    arguments[2] = rate;
    arguments[3] = side;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(numbers[i], sizeof(numbers[i]), "%u", segments[i]);
        arguments[4 + i] = numbers[i];
    }
    e = folder ? start(h, job, CHILD_FRAMES, arguments) : ERR_NOMEM;
    if (e)
        frames_settled(h, job);
    *started = !e;
    free(folder);
    return e;
}

// Films are finished before others are begun: deliveries first, then pictures, then plans.
static enum err start_children(struct hub *h, double now)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && children_free(&h->children) > 0 && i < h->errand_count; i++)
        if (h->errands[i].what == CHILD_PUBLISH && !h->errands[i].running &&
            now >= h->errands[i].patience.not_before_s)
            e = start_publish(h, &h->errands[i], now);
    for (bool started = true; !e && started && children_free(&h->children) > 0;)
        e = start_frames(h, now, &started);
    for (size_t i = 0; !e && children_free(&h->children) > 0 && i < h->errand_count; i++)
        if (h->errands[i].what == CHILD_PLAN && !h->errands[i].running &&
            now >= h->errands[i].patience.not_before_s &&
            (!h->errands[i].lacks_model || h->errands[i].models_then != h->models_learnt))
            e = start_plan(h, &h->errands[i], now);
    return e;
}

// Children that have ended

static enum err planned(struct hub *h, int64_t job, double now)
{
    struct ledger_job *row = malloc(sizeof(*row));
    struct hub_job *j;
    enum err e = row ? ledger_job(h->ledger, job, row) : ERR_NOMEM;
    if (!e)
        e = hub_job_load(h, job, row->model, &j);
    free(row);
    struct ledger_planned *segments =
        e ? NULL : calloc(j->plan->segment_count, sizeof(*segments));
    if (!e && !segments)
        e = ERR_NOMEM;
    for (uint32_t i = 0; !e && i < j->plan->segment_count; i++) {
        const struct plan_segment *g = &j->plan->segments[i];
        segments[i] =
            (struct ledger_planned){ g->cue, g->index, g->end_ms - g->start_ms - g->overlap_ms,
                                     plan_remaining_ms(j->plan, i) };
    }
    if (!e)
        e = ledger_plan(h->ledger, job, j->plan->film.duration_ms, j->plan->cue_count, segments,
                        j->plan->segment_count);
    free(segments);
    if (!e)
        log_event(LOG_INFO, &(struct log_subject){ .job = job },
                  "job %lld: %u cues, %u segments", (long long) job, j->plan->cue_count,
                  j->plan->segment_count);
    hub_job_forget(h, job); // until its turn comes
    return e ? e : hub_job_follow(h, job, now);
}

static void say_again(int64_t job, const char *reason, double in_s)
{
    log_event(LOG_WARN, &(struct log_subject){ .job = job }, "job %lld: %s; again in %.0f s",
              (long long) job, reason, in_s);
}

// It was the machine's fault, and stays so.
static enum err give_up(struct hub *h, int64_t job, const char *reason, double now)
{
    char text[CHILD_TAIL_BYTES + 128];
    snprintf(text, sizeof(text),
             "%s; tried %d times: see to the disk or the machine, then underscore retry %lld",
             reason, PATIENCE_TRIES, (long long) job);
    return hub_job_fail(h, job, text, now);
}

// The machine's fault, not the film's: later again.
static enum err later(struct hub *h, int64_t job, enum hub_child what, enum err result,
                      const char *reason, double now)
{
    const int64_t i = find_errand(h, job, (int) what);
    if (i < 0)
        return ERR_OK;
    h->errands[i].running = false;
    if (!patience_fail(&h->errands[i].patience, result, now))
        return give_up(h, job, reason, now);
    say_again(job, reason, h->errands[i].patience.not_before_s - now);
    return what == CHILD_PLAN ? ledger_move_job(h->ledger, job, JOB_SUBMITTED, NULL, 0)
                              : ERR_OK;
}

// The child has done its part, the ledger could not: the child is asked once more.
static enum err ask_again(struct hub *h, int64_t job, enum hub_child what, enum err e,
                          double now)
{
    const int64_t i = find_errand(h, job, (int) what);
    if (err_is_disk(e) && i >= 0) {
        h->errands[i].running = false;
        h->errands[i].patience.not_before_s = now + PATIENCE_FIRST_S;
    }
    return e;
}

static void errand_done(struct hub *h, int64_t job, enum hub_child what)
{
    const int64_t i = find_errand(h, job, (int) what);
    if (i >= 0)
        drop_errand(h, (size_t) i);
}

// Not the film's fault, or not for sure: it may be away because its file system is, for a moment. What cannot be
// created is a file of the spool, but for the output.
static bool may_pass(enum err e, enum hub_child what)
{
    return err_is_transient(e) || e == ERR_MISSING ||
           (e == ERR_CREATE && what != CHILD_PUBLISH);
}

static enum err plan_ended(struct hub *h, int64_t job, enum err result, const char *reason,
                           double now)
{
    if (result && may_pass(result, CHILD_PLAN))
        return later(h, job, CHILD_PLAN, result, reason, now);
    enum err e = result ? hub_job_fail(h, job, reason, now) : planned(h, job, now);
    if (!result && (e == ERR_INPUT || e == ERR_MISSING))
        e = hub_job_fail(h, job, "its plan cannot be read", now);
    if (e)
        return ask_again(h, job, CHILD_PLAN, e, now);
    errand_done(h, job, CHILD_PLAN);
    return ERR_OK;
}

// Those that have waited long enough.
static void resume_frames(struct hub *h, double now)
{
    if (now < h->postponed_s)
        return;
    h->postponed_s = (double) INFINITY;
    for (size_t i = 0; i < h->job_count; i++)
        if (h->jobs[i]->postponed && now >= h->jobs[i]->patience.not_before_s)
            postpone_frames(h, h->jobs[i], false);
        else if (h->jobs[i]->postponed)
            h->postponed_s = fmin(h->postponed_s, h->jobs[i]->patience.not_before_s);
}

static enum err frames_ended(struct hub *h, int64_t job, enum err result, const char *reason,
                             double now)
{
    struct hub_job *j = hub_job_find(h, job);
    frames_settled(h, job);
    if (!result && j)
        j->patience = (struct patience){ 0 };
    if (!result || !j)
        return ERR_OK;
    if (!may_pass(result, CHILD_FRAMES))
        return hub_job_fail(h, job, reason, now);
    if (!patience_fail(&j->patience, result, now))
        return give_up(h, job, reason, now);
    say_again(job, reason, j->patience.not_before_s - now);
    if (result == ERR_FULL) // no other job would fare better
        h->frames_not_before_s = j->patience.not_before_s;
    else
        postpone_frames(h, j, true);
    return ERR_OK;
}

// It could not be published: because of results that are damaged or gone? Then those are
// composed again.
static enum err compose_again(struct hub *h, int64_t job, bool *again, double now)
{
    struct ledger_job *row = malloc(sizeof(*row));
    struct hub_job *j = NULL;
    enum err e = row ? ledger_job(h->ledger, job, row) : ERR_NOMEM;
    if (!e)
        e = hub_job_load(h, job, row->model, &j);
    uint32_t *lacking = e ? NULL : calloc(j->plan->segment_count, sizeof(*lacking));
    const uint32_t count = lacking ? spool_lacks(&h->spool, job, j->plan, lacking) : 0;
    *again = count > 0;
    if (count) {
        log_event(
            LOG_WARN, &(struct log_subject){ .job = job },
            "job %lld: the finished parts of %u segments are damaged or gone; they are composed again",
            (long long) job, count);
        e = foreman_reopen(&h->foreman, job, lacking, count, now);
        if (e)
            e = ask_again(h, job, CHILD_PUBLISH, e, now);
        else
            errand_done(h, job, CHILD_PUBLISH);
    }
    free(row), free(lacking);
    return *again ? e : ERR_OK; // without a plan there is nothing to be found out
}

static enum err publish_ended(struct hub *h, int64_t job, enum err result, const char *reason,
                              double now)
{
    if (result && may_pass(result, CHILD_PUBLISH))
        return later(h, job, CHILD_PUBLISH, result, reason, now);
    bool again = false;
    const enum err reopened = result ? compose_again(h, job, &again, now) : ERR_OK;
    if (again)
        return reopened;
    enum job_state to = JOB_DONE;
    if (result)
        to = result == ERR_CREATE ? JOB_HELD : JOB_FAILED;
    const enum err e =
        ledger_move_job(h->ledger, job, to, result ? reason : "", clock_unix_ms());
    if (e)
        return ask_again(h, job, CHILD_PUBLISH, e, now);
    errand_done(h, job, CHILD_PUBLISH);
    if (to == JOB_DONE)
        log_event(LOG_INFO, &(struct log_subject){ .job = job }, "job %lld is done",
                  (long long) job);
    else
        log_event(LOG_WARN, &(struct log_subject){ .job = job }, "job %lld: %s",
                  (long long) job, reason);
    return hub_job_follow(h, job, now);
}

struct endings {
    struct hub *h;
    double now;
    enum err error;
};

static void on_ended(void *user, int64_t job, int what, enum err result, const char *reason)
{
    struct endings *s = user;
    enum err e = ERR_OK;
    switch ((enum hub_child) what) {
    case CHILD_PLAN: e = plan_ended(s->h, job, result, reason, s->now); break;
    case CHILD_FRAMES: e = frames_ended(s->h, job, result, reason, s->now); break;
    case CHILD_PUBLISH: e = publish_ended(s->h, job, result, reason, s->now); break;
    }
    s->error = s->error ? s->error : e;
}

// A child whose file system does not answer hangs for as long: the others' films have its place.
static void set_hanging_aside(struct hub *h, double now)
{
    if (now < h->hanging_next_s)
        return;
    h->hanging_next_s = now + PATIENCE_FIRST_S;
    for (uint32_t i = 0; i < CHILDREN_MOST; i++) {
        struct child *child = &h->children.running[i];
        enum place place;
        if (!child->pid || child->killed || place_of_job(h, child->job, &place))
            continue;
        child->aside = place == PLACE_SILENT;
        // Others do not stand in line behind its job.
        if (child->aside && child->what == (int) CHILD_FRAMES)
            put_off(h, child->job, CHILD_FRAMES, now);
    }
}

enum err hub_children_tick(struct hub *h, double now)
{
    struct endings s = { h, now, ERR_OK };
    children_poll(&h->children, on_ended, &s);
    set_hanging_aside(h, now);
    enum err e = s.error;
    if (!e)
        e = foreman_tick(&h->foreman, now);
    resume_frames(h, now);
    if (!e)
        e = start_children(h, now);
    if (!e && h->unreadable) {
        const int64_t job = h->unreadable;
        h->unreadable = 0;
        if (schedule_job(&h->schedule, job))
            e = hub_job_unreadable(h, job, now);
    }
    return e;
}
