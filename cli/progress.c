#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

#define BAR_CELLS 24
#define TERMINAL_EVERY_S 0.1
#define LINE_EVERY_S 10.0

void progress_begin(struct progress *p, const char *label, double first, bool quiet)
{
    progress_end(p);
    const double now = clock_seconds();
    *p = (struct progress){
        .label = label,
        .quiet = quiet,
        .terminal = isatty(STDERR_FILENO),
        .started = now,
        .last = now - 1,
        .first = first,
    };
    if (!p->terminal)
        p->last = now;
}

static void format_time(char *out, size_t n, double seconds)
{
    const long s = (long) (seconds + 0.5);
    if (s >= 3600)
        snprintf(out, n, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, n, "%ld:%02ld", s / 60, s % 60);
}

static void format_line(const struct progress *p, double done, double total, char *out,
                        size_t n)
{
    const double elapsed = clock_seconds() - p->started;
    const double rate = elapsed > 0.2 ? (done - p->first) / elapsed : 0;
    char at[24], of[24], left[24] = "--:--";
    format_time(at, sizeof(at), done);
    format_time(of, sizeof(of), total);
    if (rate > 0)
        format_time(left, sizeof(left), (total - done) / rate);
    snprintf(out, n, "%3.0f%%  %s / %s  %.2fx  ETA %s", total > 0 ? 100 * done / total : 100.0,
             at, of, rate, left);
}

void progress_update(struct progress *p, double done, double total)
{
    const double now = clock_seconds();
    if (p->quiet || now - p->last < (p->terminal ? TERMINAL_EVERY_S : LINE_EVERY_S))
        return;
    p->last = now;
    char line[160];
    format_line(p, done, total, line, sizeof(line));
    if (!p->terminal) {
        fprintf(stderr, "%s: %s\n", p->label, line);
        return;
    }
    const int full = total > 0 ? (int) (BAR_CELLS * done / total) : BAR_CELLS;
    char bar[BAR_CELLS + 1];
    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_CELLS] = 0;
    fprintf(stderr, "\r\033[K%-10s [%s] %s", p->label, bar, line);
    fflush(stderr);
    p->drawn = true;
}

void progress_end(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
