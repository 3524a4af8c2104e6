// main of underscore-film: the verbs of `underscore` that need FFmpeg, Vulkan or a model.
// cli/front/main.c has the table of all, with what each is for.
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/verb.h"
#include "common/base/log.h"

static const struct {
    const char *name;
    enum err (*run)(int argc, char **argv);
} verbs[] = {
    { "score", verb_score },           { "plan", verb_plan },     { "compose", verb_compose },
    { "stitch", verb_stitch },         { "render", verb_render }, { "submit", verb_submit },
    { "devices", verb_devices },       { "import", verb_import }, { "inspect", verb_inspect },
    { "init-model", verb_init_model }, { "bench", verb_bench },   { "trace", verb_trace },
};

int main(int argc, char **argv)
{
    log_init("underscore", LOG_INFO);
    signal(SIGPIPE, SIG_IGN); // a closed pipe is a failed write, not a death
    signal(SIGXFSZ, SIG_IGN); // and so is a file that grows beyond `ulimit -f`
    for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (!strcmp(argv[1], verbs[i].name))
            return verb_end(verbs[i].run(argc - 1, argv + 1));
    log_error("this is the part of underscore that works on films: see underscore --help");
    return err_exit_code(ERR_USAGE);
}
