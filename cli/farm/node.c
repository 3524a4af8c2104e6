// node: the workers of a farm: what they are, what they have, draining and quarantine.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/farm/node_print.h"
#include "cli/verb.h"
#include "common/base/log.h"

static const struct {
    const char *name;
    int order; // -1: a question
} verbs[] = {
    { "list", -1 },
    { "show", -1 },
    { "drain", WIRE_NODE_DRAIN },
    { "undrain", WIRE_NODE_UNDRAIN },
    { "quarantine", WIRE_NODE_QUARANTINE },
    { "release", WIRE_NODE_RELEASE },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

struct listing {
    const struct farm_verb *v;
    bool whole; // all that is known
    uint32_t count;
    bool more;
    json_t *nodes, *work; // work: of the last node
};

static enum err take(void *user, const struct wire_message *m)
{
    struct listing *l = user;
    if (m->type == WIRE_NODE) {
        json_t *n = node_json(&m->node);
        const bool is_first = l->count++ == 0;
        l->work = json_array();
        json_object_set_new(n, "work", l->work);
        json_array_append_new(l->nodes, n);
        if (!l->v->talk.json && l->whole)
            node_print(&m->node);
        else if (!l->v->talk.json) {
            if (is_first)
                node_print_heading();
            node_print_line(&m->node);
        }
    } else if (m->type == WIRE_WORK && l->work) {
        json_array_append_new(l->work, work_json(&m->work));
        char film[2 * WIRE_PATH_BYTES];
        if (!l->v->talk.json && l->whole)
            printf("%-10s segment %" PRIu32 " of job %" PRIu64 ", %s\n", "composes",
                   m->work.segment, m->work.job, plain(film, sizeof(film), m->work.film));
    } else if (m->type == WIRE_LISTED) {
        l->more = m->listed.more;
    } else {
        return ERR_UNAVAILABLE;
    }
    return ERR_OK;
}

static enum err ask(struct client *c, const struct farm_verb *v, const char *name)
{
    struct listing l = { .v = v, .whole = name != NULL, .more = true, .nodes = json_array() };
    enum err e = ERR_OK;
    while (!e && l.more) {
        struct wire_message *q = client_question(c, WIRE_NODES);
        q->nodes.work = true;
        q->nodes.after = l.count;
        snprintf(q->nodes.name, sizeof(q->nodes.name), "%s", name ? name : "");
        e = farm_ask(c, WIRE_LISTED, take, &l);
    }
    if (!e && name && l.count == 0) {
        log_error("no worker %s has been here", name);
        e = ERR_INPUT;
    }
    if (!e && !name && l.count == 0 && !v->talk.json)
        node_print_heading();
    if (!e && v->talk.json)
        json_print(name ? json_incref(json_array_get(l.nodes, 0))
                        : json_pack("{s:O}", "nodes", l.nodes));
    json_decref(l.nodes);
    return e;
}

static enum err order(struct client *c, const struct farm_verb *v, int what, const char *name)
{
    const struct wire_message *answer;
    struct wire_message *q = client_question(c, WIRE_NODE_ORDER);
    q->node_order.what = (uint32_t) what;
    snprintf(q->node_order.name, sizeof(q->node_order.name), "%s", name);
    enum err e = client_ask(c, &answer);
    if (!e && answer->type != WIRE_OBEYED)
        e = ERR_UNAVAILABLE;
    if (!e && v->talk.json)
        json_print(json_pack("{s:s}", "node", name));
    return e;
}

enum err verb_node(int argc, char **argv)
{
    struct farm_verb v = { 0 };
    const struct farm_page about = {
        "underscore node list | show NAME | drain NAME | undrain NAME | quarantine NAME | release NAME",
        "The workers of a farm. A drained one finishes what it has and gets nothing new, whenever it is\n"
        "started, until it is undrained. One in quarantine gets nothing; three failures of its GPU in a\n"
        "row put it there, too. One that lets three leases in a row end is RESTING and tried again later.",
        1, 2, NULL
    };
    struct client *c = NULL;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    const char *name = v.arguments.count > 1 ? v.arguments.values[1] : NULL;
    size_t i = 0;
    while (i < VERBS && strcmp(v.arguments.values[0], verbs[i].name) != 0)
        i++;
    if (i == VERBS || (i == 0) != !name || (name && strlen(name) >= WIRE_NAME_BYTES)) {
        log_error("%s: not understood so; usage: %s", v.arguments.values[0], about.usage);
        return ERR_USAGE;
    }
    e = client_open(&c, &v.farm);
    if (!e)
        e = verbs[i].order < 0 ? ask(c, &v, name) : order(c, &v, verbs[i].order, name);
    client_close(&c);
    return e;
}
