#include "worker/link/link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/wire/crc32c.h"
#include "worker/link/line.h"

#define HELLO_EVERY_S 2.0
// How long an answer may take before the question is asked again, while others are answered.
#define ANSWER_S 10.0

struct talk {
    const struct link_params *p;
    struct desk *desk;
    struct line line;
    bool welcome; // the coordinator knows this worker
    bool quiet;   // told to ask for nothing new
    bool draining, refused;
    bool idle; // that is why it leaves
    double beat_s, lease_s;
    double busy_s; // when it last had something to do
    double next_beat_s, next_hello_s;
    double beat_sent_s; // of the first beat that has not been answered; 0: none
    uint64_t moved;     // what came in and went out: that is getting on, too
    uint32_t wanted;    // as last asked for
};

// Results that an earlier start left

static enum err take_up(struct talk *t, const char *name)
{
    unsigned long long attempt, fence;
    char ending[16];
    if (sscanf(name, "%llu-%llu.%15s", &attempt, &fence, ending) != 3 ||
        strcmp(ending, "safetensors") != 0)
        return ERR_OK; // half-written, or somebody else's
    struct task *task = calloc(1, sizeof(*task));
    if (!task)
        return ERR_NOMEM;
    task->lease.attempt = attempt;
    task->lease.fence = fence;
    task->state = TASK_SPOOLED;
    task->path = desk_result_path(t->p->outbox, attempt, fence);
    if (!task->path) {
        task_free(task);
        return ERR_NOMEM;
    }
    desk_add(t->desk, task);
    return ERR_OK;
}

static enum err take_up_outbox(struct talk *t)
{
    enum err e = file_make_directory(t->p->outbox);
    DIR *d = e ? NULL : opendir(t->p->outbox);
    desk_lock(t->desk);
    for (const struct dirent *entry; !e && d && (entry = readdir(d));) {
        const size_t n = strlen(entry->d_name);
        if (n > 5 && !strcmp(entry->d_name + n - 5, ".part"))
            unlinkat(dirfd(d), entry->d_name, 0); // cut short by a kill
        else
            e = take_up(t, entry->d_name);
    }
    desk_unlock(t->desk);
    if (d)
        closedir(d);
    return e;
}

// A result is offered once more, from its beginning.
static void begin_again(struct task *task, double not_before_s)
{
    task->opened = task->committed = false;
    task->sent = task->credit = task->crc32c = 0;
    task->not_before_s = not_before_s;
}

// Control

static void list_held(struct talk *t, struct wire_ids *out)
{
    out->count = 0;
    desk_lock(t->desk);
    for (const struct task *k = t->desk->tasks; k; k = k->next)
        if (!k->abandoned && out->count < WIRE_MAX_IDS)
            out->id[out->count++] = k->lease.attempt;
    desk_unlock(t->desk);
}

static void hello(struct talk *t, double now)
{
    if (now < t->next_hello_s)
        return;
    struct wire_message *m = line_say(&t->line, WIRE_HELLO);
    m->hello = t->p->hello;
    m->hello.rate = desk_rate(t->desk);
    list_held(t, &m->hello.held);
    line_send(&t->line);
    t->next_hello_s = now + HELLO_EVERY_S;
}

static void beat(struct talk *t, double now)
{
    if (now < t->next_beat_s)
        return;
    struct wire_message *m = line_say(&t->line, WIRE_BEAT);
    m->beat.progress = t->moved + atomic_load(&t->desk->steps);
    m->beat.rate = desk_rate(t->desk);
    list_held(t, &m->beat.held);
    if (line_send(&t->line) && t->beat_sent_s <= 0)
        t->beat_sent_s = now;
    t->next_beat_s = now + t->beat_s;
}

static uint32_t count_tasks(struct talk *t)
{
    uint32_t n = 0;
    desk_lock(t->desk);
    for (const struct task *k = t->desk->tasks; k; k = k->next)
        n += k->state != TASK_SPOOLED;
    desk_unlock(t->desk);
    return n;
}

// How many more segments there is room for: said when it changes, and with every beat.
static void pull(struct talk *t, bool again)
{
    const uint32_t room = t->p->hello.slots + t->p->prefetch, has = count_tasks(t);
    const bool none = t->quiet || t->draining || atomic_load(&t->desk->paused);
    const uint32_t want = none || has >= room ? 0 : room - has;
    if (want == t->wanted && !again)
        return;
    line_say(&t->line, WIRE_PULL)->pull.want = want < WIRE_MAX_WANT ? want : WIRE_MAX_WANT;
    if (line_send(&t->line))
        t->wanted = want;
}

static void say_failed(struct talk *t, const struct task *task, enum wire_failure why,
                       const char *text)
{
    struct wire_message *m = line_say(&t->line, WIRE_FAILED);
    m->failed.attempt = task->lease.attempt;
    m->failed.fence = task->lease.fence;
    m->failed.failure = (uint32_t) why;
    const int n = snprintf(m->failed.log_tail, sizeof(m->failed.log_tail), "%s\n", text);
    if (why == WIRE_FAIL_SHUTDOWN)
        m->failed.log_tail[n - 1] = 0; // nothing went wrong
    else
        log_tail(m->failed.log_tail + n, sizeof(m->failed.log_tail) - (size_t) n);
    line_send(&t->line);
}

static void acknowledge(struct talk *t, uint64_t attempt)
{
    line_say(&t->line, WIRE_LEASE_ACK)->lease_ack.attempt = attempt;
    line_send(&t->line);
}

static void on_lease(struct talk *t, double now)
{
    const struct wire_lease *l = &t->line.in.lease;
    const struct wire_model *model = &t->p->hello.model;
    struct task *task = NULL;
    desk_lock(t->desk);
    const bool known = desk_find(t->desk, l->attempt) != NULL;
    desk_unlock(t->desk);
    if (known) { // its acknowledgement was lost
        acknowledge(t, l->attempt);
        return;
    }
    const enum err e = task_make(&task, l, model->image, model->codebooks, t->p->max_columns,
                                 t->p->max_frames);
    if (e || t->draining) {
        const struct task refused = { .lease = *l };
        say_failed(t, &refused,
                   t->draining      ? WIRE_FAIL_SHUTDOWN
                   : e == ERR_INPUT ? WIRE_FAIL_INPUT
                                    : WIRE_FAIL_LOST,
                   t->draining ? "the worker is leaving"
                               : "the lease does not fit this worker's model or memory");
        task_free(task);
        return;
    }
    task->renewed_s = task->heard_s = now;
    desk_lock(t->desk);
    desk_add(t->desk, task);
    desk_unlock(t->desk);
    acknowledge(t, l->attempt);
    t->wanted -= t->wanted > 0;
}

// Not wanted any more, or not ours any more: tend() clears it away, what is being composed
// when the composer has let go of it. A result is offered all the same: it is for the
// coordinator to refuse.
static void abandon(struct talk *t, uint64_t attempt)
{
    desk_lock(t->desk);
    struct task *task = desk_find(t->desk, attempt);
    if (task && task->state != TASK_SPOOLED)
        task->abandoned = true;
    desk_unlock(t->desk);
}

static void begin_draining(struct talk *t)
{
    struct task *next;
    log_info("leaving: what is begun is finished and delivered, what is not goes back");
    t->draining = true;
    pull(t, true);
    desk_lock(t->desk);
    for (struct task *k = t->desk->tasks; k; k = next) {
        next = k->next;
        if (k->state != TASK_FETCHING && k->state != TASK_WAITING)
            continue;
        say_failed(t, k, WIRE_FAIL_SHUTDOWN, "the worker is leaving");
        desk_drop(t->desk, k);
    }
    desk_unlock(t->desk);
}

static void on_beat_ack(struct talk *t, double now)
{
    if (t->line.in.beat_ack.rehello) {
        if (t->welcome) // otherwise one is on its way
            t->next_hello_s = now;
        t->welcome = false;
        return;
    }
    for (uint32_t i = 0; i < t->line.in.beat_ack.cancel.count; i++)
        abandon(t, t->line.in.beat_ack.cancel.id[i]);
    desk_lock(t->desk);
    for (uint32_t i = 0; i < t->line.in.beat_ack.renewed.count; i++) {
        struct task *task = desk_find(t->desk, t->line.in.beat_ack.renewed.id[i]);
        // The beat that has waited longest for an answer may be from before the lease.
        if (task)
            task->renewed_s = fmax(task->renewed_s, t->beat_sent_s);
    }
    desk_unlock(t->desk);
    t->beat_sent_s = 0;
    t->quiet = t->line.in.beat_ack.order == WIRE_QUIET;
    if (t->line.in.beat_ack.order == WIRE_TERMINATE && !t->draining) {
        log_warn(
            "the coordinator wants this worker to leave: another has started under its name");
        t->welcome = true; // as far as to deliver what is finished
        begin_draining(t);
    }
}

// What the coordinator was asked for and sent before it was started anew, it has forgotten.
static void ask_anew(struct talk *t, double now)
{
    desk_lock(t->desk);
    for (struct task *k = t->desk->tasks; k; k = k->next)
        if (k->state == TASK_FETCHING) {
            k->frames.asked = k->frames.got;
            k->prompt.asked = k->prompt.got;
        } else if (k->state == TASK_SPOOLED) {
            begin_again(k, now);
        }
    desk_unlock(t->desk);
}

static void on_welcome(struct talk *t, double now)
{
    if (t->line.epoch != t->line.in.epoch)
        ask_anew(t, now);
    t->line.epoch = t->line.in.epoch;
    t->beat_s = t->line.in.welcome.beat_ms / 1000.0;
    t->lease_s = t->line.in.welcome.lease_ms / 1000.0;
    t->next_beat_s = now;
    t->beat_sent_s = 0;
    if (!t->welcome)
        log_info("the coordinator says welcome");
    t->welcome = true;
    pull(t, true);
}

static void on_control(void *user, double now)
{
    struct talk *t = user;
    switch ((int) t->line.in.type) {
    case WIRE_WELCOME: on_welcome(t, now); break;
    case WIRE_REJECT:
        log_error("the coordinator refuses this worker: %s", t->line.in.reject.reason);
        t->refused = true;
        break;
    case WIRE_LEASE: on_lease(t, now); break;
    case WIRE_BEAT_ACK: on_beat_ack(t, now); break;
    case WIRE_CANCEL: abandon(t, t->line.in.cancel.attempt); break;
    default: break;
    }
}

// Inputs

static void fetch(struct talk *t, struct task *task, double now)
{
    enum wire_what what;
    struct task_input *in = task_wants(task, &what);
    if (!in) {
        task->state = TASK_WAITING;
        desk_ready(t->desk);
        return;
    }
    if (now - task->heard_s > ANSWER_S) { // lost on the way
        in->asked = in->got;
        task->heard_s = now;
    }
    while (in->asked < in->bytes &&
           in->asked - in->got < (uint64_t) WIRE_CREDIT * WIRE_CHUNK_BYTES) {
        struct wire_message *m = line_say(&t->line, WIRE_FETCH);
        m->fetch.attempt = task->lease.attempt;
        m->fetch.what = (uint32_t) what;
        m->fetch.off = in->asked;
        if (!line_send(&t->line))
            break;
        in->asked +=
            in->bytes - in->asked < WIRE_CHUNK_BYTES ? in->bytes - in->asked : WIRE_CHUNK_BYTES;
    }
}

static void on_piece(struct talk *t, struct task *task, double now)
{
    enum wire_what what;
    struct task_input *in = task->state == TASK_FETCHING ? task_wants(task, &what) : NULL;
    const struct wire_bytes *data = &t->line.in.chunk.data;
    if (!in || t->line.in.chunk.what != (uint32_t) what || t->line.in.chunk.off != in->got)
        return; // of a question that was asked twice
    if (data->bytes == 0 || data->bytes > in->bytes - in->got ||
        crc32c(0, data->data, data->bytes) != t->line.in.chunk.crc32c) {
        in->asked = in->got; // damaged: once more from here
        return;
    }
    memcpy(in->data + in->got, data->data, data->bytes);
    in->got += data->bytes;
    if (in->asked < in->got)
        in->asked = in->got;
    task->heard_s = now;
}

// Results

static void open_result(struct talk *t, struct task *task, double now)
{
    struct stat st;
    if (stat(task->path, &st) != 0) {
        log_error("%s: %s; the segment will be composed again", task->path, strerror(errno));
        say_failed(t, task, WIRE_FAIL_LOST, "its result is gone from the disk");
        task->abandoned = true;
        return;
    }
    task->bytes = (uint64_t) st.st_size;
    struct wire_message *m = line_say(&t->line, WIRE_OPEN);
    m->open.attempt = task->lease.attempt;
    m->open.fence = task->lease.fence;
    m->open.bytes = task->bytes;
    task->opened = line_send(&t->line);
    task->heard_s = now;
}

static bool send_chunk(struct talk *t, struct task *task, int fd)
{
    static uint8_t piece[WIRE_CHUNK_BYTES]; // one thread
    const ssize_t n = pread(fd, piece, sizeof(piece), (off_t) task->sent);
    if (n <= 0) {
        log_error("%s: cannot read: %s", task->path,
                  n ? strerror(errno) : "it has become shorter");
        return false;
    }
    struct wire_message *m = line_say(&t->line, WIRE_CHUNK);
    m->chunk.attempt = task->lease.attempt;
    m->chunk.what = WIRE_RESULT;
    m->chunk.off = task->sent;
    m->chunk.crc32c = crc32c(0, piece, (size_t) n);
    m->chunk.data = (struct wire_bytes){ piece, (uint32_t) n };
    if (!line_send(&t->line))
        return false;
    task->crc32c = crc32c(task->crc32c, piece, (size_t) n);
    task->sent += (uint64_t) n;
    task->credit--;
    return true;
}

static void send_result(struct talk *t, struct task *task)
{
    const int fd = open(task->path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && task->credit > 0 && task->sent < task->bytes)
        if (!send_chunk(t, task, fd))
            break;
    if (fd >= 0)
        close(fd);
    if (task->sent < task->bytes || task->committed)
        return;
    struct wire_message *m = line_say(&t->line, WIRE_COMMIT);
    m->commit.attempt = task->lease.attempt;
    m->commit.fence = task->lease.fence;
    m->commit.bytes = task->bytes;
    m->commit.crc32c = task->crc32c;
    task->committed = line_send(&t->line);
}

static void offer(struct talk *t, struct task *task, double now)
{
    if (now < task->not_before_s)
        return;
    if (task->opened && now - task->heard_s > ANSWER_S)
        begin_again(task, now);
    if (!task->opened)
        open_result(t, task, now);
    else
        send_result(t, task);
}

// It is the coordinator's now, or nobody's.
static void settle(struct talk *t, struct task *task)
{
    if (t->line.in.type == WIRE_STALE)
        log_info("attempt %llu came too late", (unsigned long long) task->lease.attempt);
    if (task->state == TASK_COMPOSING) {
        task->abandoned = true;
        return;
    }
    if (task->path)
        unlink(task->path);
    desk_drop(t->desk, task);
}

static void on_bulk(void *user, double now)
{
    struct talk *t = user;
    // Each of these begins with the attempt.
    desk_lock(t->desk);
    struct task *task = desk_find(t->desk, t->line.in.stale.attempt);
    t->moved++;
    switch (task ? (int) t->line.in.type : -1) {
    case WIRE_CHUNK: on_piece(t, task, now); break;
    case WIRE_CREDITS:
        task->credit += t->line.in.credits.chunks;
        task->heard_s = now;
        break;
    case WIRE_ACCEPTED:
    case WIRE_STALE:
    case WIRE_DUP: settle(t, task); break;
    case WIRE_CORRUPT: begin_again(task, now); break;
    case WIRE_NOSPACE:
        begin_again(task, now + t->line.in.nospace.retry_after_ms / 1000.0);
        break;
    default: break;
    }
    desk_unlock(t->desk);
}
_Static_assert(offsetof(struct wire_message, chunk.attempt) ==
                       offsetof(struct wire_message, stale.attempt) &&
                   offsetof(struct wire_message, credits.attempt) ==
                       offsetof(struct wire_message, stale.attempt) &&
                   offsetof(struct wire_message, corrupt.attempt) ==
                       offsetof(struct wire_message, stale.attempt) &&
                   offsetof(struct wire_message, nospace.attempt) ==
                       offsetof(struct wire_message, stale.attempt),
               "on_bulk() reads one for the other");

// The loop

// Its work has stopped: there is room for other.
static void let_go(struct talk *t, struct task *task)
{
    line_say(&t->line, WIRE_CANCELLED)->cancelled.attempt = task->lease.attempt;
    line_send(&t->line);
    desk_drop(t->desk, task);
}

// Everything that the tasks need from the other side; leases that have ended are given up
// before the coordinator gives them to somebody else.
static void tend(struct talk *t, double now)
{
    struct task *next;
    desk_lock(t->desk);
    for (struct task *k = t->desk->tasks; k; k = next) {
        next = k->next;
        const bool over = k->state != TASK_SPOOLED && now - k->renewed_s > t->lease_s;
        if (over && k->state == TASK_COMPOSING)
            k->abandoned = true;
        else if ((over || k->abandoned) && k->state != TASK_COMPOSING)
            let_go(t, k);
        else if (k->state == TASK_FETCHING)
            fetch(t, k, now);
        else if (k->state == TASK_SPOOLED)
            offer(t, k, now);
    }
    desk_unlock(t->desk);
}

// Something was asked for on bulk that has not come.
static bool waits_for_bulk(struct talk *t)
{
    bool waits = false;
    desk_lock(t->desk);
    for (const struct task *k = t->desk->tasks; k && !waits; k = k->next)
        waits = k->state == TASK_FETCHING || (k->state == TASK_SPOOLED && k->opened);
    desk_unlock(t->desk);
    return waits;
}

static bool all_is_delivered(struct talk *t)
{
    desk_lock(t->desk);
    const bool none = !t->desk->tasks;
    desk_unlock(t->desk);
    return none;
}

// Only results are left, and who should have them has been away for as long as a lease lasts: it may be
// shutting down, too. They stay on disk, and the next start offers them.
static bool nobody_takes_them(struct talk *t, double now)
{
    bool only_results = true;
    if (now - t->line.control.heard_s <= t->lease_s)
        return false;
    desk_lock(t->desk);
    for (const struct task *k = t->desk->tasks; k && only_results; k = k->next)
        only_results = k->state == TASK_SPOOLED;
    desk_unlock(t->desk);
    if (only_results)
        log_warn(
            "the coordinator is away: what is composed is kept, and offered when this worker is started again");
    return only_results;
}

// Why the composing thread has ended, if it has.
static bool has_failed(struct talk *t, enum err *e)
{
    desk_lock(t->desk);
    *e = t->desk->error;
    const bool ended = t->desk->ended;
    desk_unlock(t->desk);
    return ended && *e;
}

static void give_back(struct talk *t, enum wire_failure why, const char *text)
{
    desk_lock(t->desk);
    for (const struct task *k = t->desk->tasks; k; k = k->next)
        if (k->state == TASK_COMPOSING)
            say_failed(t, k, why, text);
        else if (k->state != TASK_SPOOLED)
            say_failed(t, k, WIRE_FAIL_SHUTDOWN, "its worker came to an end");
    desk_unlock(t->desk);
}

static enum wire_failure failure_of(enum err e)
{
    return e == ERR_DEVICE_MEM              ? WIRE_FAIL_OOM
           : e == ERR_DEVICE || e == ERR_IO ? WIRE_FAIL_DEVICE_LOST
                                            : WIRE_FAIL_LOST;
}

static void turn(struct talk *t)
{
    uint64_t wakes;
    line_wait(&t->line, t->desk->wake);
    if (read(t->desk->wake, &wakes, sizeof(wakes)) < 0)
        wakes = 0; // nothing was there
    const double now = clock_seconds();
    line_receive(&t->line, on_control, on_bulk, t, now);
    if (line_mend(&t->line, t->beat_s, waits_for_bulk(t), now))
        ask_anew(t, now);
    if (!t->welcome) {
        hello(t, now);
        return;
    }
    const bool beats = now >= t->next_beat_s;
    beat(t, now);
    tend(t, now);
    pull(t, beats);
}

// Nothing to do, for longer than it is to stay. What may be on its way to it goes back.
static void leave_when_idle(struct talk *t, double now)
{
    if (!all_is_delivered(t))
        t->busy_s = now;
    if (t->draining || t->p->idle_s <= 0 || now - t->busy_s < t->p->idle_s)
        return;
    log_info("nothing to do for %.0f s", now - t->busy_s);
    t->idle = true;
    begin_draining(t);
}

static enum err converse(struct talk *t)
{
    enum err e = ERR_OK;
    for (;;) {
        turn(t);
        if (t->p->attend)
            t->p->attend(t->p->user);
        const unsigned asked = atomic_load(t->p->signals); // those during the start, too
        if (t->refused)
            return ERR_UNAVAILABLE;
        e = line_refused(&t->line);
        if (e)
            return e;
        if (has_failed(t, &e)) {
            give_back(t, failure_of(e), err_text(e));
            break;
        }
        if (asked > 0 && !t->draining)
            begin_draining(t);
        leave_when_idle(t, clock_seconds());
        if (asked > 1) {
            atomic_store(&t->desk->stop, true);
            give_back(t, WIRE_FAIL_SHUTDOWN, "the worker was told to leave at once");
            break;
        }
        if (t->draining && (all_is_delivered(t) || nobody_takes_them(t, clock_seconds())))
            break;
    }
    snprintf(line_say(&t->line, WIRE_GOODBYE)->goodbye.reason, WIRE_TEXT_BYTES, "%s",
             e         ? err_text(e)
             : t->idle ? "it had nothing to do"
                       : "asked to");
    line_send(&t->line);
    return e;
}

enum err link_run(const struct link_params *p)
{
    struct talk *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    t->p = p;
    t->desk = p->desk;
    t->beat_s = 1;
    t->lease_s = 30;
    t->busy_s = clock_seconds();
    enum err e = take_up_outbox(t);
    if (!e)
        e = line_open(&t->line, p->control, p->bulk, &p->keys);
    if (!e)
        e = converse(t);
    line_close(&t->line);
    free(t);
    return e;
}
