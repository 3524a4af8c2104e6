#include "worker/weights/xp_cfg.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "common/base/log.h"

#define TEXT_MAX (4u << 20)
#define NODES_MAX (1u << 17)
#define DEPTH_MAX 64
#define INTERPOLATIONS_MAX 32 // followed for one answer

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    bool plain;                 // a scalar without quotes: null, numbers and flags are
    char *key;                  // in a map
    char *scalar;               // "" for lists and maps
    uint32_t first, next, last; // children and siblings; 0: none, the root being 0
};

struct xp_cfg {
    char *name;
    struct node *nodes; // [0] is the root
    uint32_t count, room;
};

static enum err refuse(const struct xp_cfg *c, const char *path, const char *why)
{
    log_error("%s: its xp.cfg is not usable: %s%s%s", c->name, path, *path ? ": " : "", why);
    return ERR_INPUT;
}

static enum err out_of_memory(const struct xp_cfg *c)
{
    log_error("%s: out of memory", c->name);
    return ERR_NOMEM;
}

// ---- building the tree

struct builder {
    struct xp_cfg *c;
    uint32_t open[DEPTH_MAX]; // lists and maps around the next node
    uint32_t depth;
    char *key; // read, its value still to come
    bool done;
};

static enum err add_node(struct builder *b, struct node node, uint32_t *out)
{
    struct xp_cfg *c = b->c;
    if (c->count == c->room) {
        const uint32_t room = c->room ? 2 * c->room : 512;
        struct node *nodes =
            room <= NODES_MAX ? realloc(c->nodes, room * sizeof(*nodes)) : NULL;
        if (room > NODES_MAX)
            return refuse(c, "", "it has too many values");
        if (!nodes)
            return out_of_memory(c);
        c->nodes = nodes;
        c->room = room;
    }
    *out = c->count++;
    c->nodes[*out] = node;
    if (b->depth == 0)
        return ERR_OK;
    struct node *parent = &c->nodes[b->open[b->depth - 1]];
    if (parent->last)
        c->nodes[parent->last].next = *out;
    else
        parent->first = *out;
    parent->last = *out;
    return ERR_OK;
}

static bool awaits_key(const struct builder *b)
{
    return b->depth && b->c->nodes[b->open[b->depth - 1]].kind == NODE_MAP && !b->key;
}

// The pending key goes to the node, whatever becomes of it.
static enum err add_keyed(struct builder *b, struct node node, uint32_t *out)
{
    node.key = b->key;
    b->key = NULL;
    const enum err e = add_node(b, node, out);
    if (e) {
        free(node.key);
        free(node.scalar);
    }
    return e;
}

static enum err on_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *) event->data.scalar.value;
    if (memchr(text, 0, event->data.scalar.length))
        return refuse(b->c, "", "a zero byte");
    char *copy = strdup(text);
    if (!copy)
        return out_of_memory(b->c);
    if (awaits_key(b)) {
        b->key = copy;
        return ERR_OK;
    }
    uint32_t unused;
    return add_keyed(
        b,
        (struct node){ .kind = NODE_SCALAR,
                       .scalar = copy,
                       .plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE },
        &unused);
}

static enum err on_open(struct builder *b, enum node_kind kind)
{
    if (awaits_key(b))
        return refuse(b->c, "", "a key that is no text");
    if (b->depth == DEPTH_MAX)
        return refuse(b->c, "", "it is nested too deeply");
    uint32_t i;
    const enum err e = add_keyed(b, (struct node){ .kind = kind }, &i);
    if (!e)
        b->open[b->depth++] = i;
    return e;
}

static enum err on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT: return on_open(b, NODE_LIST);
    case YAML_MAPPING_START_EVENT: return on_open(b, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: b->depth--; return ERR_OK;
    case YAML_ALIAS_EVENT: return refuse(b->c, "", "it has an alias");
    case YAML_DOCUMENT_END_EVENT:
    case YAML_STREAM_END_EVENT: b->done = true; return ERR_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_START_EVENT: return ERR_OK;
    }
    return ERR_OK;
}

static enum err build(struct builder *b, yaml_parser_t *parser)
{
    enum err e = ERR_OK;
    while (!e && !b->done) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event))
            return refuse(b->c, "not YAML", parser->problem ? parser->problem : "");
        e = on_event(b, &event);
        yaml_event_delete(&event);
    }
    if (!e && b->c->count == 0)
        return refuse(b->c, "", "it is empty");
    return e;
}

static enum err read_yaml(struct xp_cfg *c, const char *text)
{
    const size_t bytes = strlen(text);
    if (bytes > TEXT_MAX)
        return refuse(c, "", "it is longer than 4 MiB");
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return out_of_memory(c);
    yaml_parser_set_input_string(&parser, (const unsigned char *) text, bytes);
    struct builder b = { .c = c };
    const enum err e = build(&b, &parser);
    free(b.key);
    yaml_parser_delete(&parser);
    return e;
}

enum err xp_cfg_parse(struct xp_cfg **out, const char *name, const char *text)
{
    *out = NULL;
    struct xp_cfg *c = calloc(1, sizeof(*c));
    if (c)
        c->name = strdup(name);
    if (!c || !c->name) {
        log_error("%s: out of memory", name);
        xp_cfg_free(&c);
        return ERR_NOMEM;
    }
    const enum err e = read_yaml(c, text);
    if (e)
        xp_cfg_free(&c);
    *out = c;
    return e;
}

void xp_cfg_free(struct xp_cfg **c)
{
    if (!*c)
        return;
    for (uint32_t i = 0; i < (*c)->count; i++) {
        free((*c)->nodes[i].key);
        free((*c)->nodes[i].scalar);
    }
    free((*c)->nodes);
    free((*c)->name);
    free(*c);
    *c = NULL;
}

// ---- finding values

// The child of this name, the last if there are several.
static const struct node *child(const struct xp_cfg *c, const struct node *n, const char *key,
                                size_t length)
{
    const struct node *found = NULL;
    for (uint32_t i = n->kind == NODE_MAP ? n->first : 0; i; i = c->nodes[i].next) {
        const char *k = c->nodes[i].key;
        if (k && strlen(k) == length && !memcmp(k, key, length))
            found = &c->nodes[i];
    }
    return found;
}

static enum err find(const struct xp_cfg *c, const char *path, uint32_t *budget,
                     const struct node **out);

// Follow a scalar that is one whole interpolation to what it names.
static enum err resolve(const struct xp_cfg *c, const char *path, uint32_t *budget,
                        const struct node **n)
{
    char target[256];
    while (*n && (*n)->scalar && strstr((*n)->scalar, "${")) {
        const char *text = (*n)->scalar;
        const size_t length = strlen(text);
        if (memcmp(text, "${", 2) != 0 || text[length - 1] != '}' || text[2] == '.' ||
            strcspn(text + 2, "{}:$") != length - 3 || length - 3 >= sizeof(target))
            return refuse(c, path, "an interpolation this program does not resolve");
        if (*budget == 0)
            return refuse(c, path, "interpolations without an end");
        --*budget;
        memcpy(target, text + 2, length - 3);
        target[length - 3] = 0;
        const enum err e = find(c, target, budget, n);
        if (e)
            return e;
        if (!*n)
            return refuse(c, path, "an interpolation of something that is not there");
    }
    return ERR_OK;
}

// *out is NULL when there is nothing at `path`. find() and resolve() call each
// other no deeper than the budget.
static enum err find(const struct xp_cfg *c, const char *path, uint32_t *budget,
                     const struct node **out)
{
    const struct node *n = &c->nodes[0];
    for (const char *at = path; n && at;) {
        const char *dot = strchr(at, '.');
        n = child(c, n, at, dot ? (size_t) (dot - at) : strlen(at));
        const enum err e = resolve(c, path, budget, &n);
        if (e)
            return e;
        at = dot ? dot + 1 : NULL;
    }
    *out = n;
    return ERR_OK;
}

static bool is_null(const struct node *n)
{
    return n->kind == NODE_SCALAR && n->plain &&
           (!*n->scalar || !strcmp(n->scalar, "~") || strcasecmp(n->scalar, "null") == 0);
}

// *out is NULL when the value is absent or null.
static enum err get(const struct xp_cfg *c, const char *path, const struct node **out)
{
    uint32_t budget = INTERPOLATIONS_MAX;
    const enum err e = find(c, path, &budget, out);
    if (!e && *out && is_null(*out))
        *out = NULL;
    return e;
}

static bool read_real(const struct node *n, double *out)
{
    if (n->kind != NODE_SCALAR || !*n->scalar)
        return false;
    char *end;
    *out = strtod(n->scalar, &end);
    return *end == 0 && isfinite(*out);
}

static bool read_u32(const struct node *n, uint32_t *out)
{
    double real;
    if (!read_real(n, &real) || real < 0 || real > UINT32_MAX || real != floor(real))
        return false;
    *out = (uint32_t) real;
    return true;
}

enum err xp_cfg_u32(const struct xp_cfg *c, const char *path, uint32_t *out)
{
    const struct node *n;
    const enum err e = get(c, path, &n);
    if (!e && n && !read_u32(n, out))
        return refuse(c, path, "not a whole number");
    return e;
}

enum err xp_cfg_real(const struct xp_cfg *c, const char *path, double *out)
{
    const struct node *n;
    const enum err e = get(c, path, &n);
    if (!e && n && !read_real(n, out))
        return refuse(c, path, "not a number");
    return e;
}

enum err xp_cfg_bool(const struct xp_cfg *c, const char *path, bool *out)
{
    const struct node *n;
    const enum err e = get(c, path, &n);
    if (e || !n)
        return e;
    const bool yes = n->kind == NODE_SCALAR && strcasecmp(n->scalar, "true") == 0;
    if (!yes && (n->kind != NODE_SCALAR || strcasecmp(n->scalar, "false") != 0))
        return refuse(c, path, "not true or false");
    *out = yes;
    return ERR_OK;
}

enum err xp_cfg_u32_list(const struct xp_cfg *c, const char *path, uint32_t *out, uint32_t room,
                         uint32_t *count)
{
    const struct node *n;
    const enum err e = get(c, path, &n);
    if (e || !n)
        return e;
    if (n->kind != NODE_LIST)
        return refuse(c, path, "not a list");
    *count = 0;
    for (uint32_t i = n->first; i; i = c->nodes[i].next) {
        if (*count == room)
            return refuse(c, path, "a list that is too long");
        if (!read_u32(&c->nodes[i], &out[(*count)++]))
            return refuse(c, path, "not a list of whole numbers");
    }
    return ERR_OK;
}

enum err xp_cfg_text(const struct xp_cfg *c, const char *path, char *out, uint32_t bytes,
                     bool *present)
{
    uint32_t budget = INTERPOLATIONS_MAX;
    const struct node *n;
    *present = false;
    const enum err e = find(c, path, &budget, &n);
    if (e || !n)
        return e;
    *present = true;
    if (n->kind == NODE_SCALAR)
        snprintf(out, bytes, "%s", is_null(n) ? "null" : n->scalar);
    else
        snprintf(out, bytes, "%s", n->kind == NODE_MAP ? "{}" : "");
    uint32_t used = 0;
    for (uint32_t i = n->kind == NODE_LIST ? n->first : 0; i && used < bytes;
         i = c->nodes[i].next) {
        const char *item = c->nodes[i].kind == NODE_SCALAR ? c->nodes[i].scalar : "{}";
        used += (uint32_t) snprintf(out + used, bytes - used, "%s%s", used ? "," : "", item);
    }
    return ERR_OK;
}
