// The hub and the clients: jobs handed in, asked about, ordered about.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "coordinator/hub/hub_internal.h"

#define FNV_START 0xcbf29ce484222325u
#define FNV_OTHER 0x84222325cbf29ce4u
#define FNV_PRIME 0x100000001b3u
#define IDENTITY_BYTES 128

// Submitting

// A client is told at once what would else be found out when all is composed. Watched films become
// jobs all the same, which wait: nobody would submit them again.
static bool is_permitted(struct hub *h, const struct hub_route *from,
                         const struct wire_submit *s)
{
    char folder[WIRE_PATH_BYTES];
    const bool is_client = from->bytes > 0;
    if (is_client && access(s->film, R_OK) != 0)
        hub_reject(h, from, "%.1500s: the coordinator cannot read it: %s", s->film,
                   strerror(errno));
    else if (is_client && hub_folder_of(folder, s->output) && access(folder, W_OK) != 0)
        hub_reject(h, from, "%.1500s: the coordinator cannot write there: %s", s->output,
                   strerror(errno));
    else
        return true;
    return false;
}

// What is wrong with a submission, said to the client; false then.
static bool is_acceptable(struct hub *h, const struct hub_route *from,
                          const struct wire_submit *s)
{
    char path[WIRE_PATH_BYTES], folder[WIRE_PATH_BYTES];
    uint64_t bytes;
    const enum place film = hub_place_of(h, s->film);
    const enum place output =
        hub_folder_of(folder, s->output) ? hub_place_of(h, folder) : PLACE_ELSEWHERE;
    size_t models = shelf_find(h->shelf, s->model, path, sizeof(path), &bytes);
    struct require require;
    char why[WIRE_TEXT_BYTES - 64];
    for (size_t i = 0; i < h->model_count; i++)
        models += !strcmp(h->models[i].sha256, s->model);
    if (film == PLACE_SILENT)
        hub_reject(h, from, "%.1500s: its file system does not answer" WIRE_LATER, s->film);
    else if (output == PLACE_SILENT || !hub_answers(h, s->output)) // which may be a link
        hub_reject(h, from, "%.1500s: its file system does not answer" WIRE_LATER, s->output);
    else if (film != PLACE_MEDIA)
        hub_reject(h, from,
                   "%.1500s: not a file in a folder that this coordinator takes films from",
                   s->film);
    else if (output != PLACE_MEDIA)
        hub_reject(h, from, "%.1500s: not in a folder that this coordinator may write to",
                   s->output);
    else if (access(s->output, F_OK) != 0 && errno == ENAMETOOLONG)
        hub_reject(h, from, "%.1500s: its name is too long for a file there", s->output);
    else if (file_is_same(s->film, s->output))
        hub_reject(h, from, "%.1500s: is the film itself; choose another output", s->output);
    else if (*s->model && models == 0)
        hub_reject(h, from,
                   "no worker has had the model %.64s, and it is in no folder of models",
                   s->model);
    else if (!*s->model && h->model_count > 1)
        hub_reject(h, from, "the workers have several models: say which with --model FILE");
    else if (require_parse(&require, s->require, why, sizeof(why)))
        hub_reject(h, from, "--require %s", why);
    else if (!*s->owner)
        hub_reject(h, from, "a job without an owner");
    else
        return true;
    return false;
}

static uint64_t fnv(uint64_t x, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        x = (x ^ p[i]) * FNV_PRIME;
    return x;
}

void hub_identity_ending(char out[HUB_ENDING_BYTES], int64_t bytes, struct timespec changed)
{
    snprintf(out, HUB_ENDING_BYTES, "-%lld-%lld.%09ld", (long long) bytes,
             (long long) changed.tv_sec, changed.tv_nsec);
}

// The film as it is now, the settings and the output, in 128 bits. Who asks and how
// urgently does not make it another job.
static enum err identify(char out[IDENTITY_BYTES], const struct wire_submit *s)
{
    uint8_t *bytes;
    size_t n;
    char ending[HUB_ENDING_BYTES];
    struct stat st = { 0 };
    struct wire_message *m = calloc(1, sizeof(*m));
    if (!m)
        return ERR_NOMEM;
    m->type = WIRE_SUBMIT;
    m->submit = *s;
    m->submit.force = m->submit.overwrite = false;
    m->submit.priority = 0;
    m->submit.owner[0] = 0;
    stat(s->film, &st);
    const enum err e = wire_encode(&bytes, &n, m);
    free(m);
    if (e)
        return e;
    hub_identity_ending(ending, st.st_size, st.st_mtim);
    snprintf(out, IDENTITY_BYTES, "%016llx%016llx%s",
             (unsigned long long) fnv(FNV_START, bytes, n),
             (unsigned long long) fnv(FNV_OTHER, bytes, n), ending);
    free(bytes);
    return ERR_OK;
}

static enum err keep(struct hub *h, const struct wire_submit *s, const char *identity,
                     int64_t *job, bool *existed)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    enum err e = wire_encode(&bytes, &n, &h->in);
    if (!e)
        e = ledger_submit(h->ledger,
                          &(struct ledger_submission){
                              .film = s->film,
                              .output = s->output,
                              .owner = s->owner,
                              .model = s->model,
                              .identity = identity,
                              .priority = s->priority,
                              .request = bytes,
                              .request_bytes = n,
                              .force = s->force,
                          },
                          clock_unix_ms(), job, existed);
    free(bytes);
    if (!e && !*existed) {
        log_event(LOG_INFO, &(struct log_subject){ .job = *job }, "job %lld: %s for %s",
                  (long long) *job, s->film, s->owner);
        e = hub_job_submitted(h, *job);
    }
    return e;
}

// A new job's output may not be there yet, unless it may be replaced, and no other job may
// be about to write it. What is wrong is said to the client.
static enum err output_is_free(struct hub *h, const struct hub_route *from,
                               const struct wire_submit *s, const char *identity, bool *is_free)
{
    int64_t same = 0, other = 0;
    *is_free = false;
    enum err e = s->force ? ERR_OK : ledger_find(h->ledger, identity, &same);
    if (!e && !same)
        e = ledger_writes(h->ledger, s->output, &other);
    if (!e && !same && h->queue.disabled)
        hub_reject(h, from, "no new jobs are taken: the queue is disabled");
    else if (!e && other)
        hub_reject(
            h, from,
            "%.1500s: job %lld is to write this; cancel that first, or choose another name",
            s->output, (long long) other);
    else if (!e && !same && !s->overwrite && access(s->output, F_OK) == 0)
        hub_reject(h, from, "%.1500s: exists; choose another name or say --overwrite",
                   s->output);
    else
        *is_free = !e;
    return e;
}

static enum err on_submit(struct hub *h, const struct hub_route *from)
{
    struct wire_submit *s = &h->in.submit;
    char identity[IDENTITY_BYTES];
    int64_t job;
    bool existed, is_free;
    if (*from->node) // nobody uses another's share: with keys the key says who it is
        snprintf(s->owner, sizeof(s->owner), "%s", from->node);
    if (!is_acceptable(h, from, s) || !is_permitted(h, from, s))
        return ERR_OK;
    enum err e = identify(identity, s);
    if (!e)
        e = output_is_free(h, from, s, identity, &is_free);
    if (!e && !is_free)
        return ERR_OK;
    if (!e)
        e = keep(h, s, identity, &job, &existed);
    if (e) {
        hub_reject(h, from, "the job could not be kept: %s", err_text(e));
        return e;
    }
    struct wire_message *m = hub_answer(h, WIRE_SUBMITTED);
    m->submitted.job = (uint64_t) job;
    m->submitted.existed = existed;
    hub_send(h, from);
    return ERR_OK;
}

// Asking

static void put_text(char *to, size_t room, const char *text)
{
    const size_t n = strnlen(text, room - 1);
    memcpy(to, text, n);
    to[n] = 0;
}

// Field by field: to clear the whole first would take longer than all else.
static void describe_job(const struct hub *h, struct wire_job *out, const struct ledger_job *j)
{
    const double left = schedule_left(&h->schedule, &h->fleet, j->id);
    out->job = (uint64_t) j->id;
    put_text(out->state, sizeof(out->state), job_state_name(j->state));
    put_text(out->film, sizeof(out->film), j->film);
    put_text(out->output, sizeof(out->output), j->output);
    put_text(out->owner, sizeof(out->owner), j->owner);
    out->priority = j->priority;
    out->segments = j->segments;
    out->done = j->done;
    out->running = schedule_running(&h->schedule, j->id);
    out->cues = j->cues;
    out->submitted_ms = j->submitted_ms;
    out->ended_ms = j->ended_ms;
    out->duration_ms = j->duration_ms;
    out->left_ms = left < 0 ? -1 : (int64_t) (left * 1000);
    out->over = job_state_is_over(j->state);
    out->failed = j->state == JOB_FAILED;
    put_text(out->reason, sizeof(out->reason), j->reason);
}

struct listing {
    struct hub *h;
    const struct hub_route *to;
    uint32_t count, bytes;
    struct wire_job job;
    uint8_t rows[WIRE_ROWS_BYTES];
};

static void send_rows(struct listing *l)
{
    hub_answer(l->h, WIRE_JOBS)->jobs.rows = (struct wire_bytes){ l->rows, l->bytes };
    hub_send(l->h, l->to);
    l->bytes = 0;
}

static enum err list_job(void *user, const struct ledger_job *j)
{
    struct listing *l = user;
    describe_job(l->h, &l->job, j);
    l->count++;
    if (wire_add_row(l->rows, &l->bytes, &l->job))
        return ERR_OK;
    send_rows(l);
    return wire_add_row(l->rows, &l->bytes, &l->job) ? ERR_OK : ERR_BUG;
}

static void send_listed(struct hub *h, const struct hub_route *to, bool more)
{
    hub_answer(h, WIRE_LISTED)->listed.more = more;
    hub_send(h, to);
}

// How many jobs there are, or are not over.
static enum err count_jobs(struct hub *h, bool open, uint64_t *out)
{
    uint64_t counts[JOB_STATES];
    const enum err e = ledger_count_jobs(h->ledger, counts);
    *out = 0;
    for (int s = 0; !e && s < JOB_STATES; s++)
        *out += open && job_state_is_over((enum job_state) s) ? 0 : counts[s];
    return e;
}

static enum err on_list(struct hub *h, const struct hub_route *from)
{
    const uint32_t most = h->in.list.most;
    const bool open = h->in.list.open, last = h->in.list.last;
    uint64_t count = 0;
    struct listing *l = malloc(sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->h = h;
    l->to = from;
    l->count = l->bytes = 0;
    enum err e =
        last ? ledger_each_last(h->ledger, most, open, list_job, l)
             : ledger_each_job(h->ledger, (int64_t) h->in.list.after, most, open, list_job, l);
    if (!e && last)
        e = count_jobs(h, open, &count);
    if (l->bytes)
        send_rows(l);
    struct wire_message *m = hub_answer(h, WIRE_LISTED);
    m->listed.more = !last && l->count == most;
    m->listed.count = count;
    hub_send(h, from);
    free(l);
    return e;
}

// The job of a question; NULL: there is none, or *e, and the client knows. The caller frees.
static struct ledger_job *asked_job(struct hub *h, const struct hub_route *from, uint64_t job,
                                    enum err *e)
{
    struct ledger_job *j = malloc(sizeof(*j));
    *e = j ? ledger_job(h->ledger, (int64_t) job, j) : ERR_NOMEM;
    if (!*e)
        return j;
    if (*e == ERR_MISSING) {
        hub_reject(h, from, "there is no job %llu", (unsigned long long) job);
        *e = ERR_OK;
    }
    free(j);
    return NULL;
}

static enum err on_show(struct hub *h, const struct hub_route *from)
{
    enum err e;
    struct ledger_job *j = asked_job(h, from, h->in.show.job, &e);
    if (j) {
        struct wire_job *out = &hub_answer(h, WIRE_JOB)->job;
        const struct ledger_model *model = hub_model_find(h, j->model);
        describe_job(h, out, j);
        put_text(out->model, sizeof(out->model), j->model);
        put_text(out->license, sizeof(out->license), model ? model->license : "");
        hub_send(h, from);
    }
    free(j);
    return e;
}

// Why nothing of any job is given out, as a clause; NULL: it is.
static const char *held_up(const struct hub *h)
{
    return h->paused ? "wait because the coordinator's disk takes nothing"
           : h->queue.stopped
               ? "wait because the queue is stopped, until `underscore queue start`"
               : NULL;
}

static void explain(struct hub *h, const struct ledger_job *j, char *out, size_t room)
{
    switch (j->state) {
    case JOB_SUBMITTED:
        snprintf(out, room,
                 h->model_count ? "it waits for its turn to be looked at"
                                : "no worker has been here yet, so no model is known");
        break;
    case JOB_PROBING: snprintf(out, room, "its scene changes are being looked for"); break;
    case JOB_PLANNED:
    case JOB_RUNNING:
    case JOB_PAUSED:
        schedule_explain(&h->schedule, &h->fleet, j->id, held_up(h), out, room);
        break;
    case JOB_ASSEMBLING:
        snprintf(out, room, "all is composed; the film is being written%s%.1000s",
                 *j->reason ? ": " : "", j->reason);
        break;
    case JOB_HELD:
        snprintf(out, room,
                 "it waits for somebody to see to this, and then for `retry`: %.1500s",
                 j->reason);
        break;
    case JOB_DONE:
    case JOB_FAILED:
    case JOB_CANCELLED:
    case JOB_STATES:
        snprintf(out, room, "it is over%s%.1500s", *j->reason ? ": " : "", j->reason);
        break;
    }
}

// Each worker that may not compose what waits of a job, and why.
static void explain_workers(struct hub *h, const struct hub_route *to, int64_t job)
{
    const struct work_job *work = schedule_job(&h->schedule, job);
    char why[512];
    for (size_t i = 0; work && work->done < work->count && i < h->fleet.count; i++) {
        const struct fleet_worker *w = &h->fleet.workers[i];
        if (!schedule_excludes(work, w, why, sizeof(why)))
            continue;
        struct wire_message *m = hub_answer(h, WIRE_LINE);
        snprintf(m->line.text, sizeof(m->line.text), "worker %s %s", w->name, why);
        hub_send(h, to);
    }
}

static enum err on_explain(struct hub *h, const struct hub_route *from, double now)
{
    enum err e;
    struct ledger_job *j = asked_job(h, from, h->in.explain.job, &e);
    if (!j)
        return e;
    struct wire_message *m = hub_answer(h, WIRE_LINE);
    if (!job_state_is_over(j->state) && hub_place_of_job(h, j->film, j->output) == PLACE_SILENT)
        snprintf(m->line.text, sizeof(m->line.text),
                 "the file system of its film or its output does not answer");
    else
        explain(h, j, m->line.text, sizeof(m->line.text));
    hub_send(h, from);
    char text[WIRE_TEXT_BYTES];
    hub_elastic_explain(h, j->id, now, text, sizeof(text));
    if (*text) {
        snprintf(hub_answer(h, WIRE_LINE)->line.text, WIRE_TEXT_BYTES, "%s", text);
        hub_send(h, from);
    }
    explain_workers(h, from, j->id);
    send_listed(h, from, false);
    free(j);
    return ERR_OK;
}

// Ordering

static enum err obey(struct hub *h, const struct ledger_job *j, enum wire_job_order what,
                     int64_t value)
{
    switch (what) {
    case WIRE_JOB_CANCEL:
        return ledger_move_job(h->ledger, j->id, JOB_CANCELLED, "cancelled", clock_unix_ms());
    case WIRE_JOB_PAUSE: return ledger_move_job(h->ledger, j->id, JOB_PAUSED, NULL, 0);
    case WIRE_JOB_RESUME: return ledger_move_job(h->ledger, j->id, JOB_RUNNING, NULL, 0);
    case WIRE_JOB_RETRY: return ledger_retry(h->ledger, j->id);
    case WIRE_JOB_PRIORITY: return ledger_prioritise(h->ledger, j->id, value);
    case WIRE_JOB_ORDERS: break;
    }
    return ERR_BUG;
}

// One that is over may have left its output to another.
static enum err may_write_again(struct hub *h, const struct hub_route *from,
                                const struct ledger_job *j, bool *may)
{
    int64_t other = 0;
    const enum err e = ledger_writes(h->ledger, j->output, &other);
    *may = !e && (!other || other == j->id);
    if (!e && !*may)
        hub_reject(h, from, "%.1500s: job %lld is to write this; cancel that first", j->output,
                   (long long) other);
    return e;
}

static enum err on_order(struct hub *h, const struct hub_route *from, double now)
{
    static const char *const verbs[WIRE_JOB_ORDERS] = { "cancelled", "paused", "resumed",
                                                        "tried again", "given a priority" };
    enum err e;
    bool may = true;
    const enum wire_job_order what = (enum wire_job_order) h->in.order.what;
    struct ledger_job *j = asked_job(h, from, h->in.order.job, &e);
    if (!j)
        return e;
    if (what == WIRE_JOB_RETRY && job_state_is_over(j->state))
        e = may_write_again(h, from, j, &may);
    if (e || !may) {
        free(j);
        return e;
    }
    e = obey(h, j, what, h->in.order.value);
    if (e == ERR_INPUT) {
        hub_reject(h, from, "job %lld is %s: it cannot be %s", (long long) j->id,
                   job_state_name(j->state), verbs[what]);
        e = ERR_OK;
    } else if (!e) {
        hub_answer(h, WIRE_OBEYED)->obeyed.job = (uint64_t) j->id;
        hub_send(h, from);
        e = hub_job_follow(h, j->id, now);
    } else {
        hub_reject(h, from, "it could not be written down: %s", err_text(e));
    }
    free(j);
    return e;
}

// The configuration

struct config_lines {
    struct hub *h;
    const struct hub_route *to;
};

static void send_line(void *to, const char *text)
{
    const struct config_lines *l = to;
    snprintf(hub_answer(l->h, WIRE_LINE)->line.text, WIRE_TEXT_BYTES, "%s", text);
    hub_send(l->h, l->to);
}

static void on_config(struct hub *h, const struct hub_route *from)
{
    char why[WIRE_TEXT_BYTES] = "there is no configuration to ask about";
    struct config_lines lines = { h, from };
    log_keep_error(why, sizeof(why));
    const bool done =
        h->p.configure &&
        !h->p.configure(h->p.user, (enum wire_config) h->in.config.what, send_line, &lines);
    log_keep_error(NULL, 0);
    if (done)
        send_listed(h, from, false);
    else
        hub_reject(h, from, "%s", why);
}

enum err hub_client_message(struct hub *h, const struct hub_route *from, double now)
{
    switch ((int) h->in.type) {
    case WIRE_SUBMIT: return on_submit(h, from);
    case WIRE_LIST: return on_list(h, from);
    case WIRE_SHOW: return on_show(h, from);
    case WIRE_NODES: hub_on_nodes(h, from, now); return ERR_OK;
    case WIRE_LOGS: return hub_on_logs(h, from);
    case WIRE_QUEUE: return hub_on_queue(h, from);
    case WIRE_LEDGER: return hub_on_ledger(h, from);
    case WIRE_NODE_ORDER: return hub_on_node_order(h, from);
    case WIRE_EXPLAIN: return on_explain(h, from, now);
    case WIRE_ORDER: return on_order(h, from, now);
    case WIRE_CONFIG: on_config(h, from); return ERR_OK;
    default: return ERR_OK; // what only a coordinator says
    }
}
