// main: the table of verbs.
//
// Those that ask a farm are in this program. Those that work on films and models are in
// underscore-film, which takes this one's place: to load FFmpeg and all that it brings takes
// a tenth of a second, which is more than a farm needs to answer.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/verb.h"
#include "common/base/log.h"

#define FILM_PROGRAM "underscore-film"

static const struct {
    const char *name;
    enum err (*run)(int argc, char **argv); // NULL: underscore-film has it
    const char *summary;
} verbs[] = {
    { "score", NULL, "a film in, a scored film out" },
    { "plan", NULL, "find a film's cuts and plan its cues and segments" },
    { "compose", NULL, "compose cues of a plan into parts" },
    { "stitch", NULL, "make one track of the parts and deliver it" },
    { "render", NULL, "a new delivery from kept tokens" },
    { "submit", NULL, "hand films to a farm" },
    { "list", verb_list, "the jobs of a farm" },
    { "show", verb_show, "all that is known of a job" },
    { "explain", verb_explain, "why what waits of a job is not running" },
    { "watch", verb_watch, "the jobs of a farm as they get on" },
    { "top", verb_top, "the workers of a farm and what each composes" },
    { "logs", verb_logs, "what happened to a job" },
    { "node", verb_node, "list, show, drain, undrain, quarantine, release workers" },
    { "queue", verb_queue, "enable, disable, start, stop a farm's queue" },
    { "db", verb_db, "check, back up, prune a farm's ledger" },
    { "config", verb_config, "the settings of a farm's coordinator" },
    { "key", verb_key, "keys of a farm: made, allowed, revoked" },
    { "cancel", verb_cancel, "stop a job" },
    { "pause", verb_pause, "begin nothing more of a job" },
    { "resume", verb_resume, "let a paused job go on" },
    { "retry", verb_retry, "try a failed, cancelled or held job again" },
    { "prio", verb_prio, "give a job another priority" },
    { "devices", NULL, "list the Vulkan devices, and which would be used" },
    { "import", NULL, "make a model file of the published PyTorch files" },
    { "inspect", NULL, "print what a model is" },
    { "init-model", NULL, "write a random model, for benchmarks and tests" },
    { "bench", NULL, "time every stage beside the device's own floor" },
    { "trace", NULL, "write the tensors inside a model, for comparing" },
    { NULL, NULL, NULL },
};

static void print_help(void)
{
    printf("underscore %s: watches a film and composes its music\n\n"
           "usage: underscore VERB [OPTIONS]   (underscore VERB --help tells more)\n\n",
           UNDERSCORE_VERSION);
    for (size_t i = 0; verbs[i].name; i++)
        printf("  %-12s %s\n", verbs[i].name, verbs[i].summary);
}

// It lies beside this program. Comes back only when it cannot.
static enum err hand_over(char **argv)
{
    char self[4096], program[sizeof(self) + sizeof(FILM_PROGRAM)];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[n > 0 ? n : 0] = 0;
    const char *slash = strrchr(self, '/');
    snprintf(program, sizeof(program), "%.*s/" FILM_PROGRAM, slash ? (int) (slash - self) : 0,
             self);
    execv(program, argv);
    log_error("%s, which does this: %s", program, strerror(errno));
    return ERR_UNAVAILABLE;
}

int main(int argc, char **argv)
{
    log_init("underscore", LOG_INFO);
    signal(SIGPIPE, SIG_IGN); // a closed pipe is a failed write, not a death

    static char page[] = "--help";
    if (argc == 3 && !strcmp(argv[1], "help")) { // `help VERB` is `VERB --help`
        argv[1] = argv[2];
        argv[2] = page;
    }
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
        !strcmp(argv[1], "help")) {
        print_help();
        return argc < 2 ? err_exit_code(ERR_USAGE) : 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("underscore %s\n", UNDERSCORE_VERSION);
        return 0;
    }
    for (size_t i = 0; verbs[i].name; i++)
        if (!strcmp(argv[1], verbs[i].name))
            return verb_end(verbs[i].run ? verbs[i].run(argc - 1, argv + 1) : hand_over(argv));
    log_error("no verb '%s'; see underscore --help", argv[1]);
    return err_exit_code(ERR_USAGE);
}
