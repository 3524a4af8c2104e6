#include "coordinator/page/status_page.h"

#include <inttypes.h>

#include "common/base/utf8.h"

// https://prometheus.io/docs/instrumenting/exposition_formats/: a family is its HELP, its
// TYPE and then all its samples.
static void family(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP underscore_%s %s\n# TYPE underscore_%s %s\n", name, help, name, type);
}

static void one(FILE *f, const char *name, const char *type, const char *help, double value)
{
    family(f, name, type, help);
    fprintf(f, "underscore_%s %.17g\n", name, value);
}

// A label's value: backslashes, quotes and newlines written with a backslash.
static void write_label(FILE *f, const char *text)
{
    char clean[3 * SNAPSHOT_NAME_BYTES];
    for (const char *p = utf8_clean(clean, sizeof(clean), text, false); *p; p++)
        if (*p == '\n')
            fputs("\\n", f);
        else if (*p == '\\' || *p == '"')
            fprintf(f, "\\%c", *p);
        else
            fputc(*p, f);
}

static void counts(FILE *f, const char *name, const char *type, const char *help,
                   const char *label, const struct shown_count *c)
{
    family(f, name, type, help);
    for (; c->name; c++)
        fprintf(f, "underscore_%s{%s=\"%s\"} %" PRIu64 "\n", name, label, c->name, c->count);
}

static double rate(const struct shown_node *n)
{
    return n->rate;
}
static double held(const struct shown_node *n)
{
    return n->held;
}
static double slots(const struct shown_node *n)
{
    return n->slots;
}
static double memory(const struct shown_node *n)
{
    return (double) n->memory;
}
static double done(const struct shown_node *n)
{
    return (double) n->done;
}
static double failed(const struct shown_node *n)
{
    return (double) n->failed;
}
static double is_here(const struct shown_node *n)
{
    return n->here;
}
static double drained(const struct shown_node *n)
{
    return n->drained;
}
static double quarantined(const struct shown_node *n)
{
    return n->quarantined;
}

static void write_nodes(FILE *f, const struct snapshot *s)
{
    static const struct {
        const char *name, *type, *help;
        double (*of)(const struct shown_node *n);
    } families[] = {
        { "worker_up", "gauge", "1 while the worker is here.", is_here },
        { "worker_drained", "gauge", "1 while it is to get nothing new.", drained },
        { "worker_quarantined", "gauge", "1 while its GPU is in quarantine.", quarantined },
        { "worker_rate", "gauge", "Seconds of music a second, as measured.", rate },
        { "worker_segments", "gauge", "Segments that it has.", held },
        { "worker_slots", "gauge", "Segments that it composes side by side.", slots },
        { "worker_memory_bytes", "gauge", "Memory of its device.", memory },
        { "worker_segments_done_total", "counter", "Segments accepted of it.", done },
        { "worker_failures_total", "counter", "Failures of its GPU.", failed },
    };
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        family(f, families[i].name, families[i].type, families[i].help);
        for (size_t n = 0; n < s->node_count; n++) {
            fprintf(f, "underscore_%s{worker=\"", families[i].name);
            write_label(f, s->nodes[n].name);
            fprintf(f, "\"} %.17g\n", families[i].of(&s->nodes[n]));
        }
    }
}

void status_metrics_write(FILE *f, const struct snapshot *s)
{
    family(f, "build_info", "gauge", "Always 1; the version is a label.");
    fprintf(f, "underscore_build_info{version=\"%s\"} 1\n", UNDERSCORE_VERSION);
    one(f, "uptime_seconds", "gauge", "Since the coordinator was started.", s->up_s);
    one(f, "snapshot_timestamp_seconds", "gauge", "Unix time of these figures.",
        (double) s->at_ms / 1000);
    one(f, "epoch", "gauge", "How often the ledger has been opened.", (double) s->epoch);
    one(f, "queue_disabled", "gauge", "1 while new jobs are refused.", s->disabled);
    one(f, "queue_stopped", "gauge", "1 while no segment is given out.", s->stopped);
    one(f, "paused", "gauge", "1 while the disk does not take what has to be kept.", s->paused);
    counts(f, "jobs", "gauge", "Jobs in the ledger by state.", "state", s->jobs_in);
    counts(f, "segments", "gauge", "Segments of jobs under way by state.", "state",
           s->segments_in);
    counts(f, "attempts_total", "counter", "Attempts that ended, by outcome, since the start.",
           "outcome", s->attempts);
    one(f, "music_seconds_total", "counter", "Seconds of music accepted since the start.",
        s->music_s);
    one(f, "gpu_seconds_total", "counter", "GPU time charged to owners since the start.",
        s->gpu_s);
    one(f, "messages_dropped_total", "counter",
        "Messages nobody could make sense of, or that came before.", (double) s->dropped);
    one(f, "children", "gauge", "Processes that read or write films.", s->children);
    write_nodes(f, s);
}
