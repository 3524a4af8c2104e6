// A sample of the film is a function of its position alone:
//
//   cue_mix      the cue's segments, faded linearly where they overlap
//   cue_sound    that, with the gains of the level matches at the cue's two ends
//   film_sound   that, or two of them in a crossfade
//
// Everything is computed in pieces that end where the formula changes. Seam i is that of
// segment i + 1 with what came before it, so no table maps one to the other.
#include "common/timeline/stitch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/timeline/crossfade.h"
#include "common/timeline/pcm.h"

#define PIECE 4096
#define LEVEL_WINDOW_S 0.5 // at least; of a longer crossfade, all of it

struct held {
    const float *pcm; // NULL: this place is free
    uint32_t segment;
    uint64_t used; // when last, in calls of hold()
};

struct stitch {
    struct stitch_params params;
    const struct plan *plan;
    int64_t total, at; // samples: the film's, and read so far
    uint32_t cue;      // the first that has not ended at `at`
    struct held held[STITCH_MAX_HELD];
    uint64_t holds;
    struct stitch_seam *seams;
    uint8_t *compared; // per seam: correlation and levels are known
    uint32_t seam_count;
    // What the steps between samples are is counted once, however often they are read.
    int64_t counted;
    uint32_t open_seam; // all before it end before `counted`
    float last;         // the sample before `counted`
    struct pcm_steps steps;
    float a[PIECE], b[PIECE];
    float step[PIECE];
    bool in_seam[PIECE];
};

static int64_t min_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// Geometry

// Samples from a segment's beginning to its successor's. The cue has more than one.
static int64_t stride_of(const struct plan *p, const struct plan_cue *c)
{
    return (int64_t) p->segments[c->first_segment + 1].first_column * p->settings.model.hop;
}

// A continuation's fade ends where the overlap does, or before the segment after it
// begins.
static int64_t fade_length(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    const int64_t overlap = (int64_t) s->prompt_columns * p->settings.model.hop;
    return min_of(overlap, stride_of(p, &p->cues[s->cue]));
}

static struct stitch_seam seam_before(const struct plan *p, uint32_t segment)
{
    const struct plan_segment *s = &p->segments[segment];
    struct stitch_seam seam = { .segment = segment, .start = plan_segment_start(p, segment) };
    if (s->index == 0) {
        seam.kind = STITCH_CUE;
        seam.samples = plan_cue_end(p, s->cue - 1) - seam.start;
        seam.at_ms = (double) p->cues[s->cue].cut_ms;
    } else {
        seam.kind = STITCH_CONTINUATION;
        seam.samples = fade_length(p, segment);
        seam.at_ms = ((double) seam.start + (double) seam.samples / 2) * 1000 /
                     (double) p->settings.model.sample_rate;
    }
    return seam;
}

static struct stitch_seam *cue_seam(const struct stitch *s, uint32_t incoming_cue)
{
    return &s->seams[s->plan->cues[incoming_cue].first_segment - 1];
}

// Where a cue is alone: between the crossfades at its ends.
struct body {
    int64_t start, end;
    int64_t ramp; // of the level match, at either end
};

static struct body body_of(const struct stitch *s, uint32_t cue)
{
    const struct plan *p = s->plan;
    struct body b = { plan_cue_start(p, cue), plan_cue_end(p, cue), 0 };
    if (cue > 0)
        b.start += cue_seam(s, cue)->samples;
    if (cue + 1 < p->cue_count)
        b.end -= cue_seam(s, cue + 1)->samples;
    const int64_t most =
        (int64_t) (LEVEL_MATCH_RAMP_S * (double) p->settings.model.sample_rate);
    b.ramp = min_of(most, (b.end - b.start) / 2);
    return b;
}

// The segments at hand

static void release(struct stitch *s, struct held *h)
{
    if (h->pcm && s->params.source.release)
        s->params.source.release(s->params.source.user, h->segment, h->pcm);
    *h = (struct held){ 0 };
}

static void release_all(struct stitch *s)
{
    for (int i = 0; i < STITCH_MAX_HELD; i++)
        release(s, &s->held[i]);
}

// One past the last sample of the film in which a segment sounds.
static int64_t heard_until(const struct plan *p, uint32_t segment)
{
    const int64_t next = plan_successor(p, segment);
    if (next == PLAN_NONE)
        return plan_cue_end(p, p->segments[segment].cue);
    return plan_segment_start(p, (uint32_t) next) + fade_length(p, (uint32_t) next);
}

static void release_past(struct stitch *s)
{
    for (int i = 0; i < STITCH_MAX_HELD; i++)
        if (s->held[i].pcm && heard_until(s->plan, s->held[i].segment) <= s->at)
            release(s, &s->held[i]);
}

static enum err check_pcm(const struct plan *p, uint32_t segment, const float *pcm,
                          uint64_t samples)
{
    const uint64_t expected = (uint64_t) plan_segment_samples(p, segment);
    if (!pcm || samples != expected) {
        log_error("segment %u has %llu samples, the plan says %llu", segment,
                  (unsigned long long) samples, (unsigned long long) expected);
        return ERR_INPUT;
    }
    for (uint64_t i = 0; i < samples; i++)
        if (!isfinite(pcm[i])) {
            log_error("segment %u: its sample %llu is not a number", segment,
                      (unsigned long long) i);
            return ERR_INPUT;
        }
    return ERR_OK;
}

static enum err load(struct stitch *s, struct held *place, uint32_t segment)
{
    const struct stitch_source *source = &s->params.source;
    const float *pcm = NULL;
    uint64_t samples = 0;
    enum err e = source->load(source->user, segment, &pcm, &samples);
    if (e)
        return e;
    e = check_pcm(s->plan, segment, pcm, samples);
    *place = (struct held){ pcm, segment, 0 };
    if (e)
        release(s, place);
    return e;
}

// The PCM of a segment, valid for the next STITCH_MAX_HELD - 1 calls at least.
static enum err hold(struct stitch *s, uint32_t segment, const float **pcm)
{
    struct held *place = NULL, *oldest = &s->held[0];
    for (int i = 0; i < STITCH_MAX_HELD; i++) {
        if (s->held[i].pcm && s->held[i].segment == segment)
            place = &s->held[i];
        if (s->held[i].used < oldest->used) // a free place was used at 0
            oldest = &s->held[i];
    }
    if (!place) {
        place = oldest;
        release(s, place);
        enum err e = load(s, place, segment);
        if (e)
            return e;
    }
    place->used = ++s->holds;
    *pcm = place->pcm;
    return ERR_OK;
}

// Sound

// Correlation and levels of the two decodings of a continuation's overlap.
static void compare_overlap(struct stitch *s, uint32_t segment, const float *before,
                            const float *after)
{
    struct stitch_seam *seam = &s->seams[segment - 1];
    if (s->compared[segment - 1])
        return;
    struct pcm_moments m = { 0 };
    pcm_moments_add(&m, before, after, (size_t) seam->samples);
    seam->correlation = pcm_correlation(&m);
    seam->difference_before_db =
        pcm_db(sqrt(m.bb / (double) m.samples)) - pcm_db(sqrt(m.aa / (double) m.samples));
    seam->difference_after_db = seam->difference_before_db;
    s->compared[segment - 1] = 1;
}

// Up to n samples of a cue from the film's sample `at`; *done of them, where a
// segment's fade begins or ends.
static enum err mix_piece(struct stitch *s, uint32_t cue, int64_t at, int64_t n, float *out,
                          int64_t *done)
{
    const struct plan *p = s->plan;
    const struct plan_cue *c = &p->cues[cue];
    const int64_t offset = at - plan_cue_start(p, cue);
    const int64_t stride = c->segments > 1 ? stride_of(p, c) : 0;
    const int64_t index = stride ? min_of(offset / stride, c->segments - 1) : 0;
    const int64_t from = offset - index * stride; // in the segment
    const uint32_t segment = c->first_segment + (uint32_t) index;
    const int64_t fade = index ? fade_length(p, segment) : 0;
    const float *now, *before;
    enum err e = hold(s, segment, &now);
    if (e)
        return e;
    if (from < fade) {
        e = hold(s, segment - 1, &before);
        if (e)
            return e;
        *done = min_of(n, fade - from);
        compare_overlap(s, segment, before + stride, now);
        fade_linear(out, before + stride + from, now + from, (size_t) *done, (uint64_t) from,
                    (uint64_t) fade);
        return ERR_OK;
    }
    *done = index + 1 < c->segments ? min_of(n, stride - from) : n;
    memcpy(out, now + from, (size_t) *done * sizeof(*out));
    return ERR_OK;
}

static enum err cue_mix(struct stitch *s, uint32_t cue, int64_t at, int64_t n, float *out)
{
    for (int64_t done; n > 0; at += done, out += done, n -= done) {
        enum err e = mix_piece(s, cue, at, n, out, &done);
        if (e)
            return e;
    }
    return ERR_OK;
}

// x holds the film's samples at .. at + n; those in start .. end get a gain from g0
// to g1.
static void gain_between(float *x, int64_t at, int64_t n, int64_t start, int64_t end, double g0,
                         double g1)
{
    const int64_t from = max_of(at, start), to = min_of(at + n, end);
    if (from < to)
        gain_line(x + (from - at), (size_t) (to - from), (uint64_t) (from - start),
                  (uint64_t) (end - start), g0, g1);
}

static enum err cue_sound(struct stitch *s, uint32_t cue, int64_t at, int64_t n, float *out)
{
    const enum err e = cue_mix(s, cue, at, n, out);
    if (e)
        return e;
    const struct plan *p = s->plan;
    const struct body b = body_of(s, cue);
    if (cue > 0) {
        const double gain = pcm_amplitude(cue_seam(s, cue)->match_in_db);
        gain_between(out, at, n, plan_cue_start(p, cue), b.start, gain, gain);
        gain_between(out, at, n, b.start, b.start + b.ramp, gain, 1);
    }
    if (cue + 1 < p->cue_count && at + n > b.end - b.ramp) {
        const double gain = pcm_amplitude(cue_seam(s, cue + 1)->match_out_db);
        gain_between(out, at, n, b.end - b.ramp, b.end, 1, gain);
        gain_between(out, at, n, b.end, plan_cue_end(p, cue), gain, gain);
    }
    return ERR_OK;
}

// The level of a cue over start .. end of the film, before any match.
static enum err cue_rms(struct stitch *s, uint32_t cue, int64_t start, int64_t end, double *rms)
{
    struct pcm_moments m = { 0 };
    for (int64_t at = start; at < end; at += PIECE) {
        const int64_t n = min_of(PIECE, end - at);
        const enum err e = cue_mix(s, cue, at, n, s->a);
        if (e)
            return e;
        pcm_moments_add(&m, s->a, s->a, (size_t) n);
    }
    *rms = m.samples ? sqrt(m.aa / (double) m.samples) : 0;
    return ERR_OK;
}

static enum err crossfade_correlation(struct stitch *s, uint32_t incoming, double *r)
{
    const struct stitch_seam *seam = cue_seam(s, incoming);
    struct pcm_moments m = { 0 };
    for (int64_t at = seam->start; at < seam->start + seam->samples; at += PIECE) {
        const int64_t n = min_of(PIECE, seam->start + seam->samples - at);
        enum err e = cue_mix(s, incoming - 1, at, n, s->a);
        if (!e)
            e = cue_mix(s, incoming, at, n, s->b);
        if (e)
            return e;
        pcm_moments_add(&m, s->a, s->b, (size_t) n);
    }
    *r = pcm_correlation(&m);
    return ERR_OK;
}

// Levels over the crossfade itself, where both sound, so that the same music on
// both sides is found equal; of a short one, over a little more of each.
static enum err seam_levels(struct stitch *s, uint32_t incoming, double *out_rms,
                            double *in_rms)
{
    const struct plan *p = s->plan;
    const struct stitch_seam *seam = cue_seam(s, incoming);
    const int64_t start = seam->start, end = start + seam->samples;
    const int64_t window = max_of(
        seam->samples, (int64_t) (LEVEL_WINDOW_S * (double) p->settings.model.sample_rate));
    enum err e = cue_rms(s, incoming - 1, max_of(end - window, plan_cue_start(p, incoming - 1)),
                         end, out_rms);
    if (!e)
        e = cue_rms(s, incoming, start, min_of(start + window, plan_cue_end(p, incoming)),
                    in_rms);
    return e;
}

static enum err compare_cues(struct stitch *s, uint32_t incoming)
{
    struct stitch_seam *seam = cue_seam(s, incoming);
    const uint32_t i = seam->segment - 1;
    if (s->compared[i])
        return ERR_OK;
    double r = 0, out_rms = 0, in_rms = 0;
    enum err e = crossfade_correlation(s, incoming, &r);
    if (!e)
        e = seam_levels(s, incoming, &out_rms, &in_rms);
    if (e)
        return e;
    const double rate = (double) s->plan->settings.model.sample_rate;
    struct level_match match = { 0, 0 };
    if (!s->params.no_level_match)
        match = level_match(out_rms, in_rms, (double) body_of(s, incoming - 1).ramp / rate,
                            (double) body_of(s, incoming).ramp / rate);
    seam->correlation = r;
    seam->gain_db = seam->samples ? fmax(0, pcm_db(fade_gain(0.5, r))) : 0;
    seam->match_out_db = match.out_db;
    seam->match_in_db = match.in_db;
    seam->difference_before_db = pcm_db(in_rms) - pcm_db(out_rms);
    seam->difference_after_db = seam->difference_before_db + match.in_db - match.out_db;
    s->compared[i] = 1;
    return ERR_OK;
}

static void find_cue(struct stitch *s)
{
    while (s->cue > 0 && plan_cue_end(s->plan, s->cue - 1) > s->at)
        s->cue--;
    while (plan_cue_end(s->plan, s->cue) <= s->at)
        s->cue++;
}

// Up to n (at most PIECE) samples of the film from s->at, which is before its end;
// *done of them, where the next ramp or crossfade begins or ends.
static enum err film_sound(struct stitch *s, float *out, int64_t n, int64_t *done)
{
    find_cue(s);
    const uint32_t cue = s->cue;
    if (cue + 1 == s->plan->cue_count) {
        *done = min_of(n, s->total - s->at);
        return cue_sound(s, cue, s->at, *done, out);
    }
    const struct body b = body_of(s, cue);
    if (s->at < b.end - b.ramp) {
        *done = min_of(n, b.end - b.ramp - s->at);
        return cue_sound(s, cue, s->at, *done, out);
    }
    enum err e = compare_cues(s, cue + 1);
    if (e)
        return e;
    if (s->at < b.end) {
        *done = min_of(n, b.end - s->at);
        return cue_sound(s, cue, s->at, *done, out);
    }
    const struct stitch_seam *seam = cue_seam(s, cue + 1);
    *done = min_of(n, b.end + seam->samples - s->at);
    e = cue_sound(s, cue, s->at, *done, s->a);
    if (!e)
        e = cue_sound(s, cue + 1, s->at, *done, s->b);
    if (!e)
        fade_correlated(out, s->a, s->b, (size_t) *done, (uint64_t) (s->at - seam->start),
                        (uint64_t) seam->samples, seam->correlation);
    return e;
}

// Steps

// The steps of the piece at s->counted that belong to a seam: those into its first
// sample up to the one after its last.
static void count_seam(struct stitch *s, struct stitch_seam *seam, int64_t n)
{
    const int64_t from = max_of(seam->start - s->counted, 0);
    const int64_t to = min_of(seam->start + seam->samples + 1 - s->counted, n);
    for (int64_t i = from; i < to; i++) {
        s->in_seam[i] = true;
        seam->largest_step = fmax(seam->largest_step, (double) s->step[i]);
    }
    if (seam->start + seam->samples + 1 <= s->counted + n)
        seam->measured = true;
}

// A cue's last seams and the next cue's first may overlap: they begin in this order
// but for a crossfade's length.
static void count_seams(struct stitch *s, int64_t n)
{
    const int64_t out_of_order =
        plan_samples(&s->plan->settings.model, s->plan->settings.crossfade_ms) + 1;
    while (s->open_seam < s->seam_count && s->seams[s->open_seam].measured)
        s->open_seam++;
    for (uint32_t i = s->open_seam; i < s->seam_count; i++) {
        if (s->seams[i].start >= s->counted + n + out_of_order)
            break;
        count_seam(s, &s->seams[i], n);
    }
}

// x is the film's sample s->counted and what follows. At most PIECE.
static void count_steps(struct stitch *s, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        s->step[i] = fabsf(x[i] - (i ? x[i - 1] : s->last));
        s->in_seam[i] = false;
    }
    if (s->counted == 0) {
        s->step[0] = 0;
        s->in_seam[0] = true; // nothing was before it
    }
    count_seams(s, n);
    for (int64_t i = 0; i < n; i++)
        if (!s->in_seam[i])
            pcm_steps_add(&s->steps, s->step[i]);
    s->last = x[n - 1];
    s->counted += n;
}

static void rank_steps(struct stitch *s)
{
    for (uint32_t i = 0; i < s->seam_count; i++) {
        s->seams[i].measured = true;
        s->seams[i].step_rank = pcm_steps_above(&s->steps, (float) s->seams[i].largest_step);
    }
}

// out holds the n samples that end at s->at.
static void count(struct stitch *s, const float *out, int64_t n)
{
    const int64_t fresh = s->at - s->counted;
    if (fresh <= 0)
        return;
    count_steps(s, out + (n - fresh), fresh);
    if (s->counted == s->total)
        rank_steps(s);
}

enum err stitch_open(struct stitch **out, const struct stitch_params *params)
{
    struct stitch *s = calloc(1, sizeof(*s));
    *out = s;
    if (!s)
        goto fail;
    s->params = *params;
    s->plan = params->plan;
    s->total = plan_total_samples(s->plan);
    s->seam_count = s->plan->segment_count - 1;
    s->seams = calloc((size_t) s->seam_count + 1, sizeof(*s->seams));
    s->compared = calloc((size_t) s->seam_count + 1, 1);
    if (!s->seams || !s->compared)
        goto fail;
    for (uint32_t i = 0; i < s->seam_count; i++)
        s->seams[i] = seam_before(s->plan, i + 1);
    return ERR_OK;
fail:
    log_error("stitch: out of memory");
    stitch_close(out);
    return ERR_NOMEM;
}

void stitch_close(struct stitch **s)
{
    if (!*s)
        return;
    release_all(*s);
    free((*s)->seams);
    free((*s)->compared);
    free(*s);
    *s = NULL;
}

int64_t stitch_total(const struct stitch *s)
{
    return s->total;
}

enum err stitch_read(struct stitch *s, float *out, size_t samples, size_t *got)
{
    const int64_t start = s->at;
    const int64_t left = s->total - start;
    const int64_t wanted = samples < (uint64_t) left ? (int64_t) samples : left;
    *got = 0;
    while (s->at < start + wanted) {
        float *piece = out + (s->at - start);
        int64_t n;
        const enum err e = film_sound(s, piece, min_of(PIECE, start + wanted - s->at), &n);
        if (e) {
            s->at = start;
            return e;
        }
        s->at += n;
        count(s, piece, n);
        release_past(s);
    }
    *got = (size_t) wanted;
    return ERR_OK;
}

void stitch_rewind(struct stitch *s)
{
    release_all(s);
    s->at = 0;
}

const struct stitch_seam *stitch_seams(const struct stitch *s, uint32_t *seams)
{
    *seams = s->seam_count;
    return s->seams;
}

void stitch_steps(const struct stitch *s, double *usual, double *largest)
{
    *usual = pcm_steps_quantile(&s->steps, 0.999);
    *largest = (double) s->steps.largest;
}
