#include "coordinator/children/children.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

// Sanitizers reserve terabytes of addresses: no limit would let them start.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNLIMITED_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNLIMITED_MEMORY 1
#endif
#endif
#ifndef UNLIMITED_MEMORY
#define UNLIMITED_MEMORY 0
#endif

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#error "the numbers of system calls of this machine: see forbid_network()"
#endif
#define KILL_S 1.0
#define X32_CALLS 0x40000000u // of x86-64 with short pointers; no other machine has so many

uint32_t children_free(const struct children *c)
{
    uint32_t n = 0, entries = 0;
    for (uint32_t i = 0; i < CHILDREN_MOST; i++) {
        entries += c->running[i].pid == 0;
        n += c->running[i].pid != 0 && !c->running[i].aside;
    }
    const uint32_t may = n < c->most ? c->most - n : 0;
    return may < entries ? may : entries;
}

static void limit(int what, uint64_t most)
{
    const struct rlimit r = { most, most };
    setrlimit(what, &r);
}

// Between fork and exec: only what is safe there.
static void become_child(const struct children *c, pid_t parent, int said,
                         char *const *arguments)
{
    sigset_t none;
    // What is said to all of the coordinator's processes (Ctrl-C, systemctl stop, killall -HUP) is for it alone: it
    // ends its children by itself, and one that dies otherwise is its film's fault.
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(said, STDERR_FILENO);
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    syscall(SYS_close_range, 3, ~0u, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) // it died before that
        _exit(127);
    limit(RLIMIT_CPU, c->cpu_s);
    limit(RLIMIT_CORE, 0);
    if (!UNLIMITED_MEMORY)
        limit(RLIMIT_AS, c->memory);
    execv(c->program, arguments);
    _exit(127);
}

static struct child *free_place(struct children *c)
{
    for (uint32_t i = 0; children_free(c) && i < CHILDREN_MOST; i++)
        if (c->running[i].pid == 0)
            return &c->running[i];
    return NULL;
}

enum err children_start(struct children *c, int64_t job, int what, const char *const *arguments)
{
    char *list[CHILD_MOST_ARGUMENTS + 3] = { (char *) (uintptr_t) c->program,
                                             (char *) (uintptr_t) "--child" };
    struct child *place = free_place(c);
    int n = 2;
    for (; *arguments && n < CHILD_MOST_ARGUMENTS + 2; arguments++)
        list[n++] = (char *) (uintptr_t) *arguments; // exec does not write there
    int ends[2];
    if (!place || *arguments)
        return ERR_BUG;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        log_error("cannot start a child process: %s", strerror(errno));
        return ERR_IO;
    }
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become_child(c, parent, ends[1], list);
    close(ends[1]);
    if (pid < 0) {
        log_error("cannot start a child process: %s", strerror(errno));
        close(ends[0]);
        return ERR_IO;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    *place = (struct child){ .pid = pid, .said = ends[0], .job = job, .what = what };
    return ERR_OK;
}

static void keep_tail(struct child *c, const char *text, size_t bytes)
{
    const size_t room = sizeof(c->tail) - 1;
    if (bytes > room) {
        text += bytes - room;
        bytes = room;
    }
    if (c->tail_bytes + bytes > room) {
        const size_t drop = c->tail_bytes + bytes - room;
        memmove(c->tail, c->tail + drop, c->tail_bytes - drop);
        c->tail_bytes -= drop;
    }
    memcpy(c->tail + c->tail_bytes, text, bytes);
    c->tail_bytes += bytes;
    c->tail[c->tail_bytes] = 0;
}

static void listen_to(struct child *c)
{
    char text[4096];
    ssize_t n;
    while (c->said >= 0 && (n = read(c->said, text, sizeof(text))) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; // nothing more for now
        keep_tail(c, text, (size_t) n);
    }
    if (c->said >= 0)
        close(c->said);
    c->said = -1;
}

// The last line of what it said, without the program's name before it.
static const char *last_line(struct child *c)
{
    while (c->tail_bytes && c->tail[c->tail_bytes - 1] == '\n')
        c->tail[--c->tail_bytes] = 0;
    const char *line = strrchr(c->tail, '\n');
    line = line ? line + 1 : c->tail;
    const char *error = strstr(line, "error: ");
    return error ? error + strlen("error: ") : line;
}

int child_status(enum err e)
{
    return e == ERR_FULL ? CHILD_FULL : err_exit_code(e);
}

static enum err error_of_exit(int code)
{
    if (code == CHILD_FULL)
        return ERR_FULL;
    for (int e = 0; e < ERR_COUNT; e++)
        if (err_exit_code((enum err) e) == code)
            return (enum err) e;
    return ERR_BUG;
}

static enum err judge(struct child *c, int status, char *reason, size_t room)
{
    if (WIFEXITED(status)) {
        snprintf(reason, room, "%s", last_line(c));
        return error_of_exit(WEXITSTATUS(status));
    }
    const int signal_number = WTERMSIG(status);
    snprintf(reason, room, "reading it %s (signal %d)",
             signal_number == SIGXCPU || signal_number == SIGKILL
                 ? "took more time or memory than is allowed"
                 : "crashed",
             signal_number);
    return ERR_INPUT;
}

void children_poll(struct children *c,
                   void (*ended)(void *user, int64_t job, int what, enum err e,
                                 const char *reason),
                   void *user)
{
    for (uint32_t i = 0; i < CHILDREN_MOST; i++) {
        struct child *child = &c->running[i];
        int status;
        if (child->pid == 0)
            continue;
        listen_to(child);
        if (child->said >= 0 || waitpid(child->pid, &status, WNOHANG) != child->pid)
            continue;
        if (child->killed) {
            *child = (struct child){ 0 };
            continue;
        }
        char reason[CHILD_TAIL_BYTES];
        const enum err e = judge(child, status, reason, sizeof(reason));
        const int64_t job = child->job;
        const int what = child->what;
        *child = (struct child){ 0 };
        ended(user, job, what, e, reason);
    }
}

static bool has_ended(const struct child *child, double until)
{
    while (waitpid(child->pid, NULL, WNOHANG) == 0) {
        if (clock_seconds() >= until)
            return false;
        usleep(1000);
    }
    return true;
}

void children_kill(struct children *c, int64_t job)
{
    const double until = clock_seconds() + KILL_S;
    for (uint32_t i = 0; i < CHILDREN_MOST; i++) {
        struct child *child = &c->running[i];
        if (child->pid == 0 || child->killed || (job && child->job != job))
            continue;
        kill(child->pid, SIGKILL);
        if (child->said >= 0)
            close(child->said);
        const int held = has_ended(child, until) ? 0 : child->pid;
        *child = (struct child){ .pid = held, .said = -1, .aside = held, .killed = held };
    }
}

// No sockets but those within the machine: what a film makes of FFmpeg cannot call home.
static void forbid_network(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        // On another architecture calls have other numbers.
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 0, 6),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 4, 0), // and once more under these
        // io_uring opens sockets by itself.
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter = { sizeof(rules) / sizeof(rules[0]), rules };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        log_debug("the network cannot be forbidden here: %s", strerror(errno));
}

void child_confine(void)
{
    forbid_network();
}
