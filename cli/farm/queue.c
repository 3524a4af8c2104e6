// queue: a farm's two switches: whether it takes new jobs, whether it gives out work.
#include <stdio.h>
#include <string.h>

#include "cli/farm/farm.h"
#include "cli/farm/job_print.h"
#include "cli/verb.h"
#include "common/base/log.h"

enum err verb_queue(int argc, char **argv)
{
    static const char *const names[WIRE_QUEUE_ORDERS] = {
        [WIRE_QUEUE_SHOW] = "show",       [WIRE_QUEUE_ENABLE] = "enable",
        [WIRE_QUEUE_DISABLE] = "disable", [WIRE_QUEUE_START] = "start",
        [WIRE_QUEUE_STOP] = "stop",
    };
    struct farm_verb v = { 0 };
    const struct farm_page about = {
        "underscore queue show | enable | disable | start | stop",
        "Disabled, a farm refuses new jobs and goes on with those it has. Stopped, it takes jobs and gives\n"
        "out no segment; those under way are finished. Both outlive a restart.",
        1, 1, NULL
    };
    const struct wire_message *answer;
    struct client *c = NULL;
    enum err e = farm_parse(&v, &about, argc, argv);
    if (e || v.arguments.help_shown)
        return e;
    uint32_t what = 0;
    while (what < WIRE_QUEUE_ORDERS && strcmp(v.arguments.values[0], names[what]) != 0)
        what++;
    if (what == WIRE_QUEUE_ORDERS) {
        log_error("%s: not something to tell a queue; usage: %s", v.arguments.values[0],
                  about.usage);
        return ERR_USAGE;
    }
    e = client_open(&c, &v.farm);
    if (!e) {
        client_question(c, WIRE_QUEUE)->queue.what = what;
        e = client_ask(c, &answer);
    }
    if (!e && answer->type != WIRE_QUEUE_IS)
        e = ERR_UNAVAILABLE;
    if (!e && v.talk.json)
        json_print(json_pack("{s:b, s:b}", "disabled", answer->queue_is.disabled, "stopped",
                             answer->queue_is.stopped));
    else if (!e)
        printf("the queue %s new jobs and %s\n",
               answer->queue_is.disabled ? "refuses" : "takes",
               answer->queue_is.stopped ? "is stopped" : "gives out work");
    client_close(&c);
    return e;
}
