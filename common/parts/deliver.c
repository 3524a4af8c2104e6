#include "common/parts/deliver.h"

#include "common/parts/parts.h"
#include "common/timeline/stitch.h"

// The stitch as the track writer wants to read it.
struct stitched {
    struct pcm_source source; // first: cast back from it
    struct stitch *stitch;
};

static enum err stitched_read(struct pcm_source *self, float *out, size_t capacity, size_t *got)
{
    return stitch_read(((struct stitched *) self)->stitch, out, capacity, got);
}

static enum err stitched_rewind(struct pcm_source *self)
{
    stitch_rewind(((struct stitched *) self)->stitch);
    return ERR_OK;
}

enum err deliver_parts(const struct plan *p, const char *directory, const struct film *film,
                       const struct delivery *delivery, const struct media_hooks *hooks,
                       struct delivery_report *report, json_t **seams)
{
    struct part_loader loader;
    part_loader_init(&loader, directory, p);
    struct stitched music = {
        .source = { stitched_read, stitched_rewind, (uint64_t) plan_total_samples(p),
                    p->settings.model.sample_rate },
    };
    enum err e = stitch_open(&music.stitch, &(struct stitch_params){
        .plan = p, .source = { &loader, part_loader_load, part_loader_release } });
    if (!e)
        e = track_writer_run(film, delivery, &music.source, hooks, report);
    if (!e && seams) {
        *seams = stitch_seams_to_json(music.stitch);
        e = *seams ? ERR_OK : ERR_NOMEM;
    }
    stitch_close(&music.stitch);
    part_loader_finish(&loader);
    return e;
}
