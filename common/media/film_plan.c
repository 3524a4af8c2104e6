#include "common/media/film_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/scenes.h"
#include "common/timeline/plan_json.h"

static enum err find_scenes(struct plan_scene **out, size_t *count, const struct film *film,
                            double threshold, const struct media_hooks *hooks)
{
    struct scene_cuts cuts = { 0 };
    enum err e = scenes_detect(&cuts, film, &(struct scene_options){ threshold, hooks });
    if (e)
        return e;
    struct plan_scene *scenes = calloc(cuts.count ? cuts.count : 1, sizeof(*scenes));
    if (!scenes)
        e = ERR_NOMEM;
    for (size_t i = 0; !e && i < cuts.count; i++)
        scenes[i] = (struct plan_scene){ cuts.ms[i], (int32_t) (cuts.scores[i] * 100) };
    *out = scenes;
    *count = cuts.count;
    scene_cuts_release(&cuts);
    return e;
}

enum err film_plan_make(struct plan **out, const struct film *film,
                        const struct plan_settings *settings, double scene_threshold,
                        const struct media_hooks *hooks)
{
    struct plan_scene *scenes = NULL;
    size_t count = 0;
    *out = NULL;
    enum err e = plan_settings_check(settings);
    if (!e && settings->cut == PLAN_CUT_SCENE)
        e = find_scenes(&scenes, &count, film, scene_threshold, hooks);
    if (!e) {
        struct stat st;
        const struct plan_film described = {
            .path = film->path,
            .duration_ms = film->duration_ms,
            .bytes = stat(film->path, &st) == 0 ? (uint64_t) st.st_size : 0,
        };
        e = plan_build(out, &described, scenes, count, settings);
    }
    free(scenes);
    return e;
}

enum err film_plan_read(struct plan **out, const char *path)
{
    struct file_map m;
    *out = NULL;
    enum err e = file_map(&m, path);
    if (!e)
        e = plan_from_text(out, (const char *) m.data, m.bytes, path);
    file_unmap(&m);
    return e;
}

enum err film_plan_write(const struct plan *p, const char *path)
{
    char *text = plan_to_text(p);
    if (!text)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    if (!strcmp(path, "-")) {
        fputs(text, stdout);
    } else {
        struct out_file f;
        e = out_file_open(&f, path);
        if (!e) {
            fputs(text, f.stream);
            e = out_file_commit(&f);
        }
    }
    free(text);
    return e;
}

enum err film_plan_film(struct film *out, const struct plan *p, const char *path)
{
    const enum err e = film_probe(out, path ? path : p->film.path);
    if (e)
        return e;
    if (out->duration_ms == p->film.duration_ms)
        return ERR_OK;
    log_error("%s: is %.3f s long, its plan is for %.3f s; plan it again", out->path,
              (double) out->duration_ms / 1000, (double) p->film.duration_ms / 1000);
    film_release(out);
    return ERR_INPUT;
}
