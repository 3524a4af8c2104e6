#include "cli/farm/farm.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"

#define LOOK_UP_S 0.05

enum err farm_parse(struct farm_verb *v, const struct farm_page *about, int argc, char **argv)
{
    static const struct option_spec none[] = { { 0 } };
    struct option_spec talk[SETTINGS_MAX_SPECS], farm[SETTINGS_MAX_SPECS];
    talk_table(&v->talk, talk);
    farm_table(&v->farm, farm);
    const struct option_spec *const tables[] = { about->own ? about->own : none, farm, talk };
    const struct verb_page page = {
        .usage = about->usage, .summary = about->summary, .tables = tables, .table_count = 3,
        .min_arguments = about->least, .max_arguments = about->most,
    };
    const enum err e = options_parse(&page, argc, argv, &v->arguments);
    if (!e && !v->arguments.help_shown) {
        talk_apply(&v->talk);
        interrupt_watch();
    }
    return e;
}

enum err farm_job_number(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (end != text && !*end && !errno && *out > 0 && text[0] != '-')
        return ERR_OK;
    log_error("%s: not the number of a job", text);
    return ERR_USAGE;
}

enum err farm_ask(struct client *c, enum wire_type last, enum err (*take)(void *user, const struct wire_message *answer),
                  void *user)
{
    const struct wire_message *answer;
    enum err e = client_ask(c, &answer);
    while (!e) {
        const bool done = answer->type == last;
        e = take(user, answer);
        if (e || done)
            break;
        e = client_next(c, &answer);
    }
    return e;
}

enum err farm_sleep(double seconds)
{
    for (const double until = clock_seconds() + seconds; clock_seconds() < until;) {
        if (interrupt_asked())
            return ERR_STOP;
        nanosleep(&(struct timespec){ .tv_nsec = (long) (LOOK_UP_S * 1e9) }, NULL);
    }
    return interrupt_asked() ? ERR_STOP : ERR_OK;
}
