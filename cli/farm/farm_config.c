// config: what the coordinator of a farm was told: what is in force, whether its file is in
// order, and the file read again.
#include <stdio.h>
#include <string.h>

#include "cli/farm/client.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/config/talk.h"

static const char *const orders[] = {
    [WIRE_CONFIG_CHECK] = "check",
    [WIRE_CONFIG_DUMP] = "dump",
    [WIRE_CONFIG_RELOAD] = "reload",
    NULL,
};

static enum err ask(const struct farm_settings *farm, uint32_t what, bool json)
{
    const struct wire_message *answer;
    struct client *c = NULL;
    enum err e = client_open(&c, farm);
    if (!e) {
        client_question(c, WIRE_CONFIG)->config.what = what;
        e = client_ask(c, &answer);
    }
    json_t *lines = json_array();
    for (; !e && answer->type == WIRE_LINE; e = client_next(c, &answer)) {
        json_array_append_new(lines, json_string(answer->line.text));
        if (!json)
            puts(answer->line.text);
    }
    if (!e && answer->type != WIRE_LISTED)
        e = ERR_UNAVAILABLE;
    if (!e && json)
        json_print(json_pack("{s:O}", "lines", lines));
    else if (!e && what != WIRE_CONFIG_DUMP && json_array_size(lines) == 0)
        puts("nothing is different");
    json_decref(lines);
    client_close(&c);
    return e == ERR_INPUT ? ERR_CONFIG : e; // it said no, and why
}

enum err verb_config(int argc, char **argv)
{
    struct talk_settings talk_settings;
    struct farm_settings farm_settings;
    struct option_spec talk[SETTINGS_MAX_SPECS], farm[SETTINGS_MAX_SPECS];
    talk_table(&talk_settings, talk);
    farm_table(&farm_settings, farm);
    const struct option_spec *const tables[] = { farm, talk };
    const struct verb_page page = {
        .usage = "underscore config check|dump|reload [--json]",
        .summary =
            "check: read the coordinator's file again and say what would change, or what is wrong.\n"
            "dump: what is in force, as such a file. reload: take over what can change while it runs.",
        .tables = tables,
        .table_count = 2,
        .min_arguments = 1,
        .max_arguments = 1,
    };
    struct verb_arguments a;
    const enum err e = options_parse(&page, argc, argv, &a);
    if (e || a.help_shown)
        return e;
    talk_apply(&talk_settings);
    interrupt_watch();
    for (uint32_t i = 0; orders[i]; i++)
        if (!strcmp(a.values[0], orders[i]))
            return ask(&farm_settings, i, talk_settings.json);
    log_error("usage: %s", page.usage);
    return ERR_USAGE;
}
