// key: the keys of a farm: a pair for each node, and the list of those that a coordinator
// lets in. Works on files; a coordinator that runs sees at once when its list changes.
#include <stdio.h>
#include <string.h>

#include "cli/farm/job_print.h"
#include "cli/verb.h"
#include "common/base/log.h"
#include "common/config/talk.h"
#include "common/keys/keys.h"

#define KEY_LIST "/etc/underscore/allowed.keys"

struct key_verb {
    struct talk_settings talk;
    const char *directory, *list;
    const char *subject; // what follows the order: a name, a file
};

static enum err gen(const struct key_verb *v)
{
    const enum err e = key_generate(v->directory, v->subject);
    if (!e && v->talk.json)
        json_print(json_pack("{s:s, s:o, s:o}", "name", v->subject, "key",
                             json_sprintf("%s/%s.key", v->directory, v->subject), "public",
                             json_sprintf("%s/%s.pub", v->directory, v->subject)));
    else if (!e && !v->talk.quiet)
        printf("%s/%s.key stays on its node; %s/%s.pub is for others to know\n", v->directory,
               v->subject, v->directory, v->subject);
    return e;
}

static enum err add(const struct key_verb *v)
{
    struct key_entry key;
    enum err e = key_public_read(&key, v->subject);
    if (!e)
        e = key_list_add(v->list, &key);
    if (!e && v->talk.json)
        json_print(json_pack("{s:s, s:s}", "name", key.name, "state", "allowed"));
    else if (!e && !v->talk.quiet)
        printf("%s is let in\n", key.name);
    return e;
}

static enum err revoke(const struct key_verb *v)
{
    const enum err e = key_list_revoke(v->list, v->subject);
    if (!e && v->talk.json)
        json_print(json_pack("{s:s, s:s}", "name", v->subject, "state", "revoked"));
    else if (!e && !v->talk.quiet)
        printf("%s is let in no more\n", v->subject);
    return e;
}

static enum err list(const struct key_verb *v)
{
    struct key_list l;
    const enum err e = key_list_read(&l, v->list);
    if (e)
        return e;
    json_t *all = json_array();
    for (size_t i = 0; i < l.count; i++) {
        const struct key_entry *k = &l.entries[i];
        const char *state = k->revoked ? "revoked" : "allowed";
        if (!v->talk.json)
            printf("%-24s %-8s %s\n", k->name, state, k->public_half);
        json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "name", k->name, "state", state,
                                             "key", k->public_half));
    }
    if (v->talk.json)
        json_print(json_pack("{s:O}", "keys", all));
    json_decref(all);
    key_list_finish(&l);
    return ERR_OK;
}

static const struct {
    const char *name;
    enum err (*run)(const struct key_verb *v);
    uint32_t arguments;
} orders[] = {
    { "gen", gen, 2 },
    { "add", add, 2 },
    { "revoke", revoke, 2 },
    { "list", list, 1 },
};

enum err verb_key(int argc, char **argv)
{
    struct key_verb v = { .directory = ".", .list = KEY_LIST };
    struct option_spec talk[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Keys", .kind = OPTION_HEADING },
        { .name = "dir",
          .kind = OPTION_STRING,
          .target = &v.directory,
          .value = "DIR",
          .help = "gen: where the files are put (.)" },
        { .name = "allow",
          .kind = OPTION_STRING,
          .target = &v.list,
          .value = "FILE",
          .help = "add, revoke, list: the coordinator's list\n(" KEY_LIST ")" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    const struct option_spec *const tables[] = { own, talk };
    const struct verb_page page = {
        .usage = "underscore key gen NAME | add FILE.pub | revoke NAME | list [OPTIONS]",
        .summary =
            "Make the pair of keys that a node of a farm needs, and say on the coordinator's machine\n"
            "whose keys it lets in. A revoked key is cut off within a second, and stays revoked.",
        .examples = "  underscore key gen gpu1              # on gpu1: gpu1.key, gpu1.pub\n"
                    "  underscore key add gpu1.pub          # on the coordinator's machine\n"
                    "  underscore key revoke gpu1",
        .tables = tables,
        .table_count = 2,
        .min_arguments = 1,
        .max_arguments = 2,
    };
    struct verb_arguments a;
    const enum err e = options_parse(&page, argc, argv, &a);
    if (e || a.help_shown)
        return e;
    talk_apply(&v.talk);
    v.subject = a.values[1];
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
        if (!strcmp(a.values[0], orders[i].name) && a.count == orders[i].arguments)
            return orders[i].run(&v);
    log_error("usage: %s", page.usage);
    return ERR_USAGE;
}
