#include "common/parts/deliver.h"

static enum err music_read(struct pcm_source *self, float *out, size_t capacity, size_t *got)
{
    return stitch_read(((struct parts_music *) self)->stitch, out, capacity, got);
}

static enum err music_rewind(struct pcm_source *self)
{
    stitch_rewind(((struct parts_music *) self)->stitch);
    return ERR_OK;
}

enum err parts_music_open(struct parts_music *m, const struct plan *p, const char *directory)
{
    *m = (struct parts_music){
        .source = { music_read, music_rewind, (uint64_t) plan_total_samples(p),
                    p->settings.model.sample_rate },
    };
    part_loader_init(&m->loader, directory, p);
    const enum err e = stitch_open(
        &m->stitch, &(struct stitch_params){
                        .plan = p,
                        .source = { &m->loader, part_loader_load, part_loader_release } });
    if (e)
        part_loader_finish(&m->loader);
    return e;
}

void parts_music_close(struct parts_music *m)
{
    stitch_close(&m->stitch);
    part_loader_finish(&m->loader);
}

enum err deliver_parts(const struct plan *p, const char *directory, const struct film *film,
                       const struct delivery *delivery, const struct media_hooks *hooks,
                       struct delivery_report *report, json_t **seams)
{
    struct parts_music music;
    enum err e = parts_music_open(&music, p, directory);
    if (e)
        return e;
    e = track_writer_run(film, delivery, &music.source, hooks, report);
    if (!e && seams) {
        *seams = stitch_seams_to_json(music.stitch);
        e = *seams ? ERR_OK : ERR_NOMEM;
    }
    parts_music_close(&music);
    return e;
}
