// The hub and what is large: inputs going out piece by piece, results coming in.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wire/crc32c.h"
#include "coordinator/hub/hub_internal.h"

#define NOSPACE_RETRY_MS 5000
#define RECEPTION_IDLE_S 120

// Every answer that holds nothing but the attempt.
static void answer(struct hub *h, const struct hub_route *to, enum wire_type type,
                   int64_t attempt)
{
    hub_answer(h, type)->stale.attempt = (uint64_t) attempt; // all of them begin so
    hub_send(h, to);
}
_Static_assert(offsetof(struct wire_message, accepted.attempt) ==
                       offsetof(struct wire_message, stale.attempt) &&
                   offsetof(struct wire_message, dup.attempt) ==
                       offsetof(struct wire_message, stale.attempt),
               "answer() writes one for the other");

static void answer_nospace(struct hub *h, const struct hub_route *to, int64_t attempt)
{
    struct wire_message *m = hub_answer(h, WIRE_NOSPACE);
    m->nospace.attempt = (uint64_t) attempt;
    m->nospace.retry_after_ms = NOSPACE_RETRY_MS;
    hub_send(h, to);
}

static void answer_corrupt(struct hub *h, const struct hub_route *to, int64_t attempt,
                           uint64_t from)
{
    struct wire_message *m = hub_answer(h, WIRE_CORRUPT);
    m->corrupt.attempt = (uint64_t) attempt;
    m->corrupt.from = from;
    hub_send(h, to);
}

static void answer_credits(struct hub *h, const struct hub_route *to, int64_t attempt,
                           uint32_t chunks)
{
    struct wire_message *m = hub_answer(h, WIRE_CREDITS);
    m->credits.attempt = (uint64_t) attempt;
    m->credits.chunks = chunks;
    hub_send(h, to);
}

// Inputs

static void send_piece(struct hub *h, const struct hub_route *to,
                       const struct wire_message *asked, const uint8_t *data, size_t bytes)
{
    const uint64_t attempt = asked->fetch.attempt, off = asked->fetch.off;
    const uint32_t what = asked->fetch.what;
    struct wire_message *m = hub_answer(h, WIRE_CHUNK);
    m->chunk.attempt = attempt;
    m->chunk.what = what;
    m->chunk.off = off;
    m->chunk.crc32c = crc32c(0, data, bytes);
    m->chunk.data = (struct wire_bytes){ data, (uint32_t) bytes };
    hub_send(h, to);
}

// What is damaged or gone is made anew, for whoever gets the segment next.
static enum err read_frames(struct hub *h, const struct work_lease *l, uint64_t off,
                            uint8_t *out, size_t *got)
{
    char *path = spool_frames_path(&h->spool, l->job, l->segment);
    enum err e = path ? spool_read(path, off, out, WIRE_CHUNK_BYTES, got) : ERR_NOMEM;
    free(path);
    if (!e && *got == 0) // shorter than it was
        e = ERR_IO;
    if (e && e != ERR_NOMEM) {
        spool_drop_frames(&h->spool, l->job, l->segment);
        schedule_frames(&h->schedule, l->job, l->segment, FRAMES_ABSENT);
    }
    return e;
}

// What is damaged or gone is composed anew: then the lease is one no more.
static enum err lacks_prompt(struct hub *h, const struct work_lease *l, double now)
{
    const int64_t job = l->job;
    log_event(
        LOG_WARN,
        &(struct log_subject){ .job = job, .has_segment = true, .segment = l->segment - 1 },
        "job %lld: the finished part of segment %u is damaged or gone; it is composed again",
        (long long) job, l->segment - 1);
    return foreman_lacks_prompt(&h->foreman, l->attempt, now);
}

static enum err read_prompt(struct hub *h, const struct work_lease *l, uint64_t off,
                            uint8_t *out, size_t *got)
{
    const struct hub_job *j = hub_job_find(h, l->job);
    int32_t *tokens = NULL;
    size_t bytes = 0;
    *got = 0;
    if (j->plan->segments[l->segment].prompt_columns == 0)
        return ERR_OK;
    const enum err e = spool_prompt(&h->spool, l->job, j->plan, l->segment, &tokens, &bytes);
    if (!e && off < bytes) {
        *got = bytes - off < WIRE_CHUNK_BYTES ? bytes - off : WIRE_CHUNK_BYTES;
        memcpy(out, (const uint8_t *) tokens + off, *got);
    }
    free(tokens);
    return e;
}

static enum err on_fetch(struct hub *h, const struct hub_route *from, double now)
{
    static uint8_t piece[WIRE_CHUNK_BYTES]; // one thread
    const int64_t attempt = (int64_t) h->in.fetch.attempt;
    const struct work_lease *l = hub_lease_of(h, from, attempt);
    size_t got = 0;
    enum err e = l ? ERR_OK : ERR_MISSING;
    if (!e && h->in.fetch.what == WIRE_FRAMES)
        e = read_frames(h, l, h->in.fetch.off, piece, &got);
    else if (!e && h->in.fetch.what == WIRE_PROMPT)
        e = read_prompt(h, l, h->in.fetch.off, piece, &got);
    if (!e) {
        send_piece(h, from, &h->in, piece, got);
        return ERR_OK;
    }
    const bool lost =
        l && h->in.fetch.what == WIRE_PROMPT && (e == ERR_INPUT || e == ERR_MISSING);
    answer(h, from, WIRE_STALE, attempt);
    return lost ? lacks_prompt(h, l, now) : ERR_OK;
}

// Results

static struct hub_reception *find_reception(const struct hub *h, int64_t attempt)
{
    for (size_t i = 0; i < h->reception_count; i++)
        if (h->receptions[i].attempt == attempt)
            return &h->receptions[i];
    return NULL;
}

static void drop_reception(struct hub *h, struct hub_reception *r)
{
    incoming_discard(&r->in);
    *r = h->receptions[--h->reception_count];
}

// STALE and DUP are said; true: the result is still wanted.
static enum err is_wanted(struct hub *h, const struct hub_route *from, int64_t attempt,
                          int64_t fence, bool *wanted)
{
    enum verdict v;
    const enum err e = ledger_judge(h->ledger, attempt, fence, &v);
    *wanted = !e && v == VERDICT_ACCEPTED;
    if (!e && !*wanted)
        answer(h, from, v == VERDICT_DUP ? WIRE_DUP : WIRE_STALE, attempt);
    return e;
}

// The most a sound part of that segment can have: its numbers, and a header.
static uint64_t most_bytes(const struct hub_job *j, uint32_t segment)
{
    return 4ull * (uint64_t) plan_segment_samples(j->plan, segment) +
           4ull * PART_MAX_CODEBOOKS * j->plan->segments[segment].columns + 65536;
}

static enum err on_open(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t attempt = (int64_t) h->in.open.attempt, fence = (int64_t) h->in.open.fence;
    struct hub_reception r = { .attempt = attempt, .fence = fence, .heard_s = now };
    bool wanted;
    enum err e = is_wanted(h, from, attempt, fence, &wanted);
    if (e || !wanted)
        return e;
    const struct work_lease *l = hub_lease_of(h, from, attempt);
    const struct hub_job *j = l ? hub_job_find(h, l->job) : NULL;
    if (!j || h->in.open.bytes > most_bytes(j, l->segment)) {
        answer(h, from, WIRE_STALE, attempt);
        return ERR_OK;
    }
    r.job = l->job;
    r.segment = l->segment;
    memcpy(r.node, from->node, sizeof(r.node));
    struct hub_reception *before = find_reception(h, attempt);
    if (before)
        drop_reception(h, before);
    e = array_grow((void **) &h->receptions, h->reception_count, &h->reception_room,
                   sizeof(*h->receptions));
    if (!e)
        e = incoming_open(&r.in, &h->spool, r.job, h->in.open.bytes);
    if (e) {
        answer_nospace(h, from, attempt);
        return ERR_OK;
    }
    h->receptions[h->reception_count++] = r;
    answer_credits(h, from, attempt, WIRE_CREDIT);
    return ERR_OK;
}

static void on_chunk(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t attempt = (int64_t) h->in.chunk.attempt;
    const struct wire_bytes *data = &h->in.chunk.data;
    struct hub_reception *r = find_reception(h, attempt);
    if (!r || h->in.chunk.what != WIRE_RESULT || strcmp(r->node, from->node) != 0)
        return; // its sender hears nothing, and opens again
    r->heard_s = now;
    if (h->in.chunk.off != r->in.received || data->bytes > r->in.bytes - r->in.received ||
        crc32c(0, data->data, data->bytes) != h->in.chunk.crc32c) {
        answer_corrupt(h, from, attempt, 0);
        drop_reception(h, r);
        return;
    }
    if (incoming_add(&r->in, data->data, data->bytes)) {
        answer_nospace(h, from, attempt);
        drop_reception(h, r);
        return;
    }
    answer_credits(h, from, attempt, 1);
}

enum err hub_bulk_secure(void *user, size_t count)
{
    struct hub *h = user;
    struct spool_move moves[FOREMAN_ARRIVALS];
    for (size_t i = 0; i < count; i++) {
        moves[i] = h->arrivals[i].move;
        h->arrivals[i].move = (struct spool_move){ 0 };
    }
    return spool_put(&h->spool, moves, count);
}

void hub_bulk_settled(void *user, size_t index, const struct ledger_result *r, bool written)
{
    static const enum wire_type answers[] = {
        [VERDICT_ACCEPTED] = WIRE_ACCEPTED,
        [VERDICT_STALE] = WIRE_STALE,
        [VERDICT_DUP] = WIRE_DUP,
    };
    struct hub *h = user;
    if (!written) {
        answer_nospace(h, &h->arrivals[index].from, r->attempt);
        return;
    }
    answer(h, &h->arrivals[index].from, answers[r->verdict], r->attempt);
    if (r->verdict != VERDICT_ACCEPTED)
        return;
    spool_drop_frames(&h->spool, r->job, r->segment);
    log_event(
        LOG_DEBUG,
        &(struct log_subject){ .job = r->job, .has_segment = true, .segment = r->segment },
        "segment %u of job %lld is done", r->segment, (long long) r->job);
}

static enum err commit(struct hub *h, const struct hub_route *from, struct hub_reception *r,
                       double now)
{
    const struct hub_job *j = hub_job_find(h, r->job);
    char key[PART_KEY_BYTES];
    if (!j) {
        answer(h, from, WIRE_STALE, r->attempt);
        return ERR_OK;
    }
    part_key(key, &j->inputs, j->plan, r->segment);
    struct spool_move move;
    enum err e = incoming_finish(&r->in, &h->spool, r->job, j->plan, r->segment, key, &move);
    if (!e) {
        h->arrivals[foreman_take(&h->foreman, r->attempt, r->fence, r->job, r->segment)] =
            (struct hub_arrival){ *from, move };
        return ERR_OK;
    }
    if (e != ERR_INPUT) {
        answer_nospace(h, from, r->attempt);
        return ERR_OK;
    }
    // Whole as it was sent, and yet no music: its GPU computes wrongly.
    answer(h, from, WIRE_STALE, r->attempt);
    return foreman_failed(&h->foreman, r->attempt, OUTCOME_DEVICE_LOST,
                          "what came back was not the segment", now);
}

static enum err on_commit(struct hub *h, const struct hub_route *from, double now)
{
    const int64_t attempt = (int64_t) h->in.commit.attempt;
    const struct hub_reception *in = find_reception(h, attempt);
    enum offer o;
    enum err e = foreman_offer(&h->foreman, attempt, (int64_t) h->in.commit.fence,
                               in ? in->job : 0, in ? in->segment : 0, &o, now);
    if (e || o == OFFER_TWICE)
        return e;
    if (o != OFFER_TAKE) {
        answer(h, from, o == OFFER_DUP ? WIRE_DUP : WIRE_STALE, attempt);
        return ERR_OK;
    }
    struct hub_reception *r = find_reception(h, attempt);
    if (r && strcmp(r->node, from->node) != 0)
        return ERR_OK;
    if (!r || r->in.received != r->in.bytes || h->in.commit.bytes != r->in.bytes ||
        h->in.commit.crc32c != r->in.crc32c) {
        answer_corrupt(h, from, attempt, 0);
        if (r)
            drop_reception(h, r);
        return ERR_OK;
    }
    struct hub_reception whole = *r;
    *r = h->receptions[--h->reception_count]; // what follows may change the list
    e = commit(h, from, &whole, now);
    incoming_discard(&whole.in);
    return e;
}

enum err hub_bulk_message(struct hub *h, const struct hub_route *from, double now)
{
    switch ((int) h->in.type) {
    case WIRE_FETCH: return on_fetch(h, from, now);
    case WIRE_FETCH_MODEL: hub_on_fetch_model(h, from); return ERR_OK;
    case WIRE_OPEN: return on_open(h, from, now);
    case WIRE_CHUNK: on_chunk(h, from, now); return ERR_OK;
    case WIRE_COMMIT: return on_commit(h, from, now);
    default: return ERR_OK; // what only a coordinator says
    }
}

void hub_bulk_tick(struct hub *h, double now)
{
    for (size_t i = h->reception_count; i-- > 0;)
        if (now - h->receptions[i].heard_s > RECEPTION_IDLE_S)
            drop_reception(h, &h->receptions[i]);
}

void hub_bulk_finish(struct hub *h)
{
    while (h->reception_count)
        drop_reception(h, &h->receptions[0]);
    free(h->receptions);
    for (size_t i = 0; i < h->foreman.arrival_count; i++)
        spool_forget(&h->arrivals[i].move);
}
