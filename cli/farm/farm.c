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
        .usage = about->usage,
        .summary = about->summary,
        .tables = tables,
        .table_count = 3,
        .min_arguments = about->least,
        .max_arguments = about->most,
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

enum err farm_ask(struct client *c, enum wire_type last,
                  enum err (*take)(void *user, const struct wire_message *answer), void *user)
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

struct page {
    struct farm_list *list;
    enum err (*take)(void *user, const struct wire_job *j);
    void *user;
    uint64_t after;
    bool more;
    struct wire_job job;
};

static enum err take_page(void *user, const struct wire_message *m)
{
    struct page *p = user;
    enum err e = ERR_OK;
    if (m->type == WIRE_LISTED) {
        p->more = m->listed.more;
        p->list->count = m->listed.count;
        return ERR_OK;
    }
    if (m->type != WIRE_JOBS)
        return ERR_UNAVAILABLE;
    for (struct wire_bytes rows = m->jobs.rows; !e && rows.bytes;) {
        e = wire_take_row(&p->job, &rows);
        if (e) {
            log_error("the coordinator's list of jobs cannot be understood");
            return ERR_UNAVAILABLE;
        }
        p->after = p->job.job;
        e = p->take(p->user, &p->job);
    }
    return e;
}

enum err farm_jobs(struct client *c, struct farm_list *l,
                   enum err (*take)(void *user, const struct wire_job *j), void *user)
{
    struct page *p = calloc(1, sizeof(*p));
    enum err e = p ? ERR_OK : ERR_NOMEM;
    if (p)
        *p = (struct page){ .list = l, .take = take, .user = user, .more = true };
    while (!e && p->more) {
        struct wire_message *q = client_question(c, WIRE_LIST);
        q->list.after = p->after;
        q->list.most = l->last ? l->last : WIRE_MAX_JOBS;
        q->list.open = !l->all;
        q->list.last = l->last > 0;
        e = farm_ask(c, WIRE_LISTED, take_page, p);
    }
    free(p);
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
