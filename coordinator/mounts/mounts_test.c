// A file system that does not answer, played by a statvfs() that does not come back. What it costs is measured.
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/files_fixture.h"
#include "coordinator/mounts/mounts.h"

static const char *const roots[] = { "/dead", "/dead/not", "/tmp", NULL };
static atomic_bool hangs;
static atomic_int asked;

static double worked_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

// Instead of the C library's.
int statvfs(const char *restrict path, struct statvfs *restrict out)
{
    atomic_fetch_add(&asked, 1);
    while (!strncmp(path, "/slow", 5) && worked_s() < 0.1)
        continue;
    while (atomic_load(&hangs) && !strncmp(path, "/dead", 5) &&
           strncmp(path, "/dead/not", 9) != 0)
        usleep(1000);
    *out = (struct statvfs){ 0 };
    errno = ENOENT;
    return strstr(path, "/none") ? -1 : 0;
}

static bool answers(struct mounts *m, const char *path, double *took_s)
{
    const double start = clock_seconds();
    const bool a = mounts_answer(m, roots, path, start);
    *took_s = clock_seconds() - start;
    return a;
}

static void until_all_answer(struct mounts *m)
{
    const double until = clock_seconds() + 60;
    while (m->count && clock_seconds() < until) {
        mounts_tick(m, clock_seconds() + MOUNTS_SILENT_S);
        usleep(1000);
    }
    assert_int_equal(m->count, 0);
}

static void a_dead_one_is_waited_for_once(void **state)
{
    (void) state;
    struct mounts m = { 0 };
    double took_s;
    const int kept = silence_stderr();
    atomic_store(&hangs, true);
    assert_false(answers(&m, "/dead/a.mp4", &took_s));
    assert_true(took_s >= 0.9); // a second, at least
    atomic_store(&asked, 0);
    for (int i = 0; i < 100; i++)
        assert_false(answers(&m, i % 2 ? "/dead/b.mp4" : "/dead", &took_s));
    assert_int_equal(atomic_load(&asked), 0);
    assert_true(answers(&m, "/tmp/a.mp4", &took_s));      // the others
    assert_true(answers(&m, "/dead/not/a.mp4", &took_s)); // and one that is mounted within
    assert_false(answers(&m, "/deadly/a.mp4", &took_s));  // under no root, and dead itself
    assert_int_equal(m.count, 2);
    mounts_tick(&m, clock_seconds() + 10 * MOUNTS_SILENT_S);
    assert_int_equal(m.count, 2);
    atomic_store(&hangs, false);
    mounts_tick(&m, clock_seconds());
    assert_false(answers(&m, "/dead/b.mp4", &took_s)); // not yet
    until_all_answer(&m);
    assert_true(answers(&m, "/dead/b.mp4", &took_s));
    restore_stderr(kept);
    mounts_finish(&m);
}

// This process is stopped in the middle of a question, for longer than one is waited for.
static void who_was_stopped_is_patient(void **state)
{
    (void) state;
    struct mounts m = { 0 };
    const pid_t test = getpid(), stops = fork();
    assert_true(stops >= 0);
    if (stops == 0) {
        usleep(40000);
        kill(test, SIGSTOP);
        usleep(1500000);
        kill(test, SIGCONT);
        _exit(0);
    }
    double took_s;
    assert_true(answers(&m, "/slow/a.mp4", &took_s));
    assert_true(took_s > 1.4); // it was stopped
    assert_int_equal(waitpid(stops, NULL, 0), stops);
    mounts_finish(&m);
}

static void threads_are_bounded(void **state)
{
    (void) state;
    struct mounts m = { .patience_s = 0.05 };
    char names[MOUNTS_MOST][16];
    const char *many[MOUNTS_MOST + 2] = { "/tmp" };
    const int kept = silence_stderr();
    atomic_store(&hangs, true);
    for (int i = 0; i < MOUNTS_MOST; i++) {
        snprintf(names[i], sizeof(names[i]), "/dead%d", i);
        many[i + 1] = names[i];
        assert_false(mounts_answer(&m, many, names[i], 0));
    }
    atomic_store(&asked, 0);
    assert_false(mounts_answer(&m, many, "/tmp", 0));
    assert_int_equal(atomic_load(&asked), 0);
    atomic_store(&hangs, false);
    until_all_answer(&m);
    assert_true(mounts_answer(&m, many, "/tmp", 0));
    restore_stderr(kept);
    mounts_finish(&m);
}

static void what_is_not_there_is_asked_of_its_folder(void **state)
{
    (void) state;
    struct mounts m = { 0 };
    double took_s;
    atomic_store(&asked, 0);
    assert_true(answers(&m, "/tmp/films/none/none", &took_s));
    assert_int_equal(atomic_load(&asked), 3);
    assert_true(answers(&m, "/none", &took_s));
    assert_true(answers(&m, "/", &took_s));
    mounts_finish(&m);
}

static void nobody_is_waited_for_at_the_end(void **state)
{
    (void) state;
    struct mounts m = { 0 };
    double took_s;
    const int kept = silence_stderr();
    atomic_store(&hangs, true);
    assert_false(answers(&m, "/dead/a.mp4", &took_s));
    restore_stderr(kept);
    mounts_finish(&m);
    assert_int_equal(m.count, 0);
    atomic_store(&hangs, false);
}

// As one that is unmounted and mounted again and again: where its films lie does not change by that.
static void *move_about(void *goes_on)
{
    char here[256], away[256];
    snprintf(here, sizeof(here), "%s", in_folder("films"));
    snprintf(away, sizeof(away), "%s", in_folder("unmounted"));
    while (atomic_load((atomic_bool *) goes_on))
        if (rename(here, away) != 0 || rename(away, here) != 0)
            abort();
    return NULL;
}

static void what_comes_and_goes_is_never_elsewhere(void **state)
{
    (void) state;
    char film[256], root[256];
    snprintf(root, sizeof(root), "%s", in_folder("films"));
    snprintf(film, sizeof(film), "%s", in_folder("films/a.mp4"));
    assert_int_equal(mkdir(root, 0700), 0);
    spill(film, "", 0);
    const char *const media[] = { "/usr", root, NULL };
    struct mounts m = { 0 };
    atomic_bool goes_on = true;
    pthread_t mover;
    int seen[4] = { 0 };
    assert_int_equal(pthread_create(&mover, NULL, move_about, &goes_on), 0);
    const double until = clock_seconds() + 60;
    while ((seen[PLACE_MEDIA] < 1000 || seen[PLACE_MISSING] < 1000) && clock_seconds() < until)
        seen[mounts_place(&m, media, film, 0)]++;
    atomic_store(&goes_on, false);
    pthread_join(mover, NULL);
    assert_true(seen[PLACE_MEDIA] > 0 && seen[PLACE_MISSING] > 0);
    assert_int_equal(seen[PLACE_ELSEWHERE] + seen[PLACE_SILENT], 0);
    mounts_finish(&m);
}

static void links_are_followed(void **state)
{
    (void) state;
    char root[256];
    struct mounts m = { 0 };
    snprintf(root, sizeof(root), "%s", in_folder("archive"));
    const char *const media[] = { root, NULL };
    assert_int_equal(mounts_place(&m, media, "/usr", 0),
                     PLACE_MISSING); // the root is not there
    assert_int_equal(mkdir(root, 0700), 0);
    assert_int_equal(symlink("/usr", in_folder("archive/out")), 0);
    assert_int_equal(symlink(root, in_folder("in")), 0);
    assert_int_equal(mounts_place(&m, media, root, 0), PLACE_MEDIA);
    assert_int_equal(mounts_place(&m, media, in_folder("in"), 0), PLACE_MEDIA);
    assert_int_equal(mounts_place(&m, media, in_folder("in/out/bin"), 0), PLACE_ELSEWHERE);
    assert_int_equal(mounts_place(&m, media, "/usr", 0), PLACE_ELSEWHERE);
    assert_int_equal(mounts_place(&m, media, in_folder("archive2"), 0), PLACE_MISSING);
    assert_int_equal(mounts_place(&m, media, "archive", 0), PLACE_ELSEWHERE); // no whole path
    mounts_finish(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dead_one_is_waited_for_once),
        cmocka_unit_test(who_was_stopped_is_patient),
        cmocka_unit_test(threads_are_bounded),
        cmocka_unit_test(what_is_not_there_is_asked_of_its_folder),
        cmocka_unit_test(nobody_is_waited_for_at_the_end),
        cmocka_unit_test(what_comes_and_goes_is_never_elsewhere),
        cmocka_unit_test(links_are_followed),
    };
    return cmocka_run_group_tests(tests, begin_folder, end_folder);
}
