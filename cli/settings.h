// settings: the options that several verbs share: their tables, and what they
// mean once the model is known.
#pragma once

#include "common/config/talk.h"
#include "common/media/track_writer.h"
#include "common/timeline/plan.h"
#include "worker/composer/composer.h"
#include "worker/model/config.h"

// How a film is cut into cues and segments. Times in ms; -1: the default for the
// model.
struct plan_options {
    int64_t segment_ms, overlap_ms, crossfade_ms, min_cue_ms, max_cue_ms;
    int cut; // enum plan_cut
    uint64_t seed;
    double scene_threshold;
};

// Which model, where, and how it draws.
struct model_options {
    const char *model; // NULL: as model_path.h says
    const char *device;
    uint64_t memory;
    int64_t batch;
    double temperature, top_p;
    double guidance; // < 0: the checkpoint's own
    int64_t top_k;
    bool validate;
    const char *cache_dir; // NULL: the user's
};

// What is delivered.
struct delivery_options {
    const char *output, *wav, *report, *page;
    const char *loudness; // "-14", "none"
    int audio;            // enum film_audio
    double ceiling;
    const char *codec, *title, *language;
    int64_t bitrate;
    bool overwrite;
};

// Each fills the struct with defaults and builds the option table over it in
// `specs` (SETTINGS_MAX_SPECS entries).
void plan_table(struct plan_options *p, struct option_spec *specs);
void model_table(struct model_options *m, struct option_spec *specs);
void delivery_table(struct delivery_options *d, struct option_spec *specs);

struct plan_settings plan_settings_from(const struct plan_options *p,
                                        const struct plan_model *m);
struct plan_model plan_model_of(const struct model_config *c);

// ERR_USAGE logs.
ERR_CHECKED enum err delivery_from(struct delivery *out, const struct delivery_options *d);

// Opens the device the options name. The cache directory is
// $XDG_CACHE_HOME/underscore or ~/.cache/underscore unless told otherwise.
ERR_CHECKED enum err device_open_for(struct device **out, const struct model_options *m);
