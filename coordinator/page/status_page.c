#include "coordinator/page/status_page.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/html.h"
#include "status_css.h"

#define TIME_BYTES 40

static const char *time_of(char out[TIME_BYTES], int64_t ms)
{
    struct tm utc;
    const time_t seconds = (time_t) (ms / 1000);
    if (!gmtime_r(&seconds, &utc) || !strftime(out, TIME_BYTES, "%Y-%m-%d %H:%M:%S", &utc))
        snprintf(out, TIME_BYTES, "?");
    return out;
}

static const char *span_of(char out[TIME_BYTES], int64_t ms)
{
    const long long s = (ms + 500) / 1000;
    if (s >= 3600)
        snprintf(out, TIME_BYTES, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, TIME_BYTES, "%lld:%02lld", s / 60, s % 60);
    return out;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static void cell(FILE *f, const char *text)
{
    fputs("<td>", f);
    html_text(f, text);
    fputs("</td>", f);
}

// At a glance

static double last_minute(const struct snapshot *s)
{
    // Seconds of music a second, about: the present minute has only begun.
    return (s->minutes[SNAPSHOT_MINUTES - 2] + s->minutes[SNAPSHOT_MINUTES - 1]) / 2 / 60;
}

static uint32_t here(const struct snapshot *s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s->node_count; i++)
        n += s->nodes[i].here;
    return n;
}

static double rate_of_all(const struct snapshot *s)
{
    double rate = 0;
    for (size_t i = 0; i < s->node_count; i++)
        rate += s->nodes[i].here ? s->nodes[i].rate : 0;
    return rate;
}

static void write_alarms(FILE *f, const struct snapshot *s)
{
    const struct {
        bool is;
        const char *text;
    } alarms[] = {
        { s->paused, "Paused: the disk does not take what has to be kept." },
        { s->stopped, "The queue is stopped: no segment is given out." },
        { s->disabled, "The queue is disabled: new jobs are refused." },
    };
    for (size_t i = 0; i < sizeof(alarms) / sizeof(alarms[0]); i++)
        if (alarms[i].is)
            fprintf(f, "<p class=\"alarm\">%s</p>\n", alarms[i].text);
}

static void write_cards(FILE *f, const struct snapshot *s)
{
    char up[TIME_BYTES];
    fputs("<ul class=\"cards\">\n", f);
    for (size_t i = 0; s->jobs_in[i].name; i++)
        if (s->jobs_in[i].count)
            fprintf(f, "<li><b>%" PRIu64 "</b>jobs %s</li>\n", s->jobs_in[i].count,
                    s->jobs_in[i].name);
    fprintf(f, "<li><b>%" PRIu32 "</b>of %zu workers here</li>\n", here(s), s->node_count);
    fprintf(f, "<li><b>%zu</b>segments being composed</li>\n", s->work_count);
    fprintf(f, "<li><b>%.2f</b>s of music a second, as measured</li>\n", rate_of_all(s));
    fprintf(f, "<li><b>%s</b>running</li>\n</ul>\n", span_of(up, (int64_t) (s->up_s * 1000)));
}

// Jobs

static void write_timeline(FILE *f, const struct shown_job *j)
{
    static const char *const words[SHOWN_STATES] = { "waits", "is being composed", "is done" };
    const int64_t whole = j->duration_ms > 0 ? j->duration_ms : 1;
    fprintf(f,
            "<svg class=\"timeline\" viewBox=\"0 0 %" PRId64
            " 26\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"%" PRIu32 " of %" PRIu32 " segments done\">\n",
            whole, j->done, j->segments);
    for (uint32_t i = 0; i < j->timeline_count; i++) {
        const struct shown_segment *g = &j->timeline[i];
        fprintf(
            f,
            "<rect class=\"s%d\" x=\"%" PRId64 "\" y=\"4\" width=\"%" PRId64
            "\" height=\"18\"><title>cue %" PRIu32 ", segment %" PRIu32 " %s</title></rect>\n",
            (int) g->state, g->start_ms, g->end_ms - g->start_ms, g->cue, i, words[g->state]);
    }
    for (uint32_t i = 0; i < j->timeline_count; i++)
        if (i == 0 || j->timeline[i].cue != j->timeline[i - 1].cue)
            fprintf(f, "<line x1=\"%" PRId64 "\" x2=\"%" PRId64 "\" y1=\"0\" y2=\"26\"/>\n",
                    j->timeline[i].start_ms, j->timeline[i].start_ms);
    fputs("</svg>\n", f);
}

static void write_open_job(FILE *f, const struct shown_job *j)
{
    char text[TIME_BYTES];
    fprintf(f, "<section class=\"job\" id=\"job%" PRId64 "\">\n<p><span>%" PRId64 "</span> <b>",
            j->id, j->id);
    html_text(f, name_of(j->film));
    fprintf(f, "</b> <span>%s</span>", j->state);
    if (j->segments)
        fprintf(f, " <span>%" PRIu32 " of %" PRIu32 " segments, %" PRIu32 " under way</span>",
                j->done, j->segments, j->running);
    if (j->left_ms >= 0)
        fprintf(f, " <span>about %s left</span>", span_of(text, j->left_ms));
    fputs(" <span class=\"soft\">", f);
    html_text(f, j->owner);
    fprintf(f, ", priority %" PRId64 ", since %s</span></p>\n", j->priority,
            time_of(text, j->submitted_ms));
    if (j->timeline_count)
        write_timeline(f, j);
    if (*j->reason) {
        fputs("<pre class=\"bad\">", f);
        html_text(f, j->reason);
        fputs("</pre>\n", f);
    }
    fputs("</section>\n", f);
}

static void write_over_job(FILE *f, const struct shown_job *j)
{
    char text[TIME_BYTES];
    fprintf(f, "<tr id=\"job%" PRId64 "\"><td class=\"n\">%" PRId64 "</td><td%s>%s</td>", j->id,
            j->id, j->failed ? " class=\"bad\"" : "", j->state);
    cell(f, name_of(j->film));
    cell(f, j->owner);
    fprintf(f, "<td class=\"n\">%s</td>", time_of(text, j->ended_ms));
    cell(f, j->reason);
    fputs("</tr>\n", f);
}

static void write_jobs(FILE *f, const struct snapshot *s)
{
    size_t open = 0;
    fputs("<h2>Jobs</h2>\n", f);
    for (size_t i = 0; i < s->job_count; i++)
        if (!s->jobs[i].ended_ms && ++open)
            write_open_job(f, &s->jobs[i]);
    fputs(
        open
            ? "<p class=\"soft key\">cues and their segments along the film:<span>waits</span><span class=\"k1\">is being "
              "composed</span><span class=\"k2\">is done</span></p>\n"
            : "<p class=\"soft\">Nothing is to be done.</p>\n",
        f);
    if (open == s->job_count)
        return;
    fputs(
        "<h2>Ended last</h2>\n<div class=\"scroll\"><table>\n<tr><th class=\"n\">job</th><th>state</th><th>film</th>"
        "<th>owner</th><th class=\"n\">ended</th><th>because</th></tr>\n",
        f);
    for (size_t i = 0; i < s->job_count; i++)
        if (s->jobs[i].ended_ms)
            write_over_job(f, &s->jobs[i]);
    fputs("</table></div>\n", f);
}

// Nodes

static void write_node(FILE *f, const struct snapshot *s, size_t n)
{
    const struct shown_node *node = &s->nodes[n];
    char text[TIME_BYTES];
    fputs("<tr>", f);
    cell(f, node->name);
    fprintf(f, "<td%s>%s%s%s</td>", node->here && !node->quarantined ? "" : " class=\"bad\"",
            node->state, node->drained ? ", drained" : "",
            node->quarantined ? ", in quarantine" : "");
    cell(f, node->device);
    fprintf(f,
            "<td class=\"n\">%.1f GiB</td><td class=\"n\">%.2f</td><td class=\"n\">%" PRIu32
            " of %" PRIu32 "</td><td class=\"n\">%" PRIu64 "</td><td class=\"n\">%" PRIu64
            "</td><td>",
            (double) node->memory / 0x1p30, node->rate, node->held, node->slots, node->done,
            node->failed);
    for (size_t i = 0; i < s->work_count; i++)
        if (s->work[i].node == n)
            fprintf(f,
                    "<div>job %" PRId64 ", cue %" PRIu32 ", segment %" PRIu32 ", for %s</div>",
                    s->work[i].job, s->work[i].cue, s->work[i].segment,
                    span_of(text, s->work[i].for_ms));
    fputs("</td></tr>\n", f);
}

static void write_nodes(FILE *f, const struct snapshot *s)
{
    fputs("<h2>Workers</h2>\n", f);
    if (s->node_count == 0) {
        fputs("<p class=\"soft\">None has been here.</p>\n", f);
        return;
    }
    fputs(
        "<div class=\"scroll\"><table>\n<tr><th>name</th><th>state</th><th>device</th><th class=\"n\">memory</th>"
        "<th class=\"n\">s of music a second</th><th class=\"n\">segments</th><th class=\"n\">done</th>"
        "<th class=\"n\">failed</th><th>composes</th></tr>\n",
        f);
    for (size_t i = 0; i < s->node_count; i++)
        write_node(f, s, i);
    fputs("</table></div>\n", f);
}

// Throughput and errors

static void write_throughput(FILE *f, const struct snapshot *s)
{
    double most = 1e-9;
    for (int i = 0; i < SNAPSHOT_MINUTES; i++)
        most = fmax(most, s->minutes[i]);
    fprintf(
        f,
        "<h2>Throughput</h2>\n<p class=\"soft\">Seconds of music accepted in each of the last %d minutes; %.2f a "
        "second in the last two, at most %.0f in a minute, %.0f since the start.</p>\n",
        SNAPSHOT_MINUTES, last_minute(s), most < 1e-6 ? 0 : most, s->music_s);
    fprintf(
        f,
        "<svg class=\"chart\" viewBox=\"0 0 %d 100\" preserveAspectRatio=\"none\" role=\"img\" "
        "aria-label=\"music accepted a minute\">\n",
        SNAPSHOT_MINUTES * 10);
    for (int i = 0; i < SNAPSHOT_MINUTES; i++) {
        const double h = 96 * s->minutes[i] / most;
        if (h > 0)
            fprintf(f, "<rect x=\"%d\" y=\"%.1f\" width=\"8\" height=\"%.1f\"/>\n", i * 10 + 1,
                    100 - h, h);
    }
    fputs("</svg>\n", f);
}

static void write_failures(FILE *f, const struct snapshot *s)
{
    char text[TIME_BYTES];
    fputs("<h2>Errors</h2>\n", f);
    if (s->failure_count == 0) {
        fputs("<p class=\"soft\">No attempt has failed.</p>\n", f);
        return;
    }
    fputs(
        "<div class=\"scroll\"><table>\n<tr><th class=\"n\">when</th><th>what</th><th>worker</th><th class=\"n\">job</th>"
        "<th class=\"n\">segment</th><th>last words</th></tr>\n",
        f);
    for (size_t i = 0; i < s->failure_count; i++) {
        const struct shown_failure *e = &s->failures[i];
        fprintf(f, "<tr><td class=\"n\">%s</td><td class=\"bad\">%s</td>",
                time_of(text, e->at_ms), e->outcome);
        cell(f, e->worker);
        fprintf(f, "<td class=\"n\">%" PRId64 "</td><td class=\"n\">%" PRIu32 "</td><td><pre>",
                e->job, e->segment);
        html_text(f, e->detail);
        fputs("</pre></td></tr>\n", f);
    }
    fputs("</table></div>\n", f);
}

void status_page_write(FILE *f, const struct snapshot *s)
{
    char text[TIME_BYTES];
    fprintf(f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta http-equiv=\"refresh\" content=\"%d\">\n"
            "<link rel=\"icon\" href=\"data:,\">\n"
            "<title>Underscore: the farm</title>\n<style>\n%s</style>\n</head>\n<body>\n",
            STATUS_PAGE_REFRESH_S, status_css);
    fprintf(
        f,
        "<h1>Underscore: the farm</h1>\n<p class=\"lead\">as it was at %s UTC; start %" PRIu64
        " of this ledger; loads itself again every %d s</p>\n",
        time_of(text, s->at_ms), s->epoch, STATUS_PAGE_REFRESH_S);
    write_alarms(f, s);
    write_cards(f, s);
    write_jobs(f, s);
    write_nodes(f, s);
    write_throughput(f, s);
    write_failures(f, s);
    fputs("</body>\n</html>\n", f);
}
