#include "coordinator/elastic/start_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/log.h"

// Between fork and exec: only what is safe there.
static void become_command(const char *command)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    syscall(SYS_close_range, 3, ~0u, 0);
    execl("/bin/sh", "sh", "-c", command, (char *) NULL);
    _exit(127);
}

enum err start_command_run(struct start_command *c, const char *command, double now)
{
    const pid_t pid = fork();
    if (pid == 0)
        become_command(command);
    if (pid < 0) {
        log_error("cannot run the start command: %s", strerror(errno));
        return ERR_IO;
    }
    setpgid(pid, pid); // whoever comes first: it can be killed from now on
    *c = (struct start_command){ .pid = pid, .since_s = now };
    return ERR_OK;
}

static void say_how(char *why, size_t room, int status, bool killed)
{
    *why = 0;
    if (killed)
        snprintf(why, room, "it took longer than %.0f s", START_COMMAND_LONGEST_S);
    else if (WIFSIGNALED(status))
        snprintf(why, room, "signal %d ended it", WTERMSIG(status));
    else if (WEXITSTATUS(status) != 0)
        snprintf(why, room, "it ended with status %d", WEXITSTATUS(status));
}

bool start_command_ended(struct start_command *c, double now, char *why, size_t room)
{
    int status;
    if (!c->pid)
        return false;
    if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
        say_how(why, room, status, c->killed);
        c->pid = 0;
        return true;
    }
    if (now - c->since_s > START_COMMAND_LONGEST_S)
        c->killed = kill(-c->pid, SIGKILL) == 0 || c->killed;
    return false;
}
