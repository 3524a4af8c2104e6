// The hub and the watched folders: films that have settled there are submitted as if by a
// client; what becomes of that is in the log.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/log.h"
#include "common/media/scenes.h"
#include "common/media/track_writer.h"
#include "coordinator/hub/hub_internal.h"

#define SCAN_EVERY_S 2.0
#define FILMS_AT_ONCE 16

// The film's own name in the folder of outputs; MKV where its format cannot be written.
static bool name_output(char out[WIRE_PATH_BYTES], const char *folder, const char *film)
{
    const char *name = strrchr(film, '/') + 1, *dot = strrchr(name, '.'), *ending = track_writer_ending(name);
    return snprintf(out, WIRE_PATH_BYTES, "%s/%.*s.%s", folder, (int) (dot - name), name, ending) < WIRE_PATH_BYTES;
}

// What `underscore submit` says when it is told nothing but the film.
static bool write_request(struct wire_submit *s, const struct hub_params *p, const char *film)
{
    *s = (struct wire_submit){
        .segment_ms = -1, .overlap_ms = -1, .crossfade_ms = -1, .min_cue_ms = -1, .max_cue_ms = -1,
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

static enum err submit(struct hub *h, const struct watched_file *f, double now)
{
    const struct hub_route nobody = { 0 };
    bool before = false;
    h->in = (struct wire_message){ .type = WIRE_SUBMIT };
    if (!write_request(&h->in.submit, &h->p, f->path)) {
        log_warn("%s: not submitted: its name is too long", f->path);
        return ERR_OK;
    }
    // One that failed or was cancelled is for somebody to retry, and not for every start.
    enum err e = ledger_had(h->ledger, h->in.submit.film, h->in.submit.output, f->changed_ns / 1000000, &before);
    if (e || before)
        return e;
    e = hub_client_message(h, &nobody, now);
    if (!e && h->out.type == WIRE_REJECT)
        log_warn("%s: not submitted: %s", f->path, h->out.reject.reason);
    return e;
}

enum err hub_watch_tick(struct hub *h, double now)
{
    struct watched_file *f;
    if (!h->p.watch || !h->p.watch[0] || now < h->watch_next_s || h->queue.disabled)
        return ERR_OK;
    h->watch_next_s = now + SCAN_EVERY_S;
    enum err e = watch_scan(&h->watch, h->p.watch, now);
    for (int i = 0; !e && i < FILMS_AT_ONCE && (f = watch_take(&h->watch, h->p.watch_settle_s, now)); i++) {
        e = submit(h, f, now);
        f->taken = !e; // the ledger did not take it: once more
    }
    return e;
}
