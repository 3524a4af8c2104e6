// compose_film: the cues of a plan, composed into a directory of parts by one
// composer. What is there already and made of the same inputs stays.
#pragma once

#include "cli/settings.h"
#include "common/media/film.h"
#include "common/parts/parts.h"
#include "worker/composer/composer.h"
#include "worker/weights/model_file.h"

// A model opened for a job, with what a report says of it.
struct job_model {
    char *path;
    struct model_file *file;
    const struct model_config *config;
    char sha256[65];
    double guidance; // asked for, or the checkpoint's own
};

// The model that the options name, else the one of model_path_find().
ERR_CHECKED enum err job_model_open(struct job_model *out, const struct model_options *options);
void job_model_close(struct job_model *m); // a zeroed one is fine

// ERR_INPUT when a plan was made for a codec with other sizes.
ERR_CHECKED enum err job_model_fits(const struct job_model *m, const struct plan *p);

struct compose_film {
    const struct plan *plan;
    const struct film *film;
    const struct job_model *model;
    const struct model_options *options;
    const char *directory; // made when it is not there
    const bool *cues;      // which to compose; NULL: all
    bool replace;          // parts made of other inputs are composed anew, not refused
    bool quiet;
};

// What composing took.
struct compose_result {
    uint32_t segments_done;     // composed now
    uint32_t segments_there;    // were there
    struct device_facts device; // zeroed when nothing had to be composed
    struct composer_timings timings;
};

ERR_CHECKED enum err compose_film(const struct compose_film *c, struct compose_result *out);
