// The hub and workers that have no model yet: which one they are to have, and the file, piece by
// piece.
#include <stdio.h>
#include <string.h>

#include "common/wire/crc32c.h"
#include "coordinator/hub/hub_internal.h"

#define MODEL_PATH_BYTES 4096

enum err hub_models_open(struct hub *h)
{
    return h->p.models && h->p.models[0] ? shelf_open(&h->shelf, h->p.models) : ERR_OK;
}

// Is it among those whose hashes the worker has named, one after the other?
static bool has(const struct fleet_worker *w, const char *sha256)
{
    return *sha256 && strstr(w->has, sha256);
}

static bool can_have(struct hub *h, const struct fleet_worker *w, const char *sha256,
                     uint64_t *bytes)
{
    char path[MODEL_PATH_BYTES];
    *bytes = 0;
    return shelf_find(h->shelf, sha256, path, sizeof(path), bytes) || has(w, sha256);
}

bool hub_lacks_model(const struct hub *h, const struct require *offer)
{
    for (size_t i = 0; i < h->errand_count; i++)
        if (h->errands[i].lacks_model && !require_unoffered(&h->errands[i].require, offer))
            return true;
    return false;
}

// The model of the oldest job that waits and that this worker may compose; then those of films
// that cannot be planned before a worker has it. They may name none: it is the only one then.
static bool model_wanted(struct hub *h, const struct fleet_worker *w,
                         char sha256[WIRE_SHA256_BYTES], uint64_t *bytes)
{
    for (size_t i = 0; i < h->schedule.job_count; i++) {
        const struct work_job *j = h->schedule.jobs[i];
        if (j->ready == 0 || j->paused || require_unmet(&j->require, w) ||
            !can_have(h, w, j->model, bytes))
            continue;
        snprintf(sha256, WIRE_SHA256_BYTES, "%s", j->model);
        return true;
    }
    for (size_t i = 0; i < h->errand_count; i++) {
        const struct hub_errand *errand = &h->errands[i];
        if (!errand->lacks_model || require_unmet(&errand->require, w))
            continue;
        snprintf(sha256, WIRE_SHA256_BYTES, "%s", errand->model);
        if ((*sha256 || shelf_only(h->shelf, sha256)) && can_have(h, w, sha256, bytes))
            return true;
    }
    return false;
}

void hub_offer_model(struct hub *h, size_t place, const struct hub_route *to)
{
    const struct fleet_worker *w = &h->fleet.workers[place];
    char sha256[WIRE_SHA256_BYTES];
    uint64_t bytes;
    if (*w->model || h->queue.stopped || !fleet_may_work(w) ||
        !model_wanted(h, w, sha256, &bytes))
        return;
    struct wire_message *m = hub_answer(h, WIRE_USE);
    snprintf(m->use.model, sizeof(m->use.model), "%s", sha256);
    m->use.bytes = bytes;
    hub_send(h, to);
}

// An empty piece at the end of the file; STALE when there is no such model (any more).
void hub_on_fetch_model(struct hub *h, const struct hub_route *from)
{
    static uint8_t piece[WIRE_CHUNK_BYTES]; // one thread
    char path[MODEL_PATH_BYTES];
    const uint64_t off = h->in.fetch_model.off;
    uint64_t bytes;
    size_t got = 0;
    if (!shelf_find(h->shelf, h->in.fetch_model.model, path, sizeof(path), &bytes) ||
        spool_read(path, off, piece, sizeof(piece), &got)) {
        hub_answer(h, WIRE_STALE)->stale.attempt = 0;
        hub_send(h, from);
        return;
    }
    struct wire_message *m = hub_answer(h, WIRE_CHUNK);
    m->chunk.what = WIRE_MODEL;
    m->chunk.off = off;
    m->chunk.crc32c = crc32c(0, piece, got);
    m->chunk.data = (struct wire_bytes){ piece, (uint32_t) got };
    hub_send(h, from);
}
