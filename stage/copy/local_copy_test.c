// Tests of a node's copy: it is the model's file when all of it is right, and nothing
// otherwise.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "stage/copy/local_copy.h"
#include "stage/copy/model_hash.h"

#define BYTES 100000
#define PIECE 7000

static char parent[] = "/tmp/underscore-stage-XXXXXX";
static char folder[64], path[80];
static uint8_t model[BYTES];
static char sha256[MODEL_HASH_TEXT];

static size_t files_in_folder(void)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    for (const struct dirent *entry; d && (entry = readdir(d));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (d)
        closedir(d);
    return n;
}

static enum err bring(struct local_copy *c, size_t bytes)
{
    enum err e = local_copy_begin(c, folder, "model", BYTES);
    for (size_t at = 0; !e && at < bytes; at += PIECE)
        e = local_copy_add(c, model + at, bytes - at < PIECE ? bytes - at : PIECE);
    return e;
}

static void assert_is_the_model(void)
{
    struct buffer b = slurp(path);
    assert_int_equal(b.bytes, BYTES);
    assert_memory_equal(b.data, model, BYTES);
    buffer_free(&b);
    assert_int_equal(files_in_folder(), 1);
}

static void test_a_hash_that_is_known(void **state)
{
    struct model_hash h;
    char text[MODEL_HASH_TEXT];
    (void) state;
    model_hash_begin(&h);
    model_hash_add(&h, (const uint8_t *) "a", 1);
    model_hash_add(&h, (const uint8_t *) "bc", 2);
    model_hash_end(&h, text);
    assert_string_equal(text,
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_a_new_copy(void **state)
{
    struct local_copy c;
    bool was_there;
    uint64_t bytes;
    (void) state;
    assert_false(local_copy_is_there(folder, "model", sha256, &bytes));
    assert_int_equal(bring(&c, BYTES), ERR_OK);
    assert_int_not_equal(access(path, F_OK), 0); // not yet under its name
    assert_int_equal(local_copy_finish(&c, sha256, &was_there), ERR_OK);
    assert_false(was_there);
    assert_is_the_model();
    assert_true(local_copy_is_there(folder, "model", sha256, &bytes));
    assert_int_equal(bytes, BYTES);
    local_copy_discard(&c); // nothing, twice
}

static void test_what_is_there_is_not_written(void **state)
{
    struct local_copy c;
    struct stat before, after;
    bool was_there;
    (void) state;
    spill(path, model, BYTES);
    assert_int_equal(stat(path, &before), 0);
    assert_int_equal(bring(&c, BYTES), ERR_OK);
    assert_int_equal(files_in_folder(), 1);
    assert_int_equal(local_copy_finish(&c, sha256, &was_there), ERR_OK);
    assert_true(was_there);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_is_the_model();
}

// Wherever it begins to differ.
static void test_another_of_that_size_is_replaced(void **state)
{
    static const size_t differs[] = { 0, PIECE - 1, PIECE, 5 * PIECE + 123, BYTES - 1 };
    (void) state;
    for (size_t i = 0; i < sizeof(differs) / sizeof(differs[0]); i++) {
        struct local_copy c;
        bool was_there;
        model[differs[i]] ^= 1;
        spill(path, model, BYTES);
        model[differs[i]] ^= 1;
        assert_int_equal(bring(&c, BYTES), ERR_OK);
        assert_int_equal(local_copy_finish(&c, sha256, &was_there), ERR_OK);
        assert_false(was_there);
        assert_is_the_model();
    }
}

static void test_what_is_wrong_is_not_kept(void **state)
{
    struct local_copy c;
    bool was_there;
    (void) state;
    spill(path, "old", 3);
    const int kept = silence_stderr();
    assert_int_equal(bring(&c, BYTES - 1), ERR_OK);
    assert_int_equal(local_copy_finish(&c, sha256, &was_there), ERR_IO); // not all of it
    model[3] ^= 1;
    assert_int_equal(bring(&c, BYTES), ERR_OK);
    model[3] ^= 1;
    assert_int_equal(local_copy_finish(&c, sha256, &was_there), ERR_IO); // not what was sent
    assert_int_equal(bring(&c, BYTES), ERR_OK);
    assert_int_equal(local_copy_add(&c, model, 1), ERR_IO); // more than there is
    assert_int_equal(bring(&c, BYTES / 2), ERR_OK);
    local_copy_discard(&c); // told to stop
    assert_int_equal(local_copy_begin(&c, path, "model", BYTES),
                     ERR_CREATE); // a file, not a folder
    restore_stderr(kept);
    assert_int_equal(files_in_folder(), 1);
    struct buffer b = slurp(path);
    assert_int_equal(b.bytes, 3);
    buffer_free(&b);
}

// Of a process that was killed; not of one that is at it.
static void test_strays_are_removed(void **state)
{
    struct local_copy c;
    char gone[128], unburied[128], at_it[128];
    siginfo_t died;
    (void) state;
    const pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    const pid_t zombie = fork();
    if (zombie == 0)
        _exit(0);
    waitid(P_PID, (id_t) zombie, &died, WEXITED | WNOWAIT);
    snprintf(unburied, sizeof(unburied), "%s/.model.%ld.part", folder, (long) zombie);
    spill(unburied, "x", 1);
    snprintf(gone, sizeof(gone), "%s/.model.%ld.part", folder, (long) child);
    snprintf(at_it, sizeof(at_it), "%s/.model.%ld.part", folder, (long) getppid());
    spill(gone, "x", 1);
    spill(at_it, "x", 1);
    assert_int_equal(local_copy_begin(&c, folder, "model", BYTES), ERR_OK);
    assert_int_not_equal(access(gone, F_OK), 0);
    assert_int_not_equal(access(unburied, F_OK), 0);
    waitpid(zombie, NULL, 0);
    assert_int_equal(access(at_it, F_OK), 0);
    local_copy_discard(&c);
    unlink(at_it);
}

static int empty(void **state)
{
    (void) state;
    unlink(path);
    return 0;
}

static int begin(void **state)
{
    struct model_hash h;
    (void) state;
    if (!mkdtemp(parent))
        return 1;
    snprintf(folder, sizeof(folder), "%s/a/b", parent); // made by the first copy
    snprintf(path, sizeof(path), "%s/model", folder);
    for (uint32_t i = 0; i < BYTES; i++)
        model[i] = (uint8_t) (i * 2654435761u >> 13);
    model_hash_begin(&h);
    model_hash_add(&h, model, BYTES);
    model_hash_end(&h, sha256);
    return 0;
}

static int end(void **state)
{
    (void) state;
    unlink(path);
    rmdir(folder);
    folder[strlen(folder) - 2] = 0;
    rmdir(folder);
    return rmdir(parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hash_that_is_known),
        cmocka_unit_test_teardown(test_a_new_copy, empty),
        cmocka_unit_test_teardown(test_what_is_there_is_not_written, empty),
        cmocka_unit_test_teardown(test_another_of_that_size_is_replaced, empty),
        cmocka_unit_test_teardown(test_what_is_wrong_is_not_kept, empty),
        cmocka_unit_test_teardown(test_strays_are_removed, empty),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
