// links: timeline
//
// Plans from elsewhere. What is accepted must hold together: it is written and read
// again, asked everything a scheduler asks, and stitched from made-up sound.
#include <stdlib.h>
#include <string.h>

#include "common/timeline/plan_json.h"
#include "common/timeline/stitch.h"
#include "tests/fuzz/fuzz.h"

// Enough of the stream for every kind of seam, not so much that a run takes long.
#define MOST_SAMPLES (1 << 20)
#define MOST_SEGMENT (1 << 18)

static void require(bool truth)
{
    if (!truth)
        abort();
}

static enum err load(void *user, uint32_t segment, const float **pcm, uint64_t *samples)
{
    const struct plan *p = user;
    *samples = (uint64_t) plan_segment_samples(p, segment);
    if (*samples > MOST_SEGMENT)
        return ERR_NOMEM;
    float *x = calloc(*samples, sizeof(*x));
    require(x);
    for (uint64_t i = segment % 5; i < *samples; i += 7)
        x[i] = 0.25f;
    *pcm = x;
    return ERR_OK;
}

static void release(void *user, uint32_t segment, const float *pcm)
{
    (void) user;
    (void) segment;
    free((void *) (uintptr_t) pcm);
}

static void stitch_it(struct plan *p)
{
    static float block[5000];
    struct stitch *s;
    const struct stitch_params params = { .plan = p, .source = { p, load, release } };
    if (stitch_open(&s, &params))
        return;
    int64_t at = 0;
    enum err e = ERR_OK;
    for (size_t got = 1; !e && got && at < MOST_SAMPLES; at += (int64_t) got)
        e = stitch_read(s, block, 5000, &got);
    require(e || at >= MOST_SAMPLES || at == stitch_total(s));
    json_decref(stitch_seams_to_json(s));
    stitch_close(&s);
}

static void schedule_it(const struct plan *p)
{
    uint32_t ready[16];
    bool *done = calloc(p->segment_count, sizeof(*done));
    require(done && plan_ready(p, done, ready, 16) == p->cue_count);
    for (int round = 0; round < 20 && plan_ready(p, done, ready, 16); round++) {
        require(ready[0] < p->segment_count && !done[ready[0]]);
        const struct plan_span span = plan_watch(p, ready[0]);
        require(span.from_ms >= 0 && span.from_ms < span.to_ms &&
                span.to_ms <= p->film.duration_ms);
        done[ready[0]] = true;
    }
    free(done);
}

static void write_it(const struct plan *p)
{
    char *text = plan_to_text(p), *table = plan_to_table(p);
    struct plan *again;
    require(text && table);
    require(plan_from_text(&again, text, strlen(text), "fuzz") == ERR_OK);
    require(again->segment_count == p->segment_count && again->cue_count == p->cue_count);
    plan_destroy(&again);
    free(text);
    free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *p;
    if (plan_from_text(&p, (const char *) data, size, "fuzz"))
        return 0;
    write_it(p);
    schedule_it(p);
    stitch_it(p);
    plan_destroy(&p);
    return 0;
}
