// top: the workers of a farm, how fast each is and what it composes, again and again.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/farm/node_print.h"
#include "cli/farm/screen.h"
#include "cli/verb.h"

#define EVERY_S 1.0

struct picture {
    FILE *f; // the nodes, line by line
    json_t *nodes, *work;
    uint32_t count, here, held;
    bool more;
    double rate;
};

static bool is_here(const struct wire_node *n)
{
    return strcmp(n->state, "LOST") != 0 && strcmp(n->state, "OFFLINE") != 0;
}

static void take_node(struct picture *p, const struct wire_node *n)
{
    char name[WIRE_NAME_BYTES], device[WIRE_NAME_BYTES], state[WIRE_NAME_BYTES + 32];
    json_t *o = node_json(n);
    p->work = json_array();
    json_object_set_new(o, "work", p->work);
    json_array_append_new(p->nodes, o);
    p->count++;
    p->here += is_here(n);
    p->held += n->held;
    p->rate += is_here(n) ? n->rate : 0;
    fprintf(p->f,
            "%-20s %-20s %3" PRIu32 "/%-3" PRIu32 " %8.2f %6" PRIu64 " %6" PRIu64 "  %s\n",
            plain(name, sizeof(name), n->name), node_state(n, state, sizeof(state)), n->held,
            n->slots, n->rate, n->done, n->failed, plain(device, sizeof(device), n->device));
}

static void take_work(struct picture *p, const struct wire_work *w)
{
    char film[2 * WIRE_PATH_BYTES], span[TIME_TEXT_BYTES];
    const char *slash = strrchr(w->film, '/');
    json_array_append_new(p->work, work_json(w));
    fprintf(p->f,
            "    job %" PRIu64 ", cue %" PRIu32 ", segment %" PRIu32
            ": %.1f s of music, for %s: %s\n",
            w->job, w->cue, w->segment, (double) w->audio_ms / 1000, span_text(span, w->for_ms),
            plain(film, sizeof(film), slash ? slash + 1 : w->film));
}

static enum err take(void *user, const struct wire_message *m)
{
    struct picture *p = user;
    if (m->type == WIRE_NODE)
        take_node(p, &m->node);
    else if (m->type == WIRE_WORK && p->work)
        take_work(p, &m->work);
    else if (m->type == WIRE_LISTED)
        p->more = m->listed.more;
    else
        return ERR_UNAVAILABLE;
    return ERR_OK;
}

static enum err ask_queue(struct client *c, bool *disabled, bool *stopped)
{
    const struct wire_message *answer;
    client_question(c, WIRE_QUEUE)->queue.what = WIRE_QUEUE_SHOW;
    const enum err e = client_ask(c, &answer);
    if (e || answer->type != WIRE_QUEUE_IS)
        return e ? e : ERR_UNAVAILABLE;
    *disabled = answer->queue_is.disabled;
    *stopped = answer->queue_is.stopped;
    return ERR_OK;
}

static enum err show(const struct farm_verb *v, struct screen *s, const struct picture *p,
                     const char *nodes, bool disabled, bool stopped)
{
    if (v->talk.json) {
        json_print(json_pack("{s:b, s:b, s:f, s:O}", "disabled", disabled, "stopped", stopped,
                             "rate", p->rate, "nodes", p->nodes));
        return ERR_OK;
    }
    FILE *f = screen_begin(s);
    if (!f)
        return ERR_NOMEM;
    fprintf(f,
            "%" PRIu32 " of %" PRIu32 " workers are here, %" PRIu32
            " segments with them, %.2f s of music a second%s%s\n",
            p->here, p->count, p->held, p->rate,
            disabled ? "; the queue takes no new jobs" : "",
            stopped ? "; the queue is stopped" : "");
    fprintf(f, "%-20s %-20s %7s %8s %6s %6s  %s\n%s", "name", "state", "held/of", "rate",
            "done", "failed", "device", nodes);
    return screen_show(s);
}

static enum err look(struct client *c, const struct farm_verb *v, struct screen *s)
{
    char *nodes = NULL;
    size_t bytes = 0;
    bool disabled = false, stopped = false;
    struct picture p = { .nodes = json_array(),
                         .more = true,
                         .f = open_memstream(&nodes, &bytes) };
    enum err e = p.f ? ERR_OK : ERR_NOMEM;
    while (!e && p.more) {
        struct wire_message *q = client_question(c, WIRE_NODES);
        q->nodes.work = true;
        q->nodes.after = p.count;
        e = farm_ask(c, WIRE_LISTED, take, &p);
    }
    if (p.f)
        fclose(p.f);
    if (!e)
        e = ask_queue(c, &disabled, &stopped);
    if (!e)
        e = show(v, s, &p, nodes, disabled, stopped);
    free(nodes);
    json_decref(p.nodes);
    return e;
}

enum err verb_top(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = {
        "underscore top [--json]",
        "The workers of a farm: state, segments they hold of those they compose side by side, seconds of\n"
        "music a second, and what each composes. On a terminal again and again, until Ctrl-C.",
        0, 0, NULL
    };
    struct client *c = NULL;
    struct screen s;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    screen_init(&s);
    e = client_open(&c, &v.farm);
    if (!e)
        client_persist(c);
    do {
        if (!e)
            e = look(c, &v, &s);
    } while (!e && s.terminal && !v.talk.json && !(e = farm_sleep(EVERY_S)));
    screen_finish(&s);
    client_close(&c);
    return e;
}
