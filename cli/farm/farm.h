// farm: what the farm verbs share: their options, their arguments, one question with its
// list of answers.
#pragma once

#include <jansson.h>

#include "cli/farm/client.h"
#include "common/config/talk.h"

struct farm_verb {
    struct talk_settings talk;
    struct farm_settings farm;
    struct verb_arguments arguments;
};

struct farm_page {
    const char *usage, *summary;
    uint32_t least, most;          // arguments
    const struct option_spec *own; // or NULL
};

// The command line; from then on Ctrl-C is a flag. arguments.help_shown: nothing more to do.
ERR_CHECKED enum err farm_parse(struct farm_verb *v, const struct farm_page *about, int argc,
                                char **argv);

// ERR_USAGE logs.
ERR_CHECKED enum err farm_job_number(const char *text, uint64_t *out);

// Sends the client's question and hands every answer to `take`, until `last` comes, which is
// handed over, too. An error of `take` ends it.
ERR_CHECKED enum err farm_ask(struct client *c, enum wire_type last,
                              enum err (*take)(void *user, const struct wire_message *answer),
                              void *user);

// Which jobs: all, or those that are not over; the `last` ones, newest first, or (0) all from
// the oldest on.
struct farm_list {
    bool all;
    uint32_t last;
    uint64_t count; // filled in where `last` is given: how many there are
};
// Hands each of them to `take`; an error of that ends it.
ERR_CHECKED enum err farm_jobs(struct client *c, struct farm_list *l,
                               enum err (*take)(void *user, const struct wire_job *j),
                               void *user);

// Seconds, or until Ctrl-C: ERR_STOP.
ERR_CHECKED enum err farm_sleep(double seconds);
