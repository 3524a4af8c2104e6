#include "worker/link/model_errand.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/sha256.h"
#include "common/wire/crc32c.h"
#include "worker/link/line.h"

#define HELLO_EVERY_S 2.0
#define ANSWER_S 15.0 // how long an answer may take before the question is asked again
#define AGAIN_S 5.0   // after one that was not right
#define HEX "0123456789abcdef"

struct errand {
    const struct model_errand_params *p;
    struct line line;
    bool welcome;
    const char *refused; // why
    double beat_s, next_beat_s, next_hello_s, busy_s;
    // The model that is wanted, and how much of it is here.
    char sha256[WIRE_SHA256_BYTES]; // "": none
    uint64_t bytes, got, asked;
    double heard_s, not_before_s;
    struct out_file file;
    char *path; // when it is here
};

// Models that are here

static char *path_of(const struct errand *r, const char *sha256)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s.safetensors", r->p->directory, sha256) < 0 ? NULL : path;
}

// One after the other, as many as there is room for.
static void list_models(const struct errand *r, char out[WIRE_TEXT_BYTES])
{
    size_t n = 0;
    DIR *d = opendir(r->p->directory);
    for (const struct dirent *entry;
         d && (entry = readdir(d)) && n + SHA256_TEXT_BYTES < WIRE_TEXT_BYTES;)
        if (strspn(entry->d_name, HEX) == SHA256_TEXT_BYTES - 1 &&
            !strcmp(entry->d_name + SHA256_TEXT_BYTES - 1, ".safetensors"))
            n += (size_t) snprintf(out + n, WIRE_TEXT_BYTES - n, "%.64s ", entry->d_name);
    if (d)
        closedir(d);
}

// Control

static void hello(struct errand *r, double now)
{
    if (now < r->next_hello_s)
        return;
    struct wire_message *m = line_say(&r->line, WIRE_HELLO);
    m->hello = *r->p->hello;
    list_models(r, m->hello.has);
    line_send(&r->line);
    r->next_hello_s = now + HELLO_EVERY_S;
}

static void beat(struct errand *r, double now)
{
    if (now < r->next_beat_s)
        return;
    line_say(&r->line, WIRE_BEAT)->beat.progress = r->got;
    line_send(&r->line);
    r->next_beat_s = now + r->beat_s;
}

static void begin_again(struct errand *r, double not_before_s)
{
    out_file_discard(&r->file);
    r->got = r->asked = 0;
    r->not_before_s = not_before_s;
}

// Is the file under its name what that says? It is removed otherwise.
static bool is_here(const char *path, const char *sha256)
{
    char has[SHA256_TEXT_BYTES];
    if (access(path, F_OK) < 0)
        return false;
    if (!sha256_file(has, path) && !strcmp(has, sha256))
        return true;
    log_warn("%s: is not what its name says; it is fetched again", path);
    unlink(path);
    return false;
}

static void on_use(struct errand *r, double now)
{
    const char *sha256 = r->line.in.use.model;
    r->busy_s = now;
    if (!strcmp(r->sha256, sha256) || strspn(sha256, HEX) != SHA256_TEXT_BYTES - 1 || r->path)
        return;
    begin_again(r, now);
    snprintf(r->sha256, sizeof(r->sha256), "%s", sha256);
    r->bytes = r->line.in.use.bytes;
    r->heard_s = now;
    char *path = path_of(r, sha256);
    if (path && is_here(path, sha256)) {
        r->path = path;
        return;
    }
    free(path);
    if (r->bytes == 0)
        r->sha256[0] = 0; // it said that it had it, and nobody else has it
    else
        log_info("fetching the model %s, %.1f MB", sha256, (double) r->bytes / 1e6);
}

static void on_control(void *user, double now)
{
    struct errand *r = user;
    switch ((int) r->line.in.type) {
    case WIRE_WELCOME:
        r->welcome = true;
        r->line.epoch = r->line.in.epoch;
        r->beat_s = r->line.in.welcome.beat_ms / 1000.0;
        r->next_beat_s = now;
        line_say(&r->line, WIRE_PULL); // it wants nothing, and is ready
        line_send(&r->line);
        break;
    case WIRE_REJECT:
        log_error("the coordinator refuses this worker: %s", r->line.in.reject.reason);
        r->refused = "refused";
        break;
    case WIRE_BEAT_ACK:
        if (r->line.in.beat_ack.rehello)
            r->welcome = false;
        if (r->line.in.beat_ack.order == WIRE_TERMINATE) {
            log_warn(
                "the coordinator wants this worker to leave: another has started under its name");
            r->refused = "replaced";
        }
        break;
    case WIRE_USE: on_use(r, now); break;
    default: break;
    }
}

// The model

static void give_up(struct errand *r, const char *why, double now)
{
    log_warn("the model %s: %s; again in %.0f s", r->sha256, why, AGAIN_S);
    begin_again(r, now + AGAIN_S);
}

// It is all here: is it right?
static void finish(struct errand *r, double now)
{
    char has[SHA256_TEXT_BYTES];
    if (fflush(r->file.stream) != 0 || sha256_file(has, r->file.temporary)) {
        give_up(r, "it cannot be written", now);
        return;
    }
    if (strcmp(has, r->sha256) != 0) {
        give_up(r, "what came is not it", now);
        return;
    }
    if (out_file_commit(&r->file)) {
        give_up(r, "it cannot be written", now);
        return;
    }
    log_info("the model %s is here", r->sha256);
    r->path = path_of(r, r->sha256);
}

static bool open_file(struct errand *r)
{
    if (r->file.stream)
        return true;
    char *path = path_of(r, r->sha256);
    const bool open = path && !out_file_open(&r->file, path);
    free(path);
    return open;
}

static void fetch(struct errand *r, double now)
{
    if (!*r->sha256 || r->path || now < r->not_before_s)
        return;
    if (!open_file(r)) {
        give_up(r, "it cannot be written", now);
        return;
    }
    if (now - r->heard_s > ANSWER_S) { // lost on the way
        r->asked = r->got;
        r->heard_s = now;
    }
    while (r->asked < r->bytes &&
           r->asked - r->got < (uint64_t) WIRE_CREDIT * WIRE_CHUNK_BYTES) {
        struct wire_message *m = line_say(&r->line, WIRE_FETCH_MODEL);
        snprintf(m->fetch_model.model, sizeof(m->fetch_model.model), "%s", r->sha256);
        m->fetch_model.off = r->asked;
        if (!line_send(&r->line))
            break;
        r->asked +=
            r->bytes - r->asked < WIRE_CHUNK_BYTES ? r->bytes - r->asked : WIRE_CHUNK_BYTES;
    }
}

static void on_piece(struct errand *r, double now)
{
    const struct wire_bytes *data = &r->line.in.chunk.data;
    if (!r->file.stream || r->line.in.chunk.what != WIRE_MODEL ||
        r->line.in.chunk.off != r->got)
        return; // of a question that was asked twice
    r->heard_s = r->busy_s = now;
    if (data->bytes == 0 || data->bytes > r->bytes - r->got) {
        give_up(r, "it has another length", now);
        return;
    }
    if (crc32c(0, data->data, data->bytes) != r->line.in.chunk.crc32c) {
        r->asked = r->got; // damaged: once more from here
        return;
    }
    if (fwrite(data->data, 1, data->bytes, r->file.stream) != data->bytes) {
        log_error("%s: cannot write: %s", r->file.path, strerror(errno));
        give_up(r, "it cannot be written", now);
        return;
    }
    r->got += data->bytes;
    if (r->asked < r->got)
        r->asked = r->got;
    if (r->got == r->bytes)
        finish(r, now);
}

static void on_bulk(void *user, double now)
{
    struct errand *r = user;
    if (r->line.in.type == WIRE_CHUNK)
        on_piece(r, now);
    else if (r->line.in.type == WIRE_STALE && *r->sha256 && r->file.stream) {
        log_warn("the coordinator has the model %s no more", r->sha256);
        begin_again(r, now);
        r->sha256[0] = 0; // until another is wanted, or this again
    }
}

// The loop

static void turn(struct errand *r)
{
    line_wait(&r->line, -1);
    const double now = clock_seconds();
    line_receive(&r->line, on_control, on_bulk, r, now);
    if (line_mend(&r->line, r->beat_s, r->asked > r->got, now))
        r->asked = r->got;
    if (!r->welcome)
        hello(r, now);
    else
        beat(r, now);
    fetch(r, now);
    r->p->attend(r->p->user);
}

static bool is_to_leave(const struct errand *r)
{
    if (atomic_load(r->p->signals) > 0)
        return true;
    return r->p->idle_s > 0 && clock_seconds() - r->busy_s > r->p->idle_s;
}

static enum err converse(struct errand *r)
{
    while (!r->path && !is_to_leave(r)) {
        turn(r);
        const enum err e = line_refused(&r->line);
        if (e || r->refused)
            return e ? e : ERR_UNAVAILABLE;
    }
    if (r->path)
        return ERR_OK; // it says hello again with it, under the same name
    snprintf(line_say(&r->line, WIRE_GOODBYE)->goodbye.reason, WIRE_TEXT_BYTES, "%s",
             atomic_load(r->p->signals) > 0 ? "asked to" : "it had nothing to do");
    line_send(&r->line);
    return ERR_OK;
}

enum err model_errand_run(const struct model_errand_params *p, char **path)
{
    *path = NULL;
    struct errand *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->p = p;
    r->beat_s = 1;
    r->busy_s = clock_seconds();
    enum err e = file_make_directory(p->directory);
    if (!e)
        file_remove_strays(p->directory, "");
    if (!e)
        e = line_open(&r->line, p->control, p->bulk, &p->keys);
    if (!e)
        e = converse(r);
    *path = e ? NULL : r->path;
    out_file_discard(&r->file);
    line_close(&r->line);
    free(r);
    return e;
}
