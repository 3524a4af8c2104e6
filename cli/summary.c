#include "cli/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/clock_text.h"

#define MAX_COLUMNS 120
#define BESIDE 37     // columns of a cue's line that are not its outline
#define OTHER_LINES 9 // of the summary that are not cues
#define MIN_CUE_LINES 8
#define OUTLINE_DB 36.0 // between the loudest and an empty cell

// How much room there is to draw in; columns 0: draw nothing.
struct screen {
    int columns, lines;
};

static bool writes_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

static struct screen find_screen(void)
{
    struct winsize w;
    if (!isatty(STDOUT_FILENO) || !writes_utf8() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 ||
        w.ws_col < SUMMARY_MIN_COLUMNS)
        return (struct screen){ 0 };
    return (struct screen){ w.ws_col < MAX_COLUMNS ? w.ws_col : MAX_COLUMNS, w.ws_row };
}

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

// The loudest column of those that a cell stands for, as an eighth of a block.
static int cell_height(const struct sound_picture *s, double from, double to, float loudest)
{
    uint32_t first = (uint32_t) from, end = (uint32_t) ceil(to);
    first = first < s->columns ? first : s->columns - 1;
    end = end > s->columns ? s->columns : end <= first ? first + 1 : end;
    float level = 0;
    for (uint32_t c = first; c < end; c++)
        level = s->rms[c] > level ? s->rms[c] : level;
    if (!(level > 0))
        return 0;
    const double db = 20 * log10((double) (level / loudest));
    const int h = (int) ceil(8 * (1 + db / OUTLINE_DB));
    return h < 0 ? 0 : h > 8 ? 8 : h;
}

// As long beside the longest cue's as the cue is, and blanks up to `room`.
static void print_outline(const struct job_story *s, const struct plan_cue *c,
                          int64_t longest_ms, float loudest, int room)
{
    static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    const struct sound_picture *sound = &s->finished->sound;
    const double scale = (double) sound->columns / (double) s->plan->film.duration_ms;
    const int64_t length = c->next_cut_ms - c->cut_ms;
    const int cells = 1 + (int) ((room - 1) * length / longest_ms);
    const double step = (double) length * scale / cells, start = (double) c->cut_ms * scale;
    for (int i = 0; i < cells; i++)
        fputs(blocks[cell_height(sound, start + i * step, start + (i + 1) * step, loudest)],
              stdout);
    printf("%*s", room - cells, "");
}

static void print_loudness(double lufs)
{
    if (isfinite(lufs))
        printf("%6.1f LUFS", lufs);
    else
        printf("     silent");
}

static void print_drawn_cues(const struct job_story *s, struct screen screen)
{
    const struct plan *p = s->plan;
    const struct sound_picture *sound = &s->finished->sound;
    int64_t longest = 1;
    float loudest = 1e-6f;
    for (uint32_t i = 0; i < p->cue_count; i++) {
        const int64_t length = p->cues[i].next_cut_ms - p->cues[i].cut_ms;
        longest = length > longest ? length : longest;
    }
    for (uint32_t c = 0; c < sound->columns; c++)
        loudest = sound->rms[c] > loudest ? sound->rms[c] : loudest;
    const int room = screen.lines - OTHER_LINES;
    const uint32_t lines = room < MIN_CUE_LINES ? MIN_CUE_LINES : (uint32_t) room;
    for (uint32_t i = 0; i < p->cue_count && i < lines; i++) {
        char from[CLOCK_TEXT_BYTES], length[CLOCK_TEXT_BYTES];
        printf("%5u %9s ", i, clock_text(from, p->cues[i].cut_ms));
        print_outline(s, &p->cues[i], longest, loudest, screen.columns - BESIDE);
        printf("%9s", clock_text(length, p->cues[i].next_cut_ms - p->cues[i].cut_ms));
        print_loudness(sound->parts[i].integrated_lufs);
        putchar('\n');
    }
    if (p->cue_count > lines)
        printf("      and %u more\n", p->cue_count - lines);
}

static void print_plain_cues(const struct job_story *s)
{
    const struct plan *p = s->plan;
    for (uint32_t i = 0; i < p->cue_count; i++) {
        char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];
        printf("  cue %-3u %9s - %-9s %3u segment%-1s ", i, clock_text(from, p->cues[i].cut_ms),
               clock_text(to, p->cues[i].next_cut_ms), p->cues[i].segments,
               plural(p->cues[i].segments));
        print_loudness(s->finished->sound.parts[i].integrated_lufs);
        putchar('\n');
    }
}

static void print_seams(const struct finish_result *f)
{
    uint32_t between = 0;
    double level = 0;
    for (uint32_t i = 0; i < f->seam_count; i++)
        if (f->seam_list[i].kind == STITCH_CUE) {
            between++;
            level = fmax(level, fabs(f->seam_list[i].difference_after_db));
        }
    if (f->seam_count > 0)
        printf("seams: %u between cues", between);
    if (between > 0)
        printf(", the level changes by %.1f dB at most", level);
    if (f->seam_count > 0)
        printf("; %u inside them\n", f->seam_count - between);
}

static void print_sound(const struct delivery_report *d)
{
    if (isfinite(d->after.integrated_lufs))
        printf("loudness %.1f LUFS, true peak %.1f dBTP, %s\n", d->after.integrated_lufs,
               d->after.true_peak_dbtp, d->codec);
    else
        printf("the music is silent, %s\n", d->codec);
}

void summary_print(const struct job_story *story, const struct delivery_options *options)
{
    const struct plan *p = story->plan;
    const struct screen screen = find_screen();
    const double length = (double) p->film.duration_ms / 1000;
    printf("%s: %u cue%s, %u segment%s\n", story->film->path, p->cue_count,
           plural(p->cue_count), p->segment_count, plural(p->segment_count));
    if (screen.columns)
        print_drawn_cues(story, screen);
    else
        print_plain_cues(story);
    print_seams(story->finished);
    print_sound(&story->finished->delivery);
    if (story->took_s > 0)
        printf("%.1f s of music in %.1f s (%.2fx real time)\n", length, story->took_s,
               length / story->took_s);
    const char *const files[] = { options->output, options->wav, options->page };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (files[i])
            printf("%s\n", files[i]);
}
