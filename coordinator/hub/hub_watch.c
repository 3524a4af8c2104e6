// The hub and the watched folders: films that have settled there are submitted as if by a
// client; what becomes of that is in the log.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/media/scenes.h"
#include "common/media/track_writer.h"
#include "coordinator/hub/hub_internal.h"

#define SCAN_EVERY_S 2.0
#define FILMS_AT_ONCE 16
#define AGAIN_AFTER_S 10.0

// The film's own name in the folder of outputs; MKV where its format cannot be written.
static bool name_output(char out[WIRE_PATH_BYTES], const char *folder, const char *film)
{
    const char *name = strrchr(film, '/') + 1, *dot = strrchr(name, '.'),
               *ending = track_writer_ending(name);
    return snprintf(out, WIRE_PATH_BYTES, "%s/%.*s.%s", folder, (int) (dot - name), name,
                    ending) < WIRE_PATH_BYTES;
}

// What `underscore submit` says when it is told nothing but the film.
static bool write_request(struct wire_submit *s, const struct hub_params *p, const char *film)
{
    *s = (struct wire_submit){
        .segment_ms = -1,
        .overlap_ms = -1,
        .crossfade_ms = -1,
        .min_cue_ms = -1,
        .max_cue_ms = -1,
        .cut = true,
        .scene_threshold = SCENES_DEFAULT_THRESHOLD,
        .temperature = 1,
        .guidance = -1,
        .top_k = 250,
        .target_lufs = DELIVERY_DEFAULT_LUFS,
        .ceiling_dbtp = DELIVERY_DEFAULT_DBTP,
        .bitrate = 256000,
    };
    snprintf(s->owner, sizeof(s->owner), "%s", p->watch_owner);
    return snprintf(s->film, sizeof(s->film), "%s", film) < (int) sizeof(s->film) &&
           name_output(s->output, p->watch_output, film);
}

// Another job is to write its output, as when a film is replaced that is being scored: its turn comes when that is over.
static enum err waits(struct hub *h, struct watched_file *f, const char *output, bool *out,
                      double now)
{
    int64_t other = 0;
    const enum err e = ledger_writes(h->ledger, output, &other);
    *out = !e && other;
    if (!*out)
        return e;
    if (!f->waits)
        log_warn("%s: waits until job %lld is over, which is to write %s", f->path,
                 (long long) other, output);
    f->waits = true;
    f->since_s = now + AGAIN_AFTER_S;
    return e;
}

static enum err submit(struct hub *h, struct watched_file *f, double now)
{
    const struct hub_route nobody = { 0 };
    char ending[HUB_ENDING_BYTES];
    bool before = false, wait = false;
    h->in = (struct wire_message){ .type = WIRE_SUBMIT };
    if (!write_request(&h->in.submit, &h->p, f->path)) {
        log_warn("%s: not submitted: its name is too long", f->path);
        return ERR_OK;
    }
    // One that failed or was cancelled is for somebody to retry, and not for every start.
    hub_identity_ending(ending, f->bytes, f->changed);
    enum err e = ledger_had(h->ledger, h->in.submit.film, h->in.submit.output, ending, &before);
    if (!e && !before)
        e = waits(h, f, h->in.submit.output, &wait, now);
    f->taken = !e && !wait; // otherwise once more
    if (e || before || wait)
        return e;
    e = hub_client_message(h, &nobody, now);
    f->taken = !e; // the ledger did not take it
    if (!e && h->out.type == WIRE_REJECT && wire_is_later(h->out.reject.reason)) {
        f->taken = false;
        f->since_s = now + AGAIN_AFTER_S;
    } else if (!e && h->out.type == WIRE_REJECT)
        log_warn("%s: not submitted: %s", f->path, h->out.reject.reason);
    return e;
}

// Without it every film would be refused, and nobody would submit them again when it is back.
static bool has_output_folder(struct hub *h)
{
    if (!hub_answers(h, h->p.watch_output))
        return false;
    const bool there = access(h->p.watch_output, F_OK) == 0;
    if (!there && !h->watch_waits)
        log_warn("watch-output %s: %s; watched films wait until it is there", h->p.watch_output,
                 strerror(errno));
    h->watch_waits = !there;
    return there;
}

static bool answers(void *user, const char *folder)
{
    return hub_answers(user, folder);
}

enum err hub_watch_tick(struct hub *h, double now)
{
    struct watched_file *f;
    if (!h->p.watch || !h->p.watch[0] || now < h->watch_next_s || h->queue.disabled)
        return ERR_OK;
    h->watch_next_s = now + SCAN_EVERY_S;
    if (!has_output_folder(h))
        return ERR_OK;
    enum err e = watch_scan(&h->watch, h->p.watch, answers, h, now);
    for (int i = 0;
         !e && i < FILMS_AT_ONCE && (f = watch_take(&h->watch, h->p.watch_settle_s, now)); i++)
        e = submit(h, f, now);
    return e;
}
