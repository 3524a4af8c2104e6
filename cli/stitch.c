// stitch: parts to a delivered film.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/finish_film.h"
#include "cli/verb.h"
#include "common/base/interrupt.h"
#include "common/base/log.h"
#include "common/media/film_plan.h"
#include "common/parts/parts.h"

struct stitch_verb {
    struct talk_settings talk;
    struct delivery_options delivery;
    const char *film;
};

static enum err check_parts(const struct plan *p, const char *directory)
{
    uint32_t missing = 0, first = 0;
    for (uint32_t i = p->segment_count; i-- > 0;)
        if (!part_exists(directory, p, i)) {
            missing++;
            first = i;
        }
    if (!missing)
        return parts_belong_together(directory, p);
    log_error("%s: %u of the plan's %u segments are not there, the first of them in cue %u; "
              "`underscore compose` makes them",
              directory, missing, p->segment_count, p->segments[first].cue);
    return ERR_MISSING;
}

static enum err run(const struct stitch_verb *v, const char *plan_path, const char *directory)
{
    struct film film = { 0 };
    struct plan *p = NULL;
    struct finish_result finished = { 0 };
    enum err e = film_plan_read(&p, plan_path);
    if (!e)
        e = film_plan_film(&film, p, v->film);
    if (!e)
        e = check_parts(p, directory);
    if (!e)
        e = finish_check(&v->delivery, &film);
    if (!e)
        e = finish_film(p, directory, &film, &v->delivery, v->talk.quiet, &finished);
    if (!e)
        e = report_write(&(struct job_story){ .plan = p,
                                              .film = &film,
                                              .finished = &finished,
                                              .told_by = directory },
                         &v->delivery, &v->talk);
    finish_result_release(&finished);
    plan_destroy(&p);
    film_release(&film);
    return e;
}

enum err verb_stitch(int argc, char **argv)
{
    struct stitch_verb v = { 0 };
    struct option_spec talk[SETTINGS_MAX_SPECS], delivery[SETTINGS_MAX_SPECS];
    const struct option_spec own[] = {
        { .name = "Stitch", .kind = OPTION_HEADING },
        { .name = "film",
          .kind = OPTION_STRING,
          .target = &v.film,
          .value = "FILE",
          .help = "where the film is now, if not where the plan says" },
        { 0 },
    };
    talk_table(&v.talk, talk);
    delivery_table(&v.delivery, delivery);
    const struct option_spec *const tables[] = { own, delivery, talk };
    const struct verb_page page = {
        .usage = "underscore stitch PLAN.json DIR -o OUT [OPTIONS]",
        .summary =
            "Crossfade the parts that `compose` left in DIR into one track and deliver it.",
        .examples =
            "  underscore stitch plan.json parts/ -o film-scored.mkv --report report.json",
        .tables = tables,
        .table_count = 3,
        .min_arguments = 2,
        .max_arguments = 2,
    };
    struct verb_arguments arguments;
    const enum err e = options_parse(&page, argc, argv, &arguments);
    if (e || arguments.help_shown)
        return e;
    talk_apply(&v.talk);
    interrupt_watch();
    return run(&v, arguments.values[0], arguments.values[1]);
}
