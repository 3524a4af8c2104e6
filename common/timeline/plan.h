// plan: from a film's length and its scene changes to cues and segments.
//
// Pure and deterministic: integers only, no clock, no files; the same inputs
// give the same plan on every machine. A plan never changes once built, so any
// number of threads may read it.
//
// Words
//
//   cut points   0 = c0 < c1 < ... < cn = the film's length. Those between are
//                scene changes, or places forced by max_cue where there is none.
//   cue i        the music from c(i) to c(i+1). It sounds a little longer:
//                neighbouring cues both sound in the crossfade.
//   crossfade    centred on the cut, as an editing program's default transition
//                is: half before, half after, both pieces equally loud on the cut
//                itself. A fade that ended at the cut would give the next scene
//                away before it is seen, one that began there would trail behind.
//   segment k    one model window of a cue: columns kT .. kT+W of it, where W is
//                the segment's and T = W - overlap the stride's length in columns.
//                Its first `overlap` columns are the last ones of its predecessor.
//   column       one time step of the codec's tokens: hop / sample_rate seconds.
//                Everything inside a cue lies on whole columns, counted from the
//                cue's start; what the last column has too much is trimmed when
//                the segments are stitched.
//
//             c1                       c2
//   cue 0 ----|=                       |
//   cue 1    =|-----------------------=|          = both sound
//   cue 2                             =|=-----
//   segments of cue 1
//            [0         ####]          |          # overlap: segment 1's prompt
//                      [####   1    ####]
//                                  [#### 2]
//
// How a cut is chosen
//
// The film is cut at every clear scene change that leaves no cue shorter than min_cue,
// and nowhere else until max_cue forces it. A scene change is clear when it is
//
//   isolated: no other change within min_cue of it. A change alone between two long
//     takes is a change of scene; one among many is only the next shot; or
//   prominent: none at least as strong within the geometric mean of the limits (38 s
//     by default).
//
// How: the film is divided into cells of max_cue / 128 or so, at most min_cue / 2 (1.4 s
// by default). The strongest scene change of a cell represents it; a cell without one
// offers a forced cut. Among all sequences of those points that keep every cue within
// min_cue .. max_cue, dynamic programming finds the cheapest:
//
//   a clear change costs -16, so that their number comes first;
//   a weak one 2 - m, where m in 0..1 is how near it comes to being isolated or
//     prominent (time to the nearest such neighbour, over the time asked for);
//   a forced cut 3;
//   a cue costs 0 while its length is comfortable (2 min_cue .. max_cue / 2), and
//   rises with the square of the excess to 1 at min_cue and at max_cue.
//
// So scenes of 8 s get a cue each, and a fast-cut film gets one for each change that
// stands out from half a minute around it: of about a minute. Only the order of
// strengths counts, not the detector's scale. Runs of forced cuts are spread evenly.
//
// When no number of cues fits both limits (a film of 50 s with cues of 30 s to
// 45 s), max_cue holds and min_cue gives way to as many equal cues as that needs.
// A film shorter than twice min_cue, or with `cut` PLAN_CUT_NONE, is one cue.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define PLAN_MIN_DURATION_MS 100
#define PLAN_MAX_DURATION_MS ((int64_t) 24 * 60 * 60 * 1000)
#define PLAN_MAX_SEGMENTS (1u << 18)
#define PLAN_MAX_SCENES (1u << 22)
#define PLAN_NONE (-1)

// The facts about the model that a plan rests on. All come from its checkpoint.
struct plan_model {
    uint32_t sample_rate;    // Hz, of the codec's sound
    uint32_t hop;            // samples in a token column
    int64_t max_duration_ms; // the longest window the model was trained for
};

enum plan_cut {
    PLAN_CUT_SCENE, // cut at scene changes, and where max_cue forces it
    PLAN_CUT_NONE,  // never cut: the whole film is one cue; min_cue and max_cue do not apply
};

struct plan_settings {
    int64_t segment_ms;
    int64_t overlap_ms;
    int64_t crossfade_ms; // 0 is a hard cut
    int64_t min_cue_ms;   // from cut point to cut point, the crossfades not counted
    int64_t max_cue_ms;
    enum plan_cut cut;
    uint64_t seed; // the job's
    struct plan_model model;
};

// A scene change: where the new scene's first picture is shown.
struct plan_scene {
    int64_t at_ms;
    int32_t strength; // the detector's score on any rising scale; 0 for all when unknown
};

// What the film is. Only path and duration_ms are needed.
struct plan_film {
    const char *path;
    int64_t duration_ms;
    uint64_t bytes;     // of the file; 0 when unknown
    const char *sha256; // 64 lower-case hexadecimal digits; NULL when unknown
};

enum plan_opening {
    PLAN_FILM_START,
    PLAN_SCENE_CHANGE,
    PLAN_FORCED, // no scene change was in reach
};

struct plan_cue {
    int64_t cut_ms, next_cut_ms; // its cut points
    int64_t start_ms, end_ms;    // what sounds: the crossfades included
    enum plan_opening opening;   // of what kind cut_ms is
    uint32_t first_segment;      // into plan.segments
    uint32_t segments;           // >= 1
};

struct plan_segment {
    uint32_t cue;   // into plan.cues
    uint32_t index; // 0-based, within its cue
    // In columns from the cue's start. These are exact; the times in ms are them,
    // rounded where a column is not a whole number of milliseconds.
    uint32_t first_column;
    uint32_t columns;         // to have in the end, the prompt included
    uint32_t prompt_columns;  // how many of them the predecessor gives; 0 for the first
    int64_t start_ms, end_ms; // of the film; the last one's end is its cue's end
    int64_t overlap_ms;       // prompt_columns, in time
    uint64_t seed;            // plan_segment_seed(), unless somebody asked for another take
    int64_t prompt_from;      // into plan.segments; PLAN_NONE for the first of a cue
};

struct plan {
    struct plan_film film; // the strings are the plan's own
    struct plan_settings settings;
    struct plan_scene *scenes; // ascending, all inside the film
    uint32_t scene_count;
    struct plan_cue *cues; // in film order
    uint32_t cue_count;
    struct plan_segment *segments; // in film order: by cue, then by index
    uint32_t segment_count;
};

// The defaults for a model: segments of 30 s or the model's own limit, overlap of
// 10 s or a third of that, crossfade 2 s, cues of 8 s to 180 s, seed 0.
struct plan_settings plan_settings_default(const struct plan_model *model);

// The published codec: 32 kHz, hop 640 (50 columns a second), 30 s.
struct plan_model plan_model_published(void);

// ERR_USAGE, and one logged line naming the option and what would do, unless
// every setting is in range and they fit each other.
ERR_CHECKED enum err plan_settings_check(const struct plan_settings *s);

// Build a plan. `scenes` may be in any order; those outside the film are left
// out. On success the caller owns *out and ends it with plan_destroy().
// ERR_USAGE: the settings are wrong, or would make more than PLAN_MAX_SEGMENTS.
// ERR_INPUT: the film's length is out of range. ERR_NOMEM. All log.
ERR_CHECKED enum err plan_build(struct plan **out, const struct plan_film *film,
                                const struct plan_scene *scenes, size_t scene_count,
                                const struct plan_settings *settings);

// Sets *p to NULL. A plan already NULL is fine.
void plan_destroy(struct plan **p);

// The seed of a segment: mix64 over (job seed, cue, index).
uint64_t plan_segment_seed(uint64_t job_seed, uint32_t cue, uint32_t index);

// round(ms * sample_rate / 1000), halves up. Every position in samples is the
// position in ms through this function, so that neighbours agree.
int64_t plan_samples(const struct plan_model *m, int64_t ms);

// Whole columns in `ms`: int(seconds * frame rate), as the published code counts.
int64_t plan_columns(const struct plan_model *m, int64_t ms);

// Samples the whole music has: plan_samples() of the film's length.
int64_t plan_total_samples(const struct plan *p);

// A cue's first sample in the film, and one past its last.
int64_t plan_cue_start(const struct plan *p, uint32_t cue);
int64_t plan_cue_end(const struct plan *p, uint32_t cue);

// A segment's first sample in the film, and the samples it has when its last
// column is whole (columns * hop): what a composer delivers.
int64_t plan_segment_start(const struct plan *p, uint32_t segment);
int64_t plan_segment_samples(const struct plan *p, uint32_t segment);

// The part of the film a segment watches: its time, without what lies beyond
// its cue's cut points, so that a crossfade does not show it the other scene.
// Never empty.
struct plan_span {
    int64_t from_ms, to_ms;
};
struct plan_span plan_watch(const struct plan *p, uint32_t segment);

// The segment that continues this one; PLAN_NONE when it is its cue's last.
int64_t plan_successor(const struct plan *p, uint32_t segment);

// Music still to be composed from this segment to the end of its cue, in ms. Its
// own prompt is not counted.
int64_t plan_remaining_ms(const struct plan *p, uint32_t segment);

// Which segments can be composed now: those not done whose predecessor is done.
// `done` has segment_count entries. Writes at most `capacity` of them to `out`,
// longest remaining cue first (ties in film order), and returns how many there are
// in all. A scheduler that is told of one completion at a time needs only
// plan_successor(). ERR_NOMEM cannot happen: nothing is allocated.
size_t plan_ready(const struct plan *p, const bool *done, uint32_t *out, size_t capacity);

// Mark the cues named by `text` ("3", "3-5", "0,7-9"; numbers as the plan
// prints them, the first is 0) in chosen[cue_count], which the caller cleared.
// ERR_USAGE logs what is wrong with the text.
ERR_CHECKED enum err plan_select_cues(const struct plan *p, const char *text, bool *chosen);

// ERR_INPUT, and one logged line, unless everything a plan promises holds: the
// cues cover the film from cut point to cut point, the crossfades fit, the
// segments are exactly what the settings make of the cues. What a user may
// choose (where the cuts lie, a segment's seed) is not second-guessed.
ERR_CHECKED enum err plan_check(const struct plan *p);
