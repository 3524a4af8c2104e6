#include "common/timeline/plan_json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/timeline/plan_layout.h"

static const char *const cut_names[] = {
    [PLAN_CUT_SCENE] = "scene",
    [PLAN_CUT_NONE] = "none",
};
static const char *const opening_names[] = {
    [PLAN_FILM_START] = "start",
    [PLAN_SCENE_CHANGE] = "scene",
    [PLAN_FORCED] = "forced",
};
#define COUNT(table) ((int) (sizeof(table) / sizeof((table)[0])))

// Writing

static json_t *seed_to_json(uint64_t seed)
{
    return json_sprintf("%" PRIu64, seed);
}

// How many bytes of `text` are one character of UTF-8; 0 when it begins with none.
static size_t character_bytes(const char *text)
{
    for (size_t n = 1; n <= 4 && text[n - 1]; n++) {
        json_t *character = json_stringn(text, n); // which checks it
        json_decref(character);
        if (character)
            return n;
    }
    return 0;
}

// A path is any bytes, JSON is UTF-8: what is not becomes U+FFFD.
static json_t *path_to_json(const char *path)
{
    char *text = malloc(3 * strlen(path) + 1), *end = text;
    if (!text)
        return NULL;
    bool changed = false;
    while (*path) {
        const size_t n = character_bytes(path);
        changed |= n == 0;
        memcpy(end, n ? path : "\xef\xbf\xbd", n ? n : 3);
        end += n ? n : 3;
        path += n ? n : 1;
    }
    *end = '\0';
    if (changed)
        log_warn("%s: the name is not UTF-8, and stands so in the plan: name the film again "
                 "where the plan is used",
                 text);
    json_t *json = json_string(text);
    free(text);
    return json;
}

static json_t *film_to_json(const struct plan_film *f)
{
    json_t *o = json_pack("{s:o, s:I}", "path", path_to_json(f->path), "duration_ms",
                          (json_int_t) f->duration_ms);
    if (o && f->bytes && json_object_set_new(o, "bytes", json_integer((json_int_t) f->bytes)))
        goto fail;
    if (o && f->sha256 && json_object_set_new(o, "sha256", json_string(f->sha256)))
        goto fail;
    return o;
fail:
    json_decref(o);
    return NULL;
}

static json_t *settings_to_json(const struct plan_settings *s)
{
    return json_pack("{s:I, s:I, s:I, s:s, s:I, s:I, s:o}", "segment_ms",
                     (json_int_t) s->segment_ms, "overlap_ms", (json_int_t) s->overlap_ms,
                     "crossfade_ms", (json_int_t) s->crossfade_ms, "cut", cut_names[s->cut],
                     "min_cue_ms", (json_int_t) s->min_cue_ms, "max_cue_ms",
                     (json_int_t) s->max_cue_ms, "seed", seed_to_json(s->seed));
}

static json_t *model_to_json(const struct plan_model *m)
{
    return json_pack("{s:I, s:I, s:I}", "sample_rate", (json_int_t) m->sample_rate, "hop",
                     (json_int_t) m->hop, "max_duration_ms", (json_int_t) m->max_duration_ms);
}

static json_t *scene_to_json(const struct plan *p, uint32_t i)
{
    const struct plan_scene *s = &p->scenes[i];
    return json_pack("{s:I, s:i}", "at_ms", (json_int_t) s->at_ms, "strength", s->strength);
}

static json_t *cue_to_json(const struct plan *p, uint32_t i)
{
    const struct plan_cue *c = &p->cues[i];
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I}", "cue", (json_int_t) i,
                     "cut_ms", (json_int_t) c->cut_ms, "next_cut_ms",
                     (json_int_t) c->next_cut_ms, "start_ms", (json_int_t) c->start_ms,
                     "end_ms", (json_int_t) c->end_ms, "opening", opening_names[c->opening],
                     "first_segment", (json_int_t) c->first_segment, "segments",
                     (json_int_t) c->segments);
}

static json_t *segment_to_json(const struct plan *p, uint32_t i)
{
    const struct plan_segment *s = &p->segments[i];
    json_t *from = s->prompt_from == PLAN_NONE ? json_null() : json_integer(s->prompt_from);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "segment",
                     (json_int_t) i, "cue", (json_int_t) s->cue, "index", (json_int_t) s->index,
                     "start_ms", (json_int_t) s->start_ms, "end_ms", (json_int_t) s->end_ms,
                     "overlap_ms", (json_int_t) s->overlap_ms, "first_column",
                     (json_int_t) s->first_column, "columns", (json_int_t) s->columns,
                     "prompt_columns", (json_int_t) s->prompt_columns, "seed",
                     seed_to_json(s->seed), "prompt_from", from);
}

// An array of `count` items; NULL when any of them could not be made.
static json_t *list_to_json(const struct plan *p, uint32_t count,
                            json_t *(*item)(const struct plan *, uint32_t))
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, item(p, i))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

json_t *plan_to_json(const struct plan *p)
{
    json_t *root =
        json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "version", PLAN_VERSION, "film",
                  film_to_json(&p->film), "settings", settings_to_json(&p->settings), "model",
                  model_to_json(&p->settings.model), "cuts",
                  list_to_json(p, p->scene_count, scene_to_json), "cues",
                  list_to_json(p, p->cue_count, cue_to_json), "segments",
                  list_to_json(p, p->segment_count, segment_to_json));
    if (!root)
        log_error("%s: out of memory for its plan", p->film.path);
    return root;
}

static void print_compact(FILE *out, const json_t *value)
{
    json_dumpf(value, out, JSON_ENCODE_ANY);
}

static void print_list(FILE *out, const json_t *list)
{
    size_t i;
    json_t *item;
    fputs("[", out);
    json_array_foreach((json_t *) (uintptr_t) list, i, item)
    {
        fputs(i ? ",\n    " : "\n    ", out);
        print_compact(out, item);
    }
    fputs("]", out);
}

static void print_root(FILE *out, json_t *root)
{
    const char *key;
    json_t *value;
    const char *before = "{\n  ";
    json_object_foreach(root, key, value)
    {
        fprintf(out, "%s\"%s\": ", before, key);
        if (json_is_array(value))
            print_list(out, value);
        else
            print_compact(out, value);
        before = ",\n  ";
    }
    fputs("\n}\n", out);
}

char *plan_to_text(const struct plan *p)
{
    json_t *root = plan_to_json(p);
    if (!root)
        return NULL;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (out) {
        print_root(out, root);
        const int broken = ferror(out);
        if (fclose(out) || broken) {
            free(text);
            text = NULL;
        }
    }
    json_decref(root);
    if (!text)
        log_error("%s: out of memory for its plan", p->film.path);
    return text;
}

// Reading. `where` names the part that is being read, for the message.

struct reader {
    const char *what;
    const json_t *root;
};

static enum err refuse(const struct reader *r, const char *where, const char *problem)
{
    log_error("%s: not a plan: %s: %s", r->what, where, problem);
    return ERR_INPUT;
}

static bool in_u32(json_int_t n)
{
    return n >= 0 && n <= UINT32_MAX;
}

// -1 when it is none of them.
static int name_index(const char *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(name, names[i]))
            return i;
    return -1;
}

// Decimal digits and nothing else, without a leading zero.
static bool read_seed(const char *text, uint64_t *out)
{
    uint64_t n = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t) (*c - '0'), &n))
            return false;
    *out = n;
    return c != text && *c == '\0' && (text[0] != '0' || text[1] == '\0');
}

// json_unpack over `o`, every key asked for exactly (the format ends in !).
static enum err unpack(const struct reader *r, const char *where, const json_t *o,
                       const char *format, ...)
{
    json_error_t error;
    va_list args;
    va_start(args, format);
    const int failed = json_vunpack_ex((json_t *) (uintptr_t) o, &error, 0, format, args);
    va_end(args);
    return failed ? refuse(r, where, error.text) : ERR_OK;
}

static enum err read_film(const struct reader *r, const json_t *o, struct plan_film *f)
{
    json_int_t duration = 0, bytes = 0;
    enum err e = unpack(r, "film", o, "{s:s, s:I, s?I, s?s !}", "path", &f->path, "duration_ms",
                        &duration, "bytes", &bytes, "sha256", &f->sha256);
    if (e)
        return e;
    if (bytes < 0)
        return refuse(r, "film", "bytes is negative");
    f->duration_ms = duration;
    f->bytes = (uint64_t) bytes;
    return plan_film_check(f, r->what);
}

static enum err read_model(const struct reader *r, const json_t *o, struct plan_model *m)
{
    json_int_t rate = 0, hop = 0, longest = 0;
    enum err e = unpack(r, "model", o, "{s:I, s:I, s:I !}", "sample_rate", &rate, "hop", &hop,
                        "max_duration_ms", &longest);
    if (e)
        return e;
    if (!in_u32(rate) || !in_u32(hop))
        return refuse(r, "model", "sample_rate or hop is out of range");
    *m = (struct plan_model){ (uint32_t) rate, (uint32_t) hop, longest };
    return ERR_OK;
}

static enum err read_settings(const struct reader *r, const json_t *o, struct plan_settings *s)
{
    json_int_t segment = 0, overlap = 0, crossfade = 0, min = 0, max = 0;
    const char *cut = "", *seed = "";
    enum err e = unpack(r, "settings", o, "{s:I, s:I, s:I, s:s, s:I, s:I, s:s !}", "segment_ms",
                        &segment, "overlap_ms", &overlap, "crossfade_ms", &crossfade, "cut",
                        &cut, "min_cue_ms", &min, "max_cue_ms", &max, "seed", &seed);
    if (e)
        return e;
    const int mode = name_index(cut, cut_names, COUNT(cut_names));
    if (mode < 0)
        return refuse(r, "settings", "cut is neither scene nor none");
    if (!read_seed(seed, &s->seed))
        return refuse(r, "settings", "seed is not a decimal number below 2^64");
    s->segment_ms = segment;
    s->overlap_ms = overlap;
    s->crossfade_ms = crossfade;
    s->min_cue_ms = min;
    s->max_cue_ms = max;
    s->cut = (enum plan_cut) mode;
    return plan_settings_check_named(s, r->what) ? ERR_INPUT : ERR_OK;
}

static enum err read_scene(const struct reader *r, const char *where, const json_t *o,
                           struct plan *p, uint32_t i)
{
    json_int_t at = 0, strength = 0;
    enum err e = unpack(r, where, o, "{s:I, s:I !}", "at_ms", &at, "strength", &strength);
    if (e)
        return e;
    if (strength < INT32_MIN || strength > INT32_MAX)
        return refuse(r, where, "strength is out of range");
    p->scenes[i] = (struct plan_scene){ at, (int32_t) strength };
    return ERR_OK;
}

static enum err read_cue(const struct reader *r, const char *where, const json_t *o,
                         struct plan *p, uint32_t i)
{
    json_int_t cue = 0, cut = 0, next = 0, start = 0, end = 0, first = 0, segments = 0;
    const char *opening = "";
    enum err e =
        unpack(r, where, o, "{s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I !}", "cue", &cue, "cut_ms",
               &cut, "next_cut_ms", &next, "start_ms", &start, "end_ms", &end, "opening",
               &opening, "first_segment", &first, "segments", &segments);
    if (e)
        return e;
    const int kind = name_index(opening, opening_names, COUNT(opening_names));
    if (kind < 0)
        return refuse(r, where, "opening is none of start, scene, forced");
    if (cue != i || !in_u32(first) || !in_u32(segments))
        return refuse(r, where, "a number is out of range");
    p->cues[i] = (struct plan_cue){ .cut_ms = cut,
                                    .next_cut_ms = next,
                                    .start_ms = start,
                                    .end_ms = end,
                                    .opening = (enum plan_opening) kind,
                                    .first_segment = (uint32_t) first,
                                    .segments = (uint32_t) segments };
    return ERR_OK;
}

static enum err read_segment(const struct reader *r, const char *where, const json_t *o,
                             struct plan *p, uint32_t i)
{
    json_int_t segment = 0, cue = 0, index = 0, start = 0, end = 0, overlap = 0;
    json_int_t first = 0, columns = 0, prompt = 0;
    const char *seed = "";
    json_t *from = NULL;
    enum err e =
        unpack(r, where, o, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o !}",
               "segment", &segment, "cue", &cue, "index", &index, "start_ms", &start, "end_ms",
               &end, "overlap_ms", &overlap, "first_column", &first, "columns", &columns,
               "prompt_columns", &prompt, "seed", &seed, "prompt_from", &from);
    if (e)
        return e;
    if (segment != i || !in_u32(cue) || !in_u32(index) || !in_u32(first) || !in_u32(columns) ||
        !in_u32(prompt))
        return refuse(r, where, "a number is out of range");
    if (!json_is_null(from) && (!json_is_integer(from) || !in_u32(json_integer_value(from))))
        return refuse(r, where, "prompt_from is neither a segment's number nor null");
    struct plan_segment s = { .cue = (uint32_t) cue,
                              .index = (uint32_t) index,
                              .first_column = (uint32_t) first,
                              .columns = (uint32_t) columns,
                              .prompt_columns = (uint32_t) prompt,
                              .start_ms = start,
                              .end_ms = end,
                              .overlap_ms = overlap,
                              .prompt_from =
                                  json_is_null(from) ? PLAN_NONE : json_integer_value(from) };
    if (!read_seed(seed, &s.seed))
        return refuse(r, where, "seed is not a decimal number below 2^64");
    p->segments[i] = s;
    return ERR_OK;
}

typedef enum err read_item(const struct reader *r, const char *where, const json_t *o,
                           struct plan *p, uint32_t i);

// How many items the root's list `name` has.
static enum err list_size(const struct reader *r, const char *name, size_t most,
                          uint32_t *count)
{
    const json_t *list = json_object_get(r->root, name);
    if (!json_is_array(list))
        return refuse(r, name, "expected a list");
    if (json_array_size(list) > most)
        return refuse(r, name, "too many");
    *count = (uint32_t) json_array_size(list);
    return ERR_OK;
}

static enum err read_list(const struct reader *r, const char *name, struct plan *p,
                          uint32_t count, read_item *read)
{
    const json_t *list = json_object_get(r->root, name);
    for (uint32_t i = 0; i < count; i++) {
        char where[32];
        snprintf(where, sizeof(where), "%s[%u]", name, i);
        enum err e = read(r, where, json_array_get(list, i), p, i);
        if (e)
            return e;
    }
    return ERR_OK;
}

// Room for the lists; p has none yet.
static enum err size_lists(const struct reader *r, struct plan *p)
{
    enum err e = list_size(r, "cuts", PLAN_MAX_SCENES, &p->scene_count);
    if (!e)
        e = list_size(r, "cues", PLAN_MAX_SEGMENTS, &p->cue_count);
    if (!e)
        e = list_size(r, "segments", PLAN_MAX_SEGMENTS, &p->segment_count);
    if (e)
        return e;
    free(p->scenes);
    p->scenes = calloc((size_t) p->scene_count + 1, sizeof(*p->scenes));
    p->cues = calloc((size_t) p->cue_count + 1, sizeof(*p->cues));
    p->segments = calloc((size_t) p->segment_count + 1, sizeof(*p->segments));
    return p->scenes && p->cues && p->segments ? ERR_OK : ERR_NOMEM;
}

static enum err read_lists(const struct reader *r, struct plan *p)
{
    enum err e = size_lists(r, p);
    if (!e)
        e = read_list(r, "cuts", p, p->scene_count, read_scene);
    if (!e)
        e = read_list(r, "cues", p, p->cue_count, read_cue);
    if (!e)
        e = read_list(r, "segments", p, p->segment_count, read_segment);
    return e;
}

// The version first: of another one, nothing else can be judged.
static enum err check_version(const struct reader *r)
{
    const json_t *version = json_object_get(r->root, "version");
    if (!json_is_integer(version))
        return refuse(r, "version", "expected a number");
    if (json_integer_value(version) == PLAN_VERSION)
        return ERR_OK;
    log_error("%s: a plan of version %lld; this program reads version %d", r->what,
              (long long) json_integer_value(version), PLAN_VERSION);
    return ERR_INPUT;
}

static enum err read_plan(const struct reader *r, struct plan **out)
{
    struct plan_film film = { 0 };
    struct plan_settings settings = { 0 };
    json_t *f, *s, *m, *other;
    enum err e = check_version(r);
    if (!e)
        e = unpack(r, "the whole", r->root, "{s:o, s:o, s:o, s:o, s:o, s:o, s:o !}", "version",
                   &other, "film", &f, "settings", &s, "model", &m, "cuts", &other, "cues",
                   &other, "segments", &other);
    if (!e)
        e = read_film(r, f, &film);
    if (!e)
        e = read_model(r, m, &settings.model);
    if (!e)
        e = read_settings(r, s, &settings);
    if (!e)
        e = plan_new(out, &film, &settings, NULL, 0);
    if (!e)
        e = read_lists(r, *out);
    if (!e)
        e = plan_check_named(*out, r->what);
    return e;
}

enum err plan_from_json(struct plan **out, const json_t *root, const char *what)
{
    *out = NULL;
    const struct reader r = { what, root };
    if (!json_is_object(root))
        return refuse(&r, "the whole", "expected an object");
    const enum err e = read_plan(&r, out);
    if (e == ERR_NOMEM)
        log_error("%s: out of memory", what);
    if (e)
        plan_destroy(out);
    return e;
}

enum err plan_from_text(struct plan **out, const char *text, size_t bytes, const char *what)
{
    *out = NULL;
    if (bytes == 0) {
        log_error("%s: empty, not a plan", what);
        return ERR_INPUT;
    }
    json_error_t error;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        log_error("%s: not JSON: line %d: %s", what, error.line, error.text);
        return ERR_INPUT;
    }
    const enum err e = plan_from_json(out, root, what);
    json_decref(root);
    return e;
}
