// stitch: the segments of a film, as one stream of sound.
//
// Pull-based: the caller asks for the next samples, in blocks of any size, and
// the stitch asks the caller's loader for the segments it needs, each at most a
// few times. At most STITCH_MAX_HELD segments are held at once (with the default
// settings three), so memory does not grow with the film. The samples depend on
// the plan and the segments alone, not on the block sizes or on rewinding.
//
//   inside a cue   the overlap with the predecessor is decoded from identical
//                  tokens: a linear fade over it.
//   between cues   levels matched (crossfade.h, level_match), then faded by the law
//                  corrected by the correlation measured over the crossfade.
//
// The measuring of a cue seam happens when the stream first comes near it, and
// loads the segments on both sides. One thread per stitch; it blocks only where the
// loader does.
#pragma once

#include <jansson.h>

#include "common/timeline/plan.h"

#define STITCH_MAX_HELD 4

struct stitch;

// Where the segments' sound comes from.
struct stitch_source {
    void *user;
    // The PCM of a segment: mono, from its first column (prompt included), exactly
    // plan_segment_samples() of them. It stays valid until release(). A failure
    // is logged by the loader and comes back from stitch_read().
    enum err (*load)(void *user, uint32_t segment, const float **pcm, uint64_t *samples);
    // May be NULL when there is nothing to do.
    void (*release)(void *user, uint32_t segment, const float *pcm);
};

struct stitch_params {
    const struct plan *plan; // must outlive the stitch
    struct stitch_source source;
    bool no_level_match; // leave every cue at its own level
};

enum stitch_seam_kind { STITCH_CONTINUATION, STITCH_CUE };

// What was done, and found, at one seam.
struct stitch_seam {
    enum stitch_seam_kind kind;
    uint32_t segment;   // the incoming one
    int64_t start;      // the fade's first sample in the film
    int64_t samples;    // its length; 0 for a hard cut
    double at_ms;       // the cut point, or the middle of a continuation's fade
    bool measured;      // the stream has passed it, all below is known
    double correlation; // r of the two sounds over the fade, as found
    double gain_db;     // the largest gain of the fade's law; 0 for a continuation
    double match_out_db, match_in_db; // the level match; 0 for a continuation
    double difference_before_db;      // level of the incoming less that of the outgoing sound
    double difference_after_db;       // the same after the match
    double largest_step; // between neighbouring samples, in the fade and at its edges
    double step_rank;    // the fraction of steps outside all seams that are as large or larger;
                         // known when the stream has been read to its end
};

// On success the caller owns *out. Nothing is loaded yet. ERR_NOMEM.
ERR_CHECKED enum err stitch_open(struct stitch **out, const struct stitch_params *params);

// Sets *s to NULL; releases what is held. NULL is fine.
void stitch_close(struct stitch **s);

// plan_total_samples(): what a whole reading gives.
int64_t stitch_total(const struct stitch *s);

// The next samples of the film, as many as asked for; fewer only at the end, where
// *got is 0. On failure (the loader's, or ERR_INPUT when a segment has the wrong
// number of samples or one that is not finite) nothing is taken: the same call can
// be made again.
ERR_CHECKED enum err stitch_read(struct stitch *s, float *out, size_t samples, size_t *got);

// Start over. What was measured stays.
void stitch_rewind(struct stitch *s);

// Every seam in film order; the array is the stitch's. Whole after a whole reading.
const struct stitch_seam *stitch_seams(const struct stitch *s, uint32_t *seams);

// Of the steps outside all seams: the 99.9th percentile and the largest so far.
void stitch_steps(const struct stitch *s, double *usual, double *largest);

// The seams for a report: {"usual_step", "largest_step", "seams": [{"kind",
// "at_ms", ...}]}. A new reference; NULL when out of memory.
json_t *stitch_seams_to_json(const struct stitch *s);
