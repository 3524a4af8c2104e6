#include "coordinator/extract/extract.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/media/frames.h"
#include "common/media/preprocess.h"
#include "common/parts/parts.h"

static char *path_in(const char *folder, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

enum err extract_request(struct wire_submit *out, const char *folder)
{
    struct file_map m = { 0 };
    char *path = path_in(folder, "request");
    struct wire_message *message = malloc(sizeof(*message));
    const char *why = "";
    enum err e = path && message ? file_map(&m, path) : ERR_NOMEM;
    if (!e) {
        e = wire_decode(message, m.data, (size_t) m.bytes, &why);
        if (!e && message->type != WIRE_SUBMIT)
            e = ERR_INPUT;
        if (e)
            log_error("%s: no request of this version: %s", path,
                      why ? why : "of another type");
        else
            *out = message->submit;
    }
    file_unmap(&m);
    free(message);
    free(path);
    return e;
}

static void set_if(int64_t *to, int64_t from)
{
    if (from >= 0)
        *to = from;
}

static struct plan_settings settings_of(const struct wire_submit *r,
                                        const struct plan_model *model)
{
    struct plan_settings s = plan_settings_default(model);
    set_if(&s.segment_ms, r->segment_ms);
    set_if(&s.overlap_ms, r->overlap_ms);
    set_if(&s.crossfade_ms, r->crossfade_ms);
    set_if(&s.min_cue_ms, r->min_cue_ms);
    set_if(&s.max_cue_ms, r->max_cue_ms);
    s.cut = r->cut ? PLAN_CUT_SCENE : PLAN_CUT_NONE;
    s.seed = r->seed;
    return s;
}

static enum err write_text(const char *folder, const char *name, const char *text)
{
    struct out_file f;
    char *path = path_in(folder, name);
    enum err e = path ? out_file_open(&f, path) : ERR_NOMEM;
    if (!e) {
        fputs(text, f.stream);
        e = out_file_commit(&f);
    }
    free(path);
    return e;
}

static const char *or_null(const char *text)
{
    return *text ? text : NULL;
}

struct delivery extract_delivery(const struct wire_submit *r)
{
    return (struct delivery){
        .film = r->output,
        .audio = r->replace_audio ? FILM_AUDIO_REPLACE : FILM_AUDIO_ADD,
        .target_lufs = r->target_lufs,
        .keep_loudness = r->keep_loudness,
        .ceiling_dbtp = r->ceiling_dbtp,
        .codec = or_null(r->codec),
        .bitrate = r->bitrate,
        .title = or_null(r->title),
        .language = or_null(r->language),
    };
}

enum err extract_check_film(const char *folder, const char *film)
{
    char now[FILM_IDENTITY_BYTES], then[FILM_IDENTITY_BYTES] = "";
    char *path = path_in(folder, "identity");
    struct file_map m = { 0 };
    enum err e = path ? file_map(&m, path) : ERR_NOMEM;
    if (!e)
        e = film_identity(now, film);
    if (!e)
        snprintf(then, sizeof(then), "%.*s", (int) m.bytes,
                 m.data ? (const char *) m.data : "");
    if (!e && strcmp(now, then) != 0) {
        log_error("%s: has changed since it was planned; submit it again", film);
        e = ERR_INPUT;
    }
    file_unmap(&m);
    free(path);
    return e;
}

enum err extract_plan(const char *folder, uint32_t sample_rate, uint32_t hop,
                      uint32_t max_duration_ms)
{
    struct film film = { 0 };
    struct plan *p = NULL;
    char identity[FILM_IDENTITY_BYTES];
    char *plan_path = path_in(folder, "plan.json");
    struct wire_submit *r = malloc(sizeof(*r));
    enum err e = r && plan_path ? extract_request(r, folder) : ERR_NOMEM;
    if (!e) // before all else: what changes from here on is another film
        e = film_identity(identity, r->film);
    if (!e)
        e = film_probe(&film, r->film);
    if (!e) { // what cannot be delivered is not composed
        const struct delivery delivery = extract_delivery(r);
        e = track_writer_check_settings(&film, &delivery);
    }
    if (!e) {
        const struct plan_model model = { sample_rate, hop, max_duration_ms };
        const struct plan_settings settings = settings_of(r, &model);
        e = film_plan_make(&p, &film, &settings, r->scene_threshold, NULL);
    }
    if (!e)
        e = write_text(folder, "identity", identity);
    if (!e)
        e = film_plan_write(p, plan_path);
    free(plan_path);
    free(r);
    plan_destroy(&p);
    film_release(&film);
    return e;
}

// One segment's pictures into a file that appears when it is whole.
static enum err write_frames(struct frame_reader *reader, const char *folder,
                             const struct plan *p, uint32_t segment, uint32_t side,
                             uint8_t *picture)
{
    const struct plan_span watch = plan_watch(p, segment);
    char name[32];
    snprintf(name, sizeof(name), "frames/%u", segment);
    struct out_file f = { 0 };
    char *path = path_in(folder, name);
    enum err e = path ? out_file_open(&f, path) : ERR_NOMEM;
    if (!e)
        e = frame_reader_window(reader, watch.from_ms, watch.to_ms);
    while (!e) {
        struct frame frame;
        e = frame_reader_next(reader, &frame);
        if (e || !frame.rgb)
            break;
        e = preprocess_rgb(picture, side, frame.rgb, frame.width, frame.height);
        if (!e)
            fwrite(picture, 3, (size_t) side * side, f.stream);
    }
    if (!e)
        e = out_file_commit(&f);
    else
        out_file_discard(&f);
    free(path);
    return e;
}

enum err extract_frames(const char *folder, double frames_per_s, uint32_t side,
                        const uint32_t *segments, uint32_t count)
{
    struct film film = { 0 };
    struct plan *p = NULL;
    struct frame_reader *reader = NULL;
    char *plan_path = path_in(folder, "plan.json");
    uint8_t *picture = calloc((size_t) side * side, 3);
    struct wire_submit *r = malloc(sizeof(*r));
    enum err e = plan_path && picture && r ? extract_request(r, folder) : ERR_NOMEM;
    if (!e)
        e = film_plan_read(&p, plan_path);
    if (!e)
        e = extract_check_film(folder, r->film);
    if (!e)
        e = film_plan_film(&film, p, r->film);
    if (!e)
        e = frame_reader_open(&reader, &film, &(struct frame_options){ .rate = frames_per_s });
    for (uint32_t i = 0; !e && i < count; i++)
        e = segments[i] < p->segment_count
                ? write_frames(reader, folder, p, segments[i], side, picture)
                : ERR_BUG;
    frame_reader_close(&reader);
    plan_destroy(&p);
    film_release(&film);
    free(picture);
    free(r);
    free(plan_path);
    return e;
}
