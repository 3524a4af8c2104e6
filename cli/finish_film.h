// finish_film: parts on disk to a delivered film, and the report that tells how
// it was made.
#pragma once

#include <jansson.h>

#include "cli/compose_film.h"
#include "cli/settings.h"

struct finish_result {
    struct delivery_report delivery;
    json_t *seams; // stitch_seams_to_json(); the caller's
    double stitch_s;
};

// Outputs that may not be written are refused before any work: one that exists
// (unless told to overwrite), one that is an input, one whose place or container
// does not work. Logs.
ERR_CHECKED enum err finish_check(const struct delivery_options *options, const struct film *film);

// Stitch the parts in `directory` and deliver. Shows progress; ERR_STOP on Ctrl-C.
ERR_CHECKED enum err finish_film(const struct plan *p, const char *directory,
                                 const struct film *film, const struct delivery_options *options,
                                 bool quiet, struct finish_result *out);
void finish_result_release(struct finish_result *r); // a zeroed one is fine

// Everything about the job, enough to make the same music again. `model`,
// `options` and `composed` may be NULL (stitch alone does not know them). A new
// reference; NULL when out of memory.
json_t *report_make(const struct plan *p, const struct film *film, const struct job_model *model,
                    const struct model_options *options, const struct compose_result *composed,
                    const struct finish_result *finished);

// Where the options want the report: in a file (whole or not at all), on standard
// output, both or neither. Takes over the reference; NULL is ERR_NOMEM.
ERR_CHECKED enum err report_write(json_t *report, const struct delivery_options *options,
                                  const struct talk_settings *talk);
