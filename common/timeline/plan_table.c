#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/timeline/plan_json.h"

// "1:02:03.450" into text; the hours only where the film has some.
static const char *clock_text(char text[32], int64_t ms, bool hours)
{
    const int64_t s = ms / 1000;
    const int milli = (int) (ms % 1000), second = (int) (s % 60), minute = (int) (s / 60 % 60);
    if (hours)
        snprintf(text, 32, "%d:%02d:%02d.%03d", (int) (s / 3600), minute, second, milli);
    else
        snprintf(text, 32, "%02d:%02d.%03d", minute, second, milli);
    return text;
}

static const char *opening_text(enum plan_opening o)
{
    switch (o) {
    case PLAN_FILM_START: return "start";
    case PLAN_SCENE_CHANGE: return "scene";
    case PLAN_FORCED: return "forced";
    }
    return "";
}

static void print_cue(FILE *out, const struct plan *p, uint32_t i, bool hours)
{
    const struct plan_cue *c = &p->cues[i];
    char from[32], to[32], segments[32];
    if (c->segments == 1)
        snprintf(segments, sizeof(segments), "%u", c->first_segment);
    else
        snprintf(segments, sizeof(segments), "%u-%u", c->first_segment,
                 c->first_segment + c->segments - 1);
    fprintf(out, "%5u  %*s  %*s  %9.3f  %-6s  %s\n", i, hours ? 12 : 9,
            clock_text(from, c->cut_ms, hours), hours ? 12 : 9,
            clock_text(to, c->next_cut_ms, hours),
            (double) (c->next_cut_ms - c->cut_ms) / 1000.0, opening_text(c->opening), segments);
}

static void print_table(FILE *out, const struct plan *p)
{
    const struct plan_settings *s = &p->settings;
    const bool hours = p->film.duration_ms >= (int64_t) 3600 * 1000;
    char length[32];
    fprintf(out, "%s: %s, %u scene change%s, %u cue%s, %u segment%s\n", p->film.path,
            clock_text(length, p->film.duration_ms, hours), p->scene_count,
            p->scene_count == 1 ? "" : "s", p->cue_count, p->cue_count == 1 ? "" : "s",
            p->segment_count, p->segment_count == 1 ? "" : "s");
    fprintf(out, "segments of %g s, overlap %g s, crossfade %g s, seed %" PRIu64 "\n\n",
            (double) s->segment_ms / 1000.0, (double) s->overlap_ms / 1000.0,
            (double) s->crossfade_ms / 1000.0, s->seed);
    fprintf(out, "%5s  %*s  %*s  %9s  %-6s  %s\n", "cue", hours ? 12 : 9, "from",
            hours ? 12 : 9, "to", "seconds", "opens", "segments");
    for (uint32_t i = 0; i < p->cue_count; i++)
        print_cue(out, p, i, hours);
}

char *plan_to_table(const struct plan *p)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (out) {
        print_table(out, p);
        const int broken = ferror(out);
        if (fclose(out) || broken) {
            free(text);
            text = NULL;
        }
    }
    if (!text)
        log_error("%s: out of memory", p->film.path);
    return text;
}
