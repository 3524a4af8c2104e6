// Tests of children: what becomes of a child, whatever it does. The program is a
// shell script, told by its arguments what to do.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/files_fixture.h"
#include "coordinator/children/children.h"

static char program[] = "/tmp/underscore-children-XXXXXX";

static int write_program(void **state)
{
    static const char text[] = "#!/bin/sh\n[ \"$1\" = --child ] || exit 99\neval \"$2\"\n";
    (void) state;
    const int fd = mkstemp(program);
    const int bad = fd < 0 || write(fd, text, sizeof(text) - 1) < 0 || fchmod(fd, 0755) < 0;
    close(fd);
    return bad;
}

static int remove_program(void **state)
{
    (void) state;
    return unlink(program);
}

struct end {
    int64_t job;
    int what;
    enum err e;
    char reason[CHILD_TAIL_BYTES];
    unsigned count;
};

static void on_ended(void *user, int64_t job, int what, enum err e, const char *reason)
{
    struct end *end = user;
    end->job = job;
    end->what = what;
    end->e = e;
    end->count++;
    snprintf(end->reason, sizeof(end->reason), "%s", reason);
}

static struct children some(void)
{
    return (struct children){ .program = program, .most = 2, .memory = 1ull << 30, .cpu_s = 1 };
}

static struct end run(const char *script)
{
    struct children c = some();
    struct end end = { 0 };
    assert_int_equal(children_start(&c, 7, 3, (const char *const[]){ script, NULL }), ERR_OK);
    assert_int_equal(children_free(&c), 1);
    const double until = clock_seconds() + 30;
    while (!end.count && clock_seconds() < until) {
        children_poll(&c, on_ended, &end);
        usleep(1000);
    }
    assert_int_equal(end.count, 1);
    assert_true(end.job == 7 && end.what == 3);
    assert_int_equal(children_free(&c), 2);
    return end;
}

static void exits_are_errors_again(void **state)
{
    (void) state;
    assert_int_equal(run("exit 0").e, ERR_OK);
    assert_int_equal(run("exit 65").e, ERR_INPUT);
    assert_int_equal(run("exit 73").e, ERR_CREATE);
    assert_int_equal(run("exit 74").e, ERR_IO);
    char full[32];
    snprintf(full, sizeof(full), "exit %d", child_status(ERR_FULL));
    assert_int_equal(run(full).e, ERR_FULL);
    assert_int_equal(child_status(ERR_IO), 74);
    assert_int_equal(run("exit 42").e, ERR_BUG);
}

static void the_last_line_is_the_reason(void **state)
{
    (void) state;
    const struct end end =
        run("echo first >&2; echo 'underscored: error: a.mkv: not a film' >&2; exit 65");
    assert_string_equal(end.reason, "a.mkv: not a film");
    assert_string_equal(
        run("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 65")
            .reason,
        "end");
    assert_string_equal(run("exit 65").reason, "");
}

static void a_crash_is_the_films_fault(void **state)
{
    (void) state;
    const struct end end = run("kill -SEGV $$");
    assert_int_equal(end.e, ERR_INPUT);
    assert_non_null(strstr(end.reason, "crashed"));
}

static void endless_work_is_ended(void **state)
{
    (void) state;
    const struct end end = run("while :; do :; done"); // one second of CPU time is allowed
    assert_int_equal(end.e, ERR_INPUT);
    assert_non_null(strstr(end.reason, "more time"));
}

static void memory_is_bounded(void **state)
{
    (void) state;
    char limit[64];
    snprintf(limit, sizeof(limit), "[ \"$(ulimit -v)\" = 1048576 ]");
    const struct end end = run(limit);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    (void) end; // not there: see children.c
#else
    assert_int_equal(end.e, ERR_OK);
#endif
}

static void nothing_of_ours_is_open_there(void **state)
{
    (void) state;
    const int secret = open("/dev/null", O_RDONLY); // without O_CLOEXEC
    assert_true(secret > 2);
    char script[96];
    snprintf(script, sizeof(script), "[ ! -e /proc/$$/fd/%d ] || exit 65", secret);
    assert_int_equal(run(script).e, ERR_OK);
    close(secret);
}

static void children_are_killed_by_job(void **state)
{
    (void) state;
    struct children c = some();
    struct end end = { 0 };
    assert_int_equal(children_start(&c, 1, 0, (const char *const[]){ "sleep 100", NULL }),
                     ERR_OK);
    assert_int_equal(children_start(&c, 2, 0, (const char *const[]){ "sleep 100", NULL }),
                     ERR_OK);
    // There is no place left.
    assert_int_equal(children_start(&c, 3, 0, (const char *const[]){ "true", NULL }), ERR_BUG);
    children_kill(&c, 1);
    assert_int_equal(children_free(&c), 1);
    children_poll(&c, on_ended, &end);
    assert_int_equal(end.count, 0); // forgotten, not reported
    children_kill(&c, 0);
    assert_int_equal(children_free(&c), 2);
}

static pid_t held; // by a dead file system: it does not end

// Instead of the C library's.
pid_t waitpid(pid_t pid, int *status, int options)
{
    if (pid != held)
        return (pid_t) syscall(SYS_wait4, pid, status, options, NULL);
    assert_true(options & WNOHANG); // others would wait for ever
    return 0;
}

static void one_that_cannot_be_killed_holds_up_nobody(void **state)
{
    (void) state;
    struct children c = some();
    struct end end = { 0 };
    assert_int_equal(children_start(&c, 1, 0, (const char *const[]){ "sleep 100", NULL }),
                     ERR_OK);
    held = c.running[0].pid;
    const double start = clock_seconds();
    children_kill(&c, 1);
    assert_true(clock_seconds() - start < 10);
    assert_int_equal(children_free(&c), 2); // it takes no place
    assert_int_equal(children_start(&c, 1, 0, (const char *const[]){ "sleep 100", NULL }),
                     ERR_OK);
    assert_int_equal(c.running[0].pid, held);
    children_kill(&c, 1); // the second life of that job
    children_poll(&c, on_ended, &end);
    assert_int_equal(c.running[0].pid, held);
    held = 0;
    for (const double until = clock_seconds() + 30; c.running[0].pid && clock_seconds() < until;
         usleep(1000))
        children_poll(&c, on_ended, &end);
    assert_int_equal(c.running[0].pid, 0);
    assert_int_equal(end.count, 0);
}

static void hanging_ones_take_no_place(void **state)
{
    (void) state;
    struct children c = some();
    for (int i = 0; i < CHILDREN_MOST; i++) {
        assert_true(children_free(&c) > 0);
        assert_int_equal(children_start(&c, 1, 0, (const char *const[]){ "sleep 100", NULL }),
                         ERR_OK);
        c.running[i].aside = true;
    }
    assert_int_equal(children_free(&c), 0); // nor does it go on for ever
    children_kill(&c, 0);
    assert_int_equal(children_free(&c), 2);
}

static void there_is_no_network(void **state)
{
    (void) state;
    const pid_t child = fork();
    if (child == 0) {
        child_confine();
        const bool refused = socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EACCES &&
                             socket(AF_INET6, SOCK_DGRAM, 0) < 0 &&
                             socket(AF_PACKET, SOCK_RAW, 0) < 0;
        // Nor where the kernel has another way to open one.
        const bool no_other = syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno == EACCES &&
                              syscall(0x40000000L | SYS_socket, AF_INET, SOCK_STREAM, 0) < 0 &&
                              errno == EACCES;
        _exit(refused && no_other && socket(AF_UNIX, SOCK_STREAM, 0) >= 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exits_are_errors_again),
        cmocka_unit_test(the_last_line_is_the_reason),
        cmocka_unit_test(a_crash_is_the_films_fault),
        cmocka_unit_test(endless_work_is_ended),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(nothing_of_ours_is_open_there),
        cmocka_unit_test(children_are_killed_by_job),
        cmocka_unit_test(one_that_cannot_be_killed_holds_up_nobody),
        cmocka_unit_test(hanging_ones_take_no_place),
        cmocka_unit_test(there_is_no_network),
    };
    return cmocka_run_group_tests(tests, write_program, remove_program);
}
