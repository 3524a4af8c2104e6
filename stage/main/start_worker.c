#include "stage/main/start_worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/log.h"

static size_t number_of(const char *text, int rank, int local, int *number)
{
    static const char in_all[] = "{rank}", on_node[] = "{local}";
    if (!strncmp(text, in_all, strlen(in_all))) {
        *number = rank;
        return strlen(in_all);
    }
    *number = local;
    return strncmp(text, on_node, strlen(on_node)) ? 0 : strlen(on_node);
}

char *with_numbers(const char *text, int rank, int local)
{
    char *out = NULL;
    size_t bytes;
    FILE *to = open_memstream(&out, &bytes);
    while (to && *text) {
        int number;
        const size_t n = number_of(text, rank, local, &number);
        if (n)
            fprintf(to, "%d", number);
        else
            fputc(*text, to);
        text += n ? n : 1;
    }
    if (to && fclose(to) == 0)
        return out;
    free(out);
    return NULL;
}

static size_t count_of(char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

static void free_arguments(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static char **make_arguments(const struct start_worker_params *p)
{
    const size_t n = count_of(p->options);
    char **list = calloc(n + 4, sizeof(*list));
    if (!list)
        return NULL;
    list[0] = strdup(p->program);
    list[1] = strdup("--model");
    list[2] = strdup(p->model);
    bool whole = list[0] && list[1] && list[2];
    for (size_t i = 0; whole && i < n; i++)
        whole = (list[3 + i] = with_numbers(p->options[i], p->rank, p->local)) != NULL;
    if (whole)
        return list;
    free_arguments(list);
    return NULL;
}

// Twice forked, so that nobody is its parent, and in a session of its own, so that nobody's
// terminal or process group ends it. Only what is safe between fork and exec.
static void become_worker(char **arguments, int log, int said)
{
    sigset_t none;
    setsid();
    if (fork() != 0)
        _exit(0);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (said != 3) {
        dup3(said, 3, O_CLOEXEC);
    }
    syscall(SYS_close_range, 4, ~0u, 0); // MPI's, too
    execvp(arguments[0], arguments);
    const int why = errno;
    if (write(3, &why, sizeof(why)) < 0)
        _exit(126);
    _exit(127);
}

// Until it runs, or says why it does not.
static enum err begin(char **arguments, int log)
{
    int ends[2], why = 0;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        log_error("cannot start a worker: %s", strerror(errno));
        return ERR_CREATE;
    }
    const pid_t pid = fork();
    if (pid == 0)
        become_worker(arguments, log, ends[1]);
    const int forked = errno;
    close(ends[1]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    const bool failed = pid < 0 || read(ends[0], &why, sizeof(why)) == (ssize_t) sizeof(why);
    close(ends[0]);
    if (!failed)
        return ERR_OK;
    log_error("%s: cannot start it: %s", arguments[0], strerror(pid < 0 ? forked : why));
    return pid < 0 ? ERR_CREATE : ERR_MISSING;
}

enum err start_worker(const struct start_worker_params *p)
{
    char *log_path = with_numbers(p->log, p->rank, p->local);
    char **arguments = log_path ? make_arguments(p) : NULL;
    const int log =
        arguments ? open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    enum err e = arguments ? ERR_OK : ERR_NOMEM;
    if (!e && log < 0) {
        log_error("%s: cannot create: %s", log_path, strerror(errno));
        e = ERR_CREATE;
    }
    if (!e)
        e = begin(arguments, log);
    if (log >= 0)
        close(log);
    free_arguments(arguments);
    free(log_path);
    return e;
}
