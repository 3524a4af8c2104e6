#include "common/timeline/stitch.h"

#include "common/base/log.h"

static const char *kind_name(enum stitch_seam_kind kind)
{
    switch (kind) {
    case STITCH_CONTINUATION: return "continuation";
    case STITCH_CUE: return "cue";
    }
    return "";
}

// Only what the stream has passed is known.
static json_t *measures_to_json(const struct stitch_seam *seam)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "correlation",
                     seam->correlation, "gain_db", seam->gain_db, "match_out_db",
                     seam->match_out_db, "match_in_db", seam->match_in_db,
                     "difference_before_db", seam->difference_before_db, "difference_after_db",
                     seam->difference_after_db, "largest_step", seam->largest_step, "step_rank",
                     seam->step_rank);
}

static json_t *seam_to_json(const struct stitch_seam *seam)
{
    json_t *o = json_pack("{s:s, s:I, s:f, s:I, s:I}", "kind", kind_name(seam->kind), "segment",
                          (json_int_t) seam->segment, "at_ms", seam->at_ms, "start_sample",
                          (json_int_t) seam->start, "samples", (json_int_t) seam->samples);
    if (!o || !seam->measured)
        return o;
    if (json_object_update_new(o, measures_to_json(seam))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *stitch_seams_to_json(const struct stitch *s)
{
    uint32_t count;
    double usual, largest;
    const struct stitch_seam *seams = stitch_seams(s, &count);
    stitch_steps(s, &usual, &largest);
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, seam_to_json(&seams[i]))) {
            json_decref(list);
            list = NULL;
        }
    json_t *root = json_pack("{s:f, s:f, s:o}", "usual_step", usual, "largest_step", largest,
                             "seams", list);
    if (!root)
        log_error("stitch: out of memory for its report");
    return root;
}
