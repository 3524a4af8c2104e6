// finish_film: parts on disk to a delivered film, and the report that tells how
// it was made.
#pragma once

#include <jansson.h>

#include "cli/compose_film.h"
#include "cli/settings.h"
#include "common/media/picture_file.h"
#include "common/media/sound_picture.h"
#include "common/timeline/stitch.h"

struct finish_result {
    struct delivery_report delivery;
    json_t *seams;                 // stitch_seams_to_json(); the caller's
    struct stitch_seam *seam_list; // [seam_count], the same
    uint32_t seam_count;
    double usual_step, largest_step; // stitch_steps()
    struct sound_picture sound;      // of the music as delivered; part i is cue i
    struct media_bytes clip; // the music by itself, where a page wants it and can take it
    double stitch_s;
};

// All that is told of a job. `model`, `options` and `composed` are NULL where nobody knows
// them: stitch alone does not, but for what its parts tell.
struct job_story {
    const struct plan *plan;
    const struct film *film;
    const struct job_model *model;
    const struct model_options *options;
    const struct compose_result *composed;
    const struct finish_result *finished;
    const char *told_by; // the directory of the parts, or of the tokens, that the music is of
    double took_s;       // from the film to its music; 0: not all of it was done now
};

// Outputs that may not be written are refused before any work: one that exists
// (unless told to overwrite), one that is an input, one whose place or container
// does not work. Logs.
ERR_CHECKED enum err finish_check(const struct delivery_options *options,
                                  const struct film *film);
// The same for one path; NULL is fine.
ERR_CHECKED enum err output_check(const char *path, const struct film *film, bool overwrite);

// Stitch the parts in `directory`, deliver, and look at what was delivered. Shows progress;
// ERR_STOP on Ctrl-C.
ERR_CHECKED enum err finish_film(const struct plan *p, const char *directory,
                                 const struct film *film,
                                 const struct delivery_options *options, bool quiet,
                                 struct finish_result *out);
void finish_result_release(struct finish_result *r); // a zeroed one is fine

// Tell it where the options want it told: the report, enough to make the same music again,
// in a file, on standard output, both or neither; and the page. Files are written whole or
// not at all. Logs.
ERR_CHECKED enum err report_write(const struct job_story *story,
                                  const struct delivery_options *options,
                                  const struct talk_settings *talk);
