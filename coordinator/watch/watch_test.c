// Films that appear, grow, change and go, on a clock of our own.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "coordinator/watch/watch.h"

#define SETTLE 10

static void put(const char *name, const char *text)
{
    spill(in_folder(name), text, strlen(text));
}

// The names that can be taken at `now`, in a line.
static const char *taken(struct watch *w, double now)
{
    static char names[512];
    const char *const folders[] = { test_folder(), NULL };
    names[0] = 0;
    assert_int_equal(watch_scan(w, folders, NULL, NULL, now), ERR_OK);
    for (const struct watched_file *f; (f = watch_take(w, SETTLE, now));) {
        strcat(names, strrchr(f->path, '/') + 1);
        strcat(names, " ");
    }
    return names;
}

static void test_only_what_has_settled_and_once(void **state)
{
    (void) state;
    struct watch w = { 0 };
    put("a.mp4", "12");
    assert_string_equal(taken(&w, 100), "");
    put("a.mp4", "123"); // still being copied
    assert_string_equal(taken(&w, 109), "");
    assert_string_equal(taken(&w, 118.9), "");
    assert_string_equal(taken(&w, 119), "a.mp4 ");
    assert_string_equal(taken(&w, 200), "");
    put("a.mp4", "another film of that name");
    assert_string_equal(taken(&w, 300), "");
    assert_string_equal(taken(&w, 310), "a.mp4 ");
    unlink(in_folder("a.mp4"));
    assert_string_equal(taken(&w, 320), "");
    assert_int_equal(w.count, 0);
    put("a.mp4", "another film of that name"); // gone and there again: it is new
    assert_string_equal(taken(&w, 330), "");
    assert_string_equal(taken(&w, 340), "a.mp4 ");
    unlink(in_folder("a.mp4"));
    watch_finish(&w);
}

static void test_what_is_no_film(void **state)
{
    (void) state;
    struct watch w = { 0 };
    put("notes.txt", "x");
    put(".hidden.mp4", "x");
    put("mp4", "x");
    put(".mp4", "x");
    put("empty.mkv", ""); // its copying has hardly begun
    put("UPPER.MKV", "x");
    assert_int_equal(mkdir(in_folder("folder.mp4"), 0700), 0);
    assert_int_equal(symlink("/etc/passwd", in_folder("link.mp4")), 0);
    assert_string_equal(taken(&w, 0), "");
    assert_string_equal(taken(&w, 100), "UPPER.MKV ");
    watch_finish(&w);
}

static void test_many_and_a_folder_that_is_not_there(void **state)
{
    (void) state;
    struct watch w = { 0 };
    char name[32];
    const char *const folders[] = { "/nowhere/at/all", test_folder(), NULL };
    size_t count = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "f%d.mov", i);
        put(name, "x");
    }
    const int kept = silence_stderr();
    assert_int_equal(watch_scan(&w, folders, NULL, NULL, 0), ERR_OK);
    assert_int_equal(watch_scan(&w, folders, NULL, NULL, 20), ERR_OK);
    restore_stderr(kept);
    while (watch_take(&w, SETTLE, 20))
        count++;
    assert_int_equal(count, 201); // UPPER.MKV of before
    watch_finish(&w);
}

static double used_s(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double) r.ru_utime.tv_sec + (double) r.ru_utime.tv_usec / 1e6;
}

// So many first scans of so many new films.
static double scanning_s(int films, int times)
{
    struct watch w = { 0 };
    char name[32];
    // One of them too many.
    const char *const folders[] = { test_folder(), test_folder(), NULL };
    assert_int_equal(watch_scan(&w, folders, NULL, NULL, 0), ERR_OK);
    const size_t before = w.count;
    for (int i = 0; i < films; i++) {
        snprintf(name, sizeof(name), "many-%d.mp4", i * 7919 % films);
        put(name, "1");
    }
    const double begin_s = used_s();
    for (int i = 0; i < times; i++) {
        watch_finish(&w);
        assert_int_equal(watch_scan(&w, folders, NULL, NULL, i), ERR_OK);
        assert_int_equal(w.count, before + (size_t) films);
    }
    const double took_s = used_s() - begin_s;
    for (int i = 0; i < films; i++) {
        snprintf(name, sizeof(name), "many-%d.mp4", i);
        unlink(in_folder(name));
    }
    assert_int_equal(watch_scan(&w, folders, NULL, NULL, times), ERR_OK);
    assert_int_equal(w.count, before);
    watch_finish(&w);
    return took_s;
}

// An archive that is put there at once: the coordinator does nothing else meanwhile. Each
// looked for among all would be ten times as much work.
static void test_an_archive(void **state)
{
    (void) state;
    const double few = scanning_s(500, 200), many = scanning_s(5000, 20);
    print_message("100,000 films, 5,000 at a time, took %.2f times what 500 at a time take\n",
                  many / few);
    assert_true(many < 4 * few);
}

static bool is_alive(void *user, const char *folder)
{
    (void) folder;
    return *(const bool *) user;
}

static void test_a_folder_that_does_not_answer_has_what_it_had(void **state)
{
    (void) state;
    struct watch w = { 0 };
    const char *const folders[] = { test_folder(), NULL };
    bool alive = true;
    put("a.mp4", "12");
    assert_int_equal(watch_scan(&w, folders, is_alive, &alive, 100), ERR_OK);
    alive = false;
    put("b.mp4", "12");
    assert_int_equal(watch_scan(&w, folders, is_alive, &alive, 100 + SETTLE), ERR_OK);
    assert_int_equal(w.count, 1);
    assert_non_null(watch_take(&w, SETTLE, 100 + SETTLE)); // since 100
    alive = true;
    assert_int_equal(watch_scan(&w, folders, is_alive, &alive, 200), ERR_OK);
    assert_int_equal(w.count, 2);
    assert_null(watch_take(&w, SETTLE, 200)); // a.mp4 is the one that was taken
    unlink(in_folder("a.mp4"));
    unlink(in_folder("b.mp4"));
    watch_finish(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_that_does_not_answer_has_what_it_had),
        cmocka_unit_test(test_only_what_has_settled_and_once),
        cmocka_unit_test(test_what_is_no_film),
        cmocka_unit_test(test_many_and_a_folder_that_is_not_there),
        cmocka_unit_test(test_an_archive),
    };
    return cmocka_run_group_tests(tests, begin_folder, end_folder);
}
