// Tests of the shelf: what is in the folders is on it, as long as it is what it was.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "coordinator/shelf/shelf.h"

#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define OF_XYZ "3608bca1e44ea6c4d268eb6db02260269892c0b42b86bbf1e77a6fa16c3c9282"
#define OF_32_MIB "83ee47245398adee79bd9c0a8bc57b821e92aba10f5f9ade8a5d1fae4d8c4302" // of zeros
#define OF_48_MIB "152ba99dbaf6c7dde5955a8484835194ed4fc0f20a0ea774667f148a25cb03c4"

static char folder[] = "/tmp/underscore-shelf-XXXXXX";

static bool comes(struct shelf *s, const char *sha256, bool here)
{
    char path[256];
    uint64_t bytes;
    for (int i = 0; i < 3000; i++) {
        if (shelf_find(s, sha256, path, sizeof(path), &bytes) == here)
            return true;
        usleep(10000);
    }
    return false;
}

static bool comes_alone(struct shelf *s, char sha256[SHELF_SHA256_BYTES])
{
    for (int i = 0; i < 3000; i++) {
        if (shelf_only(s, sha256))
            return true;
        usleep(10000);
    }
    return false;
}

static void test_files_come_change_and_go(void **state)
{
    const char *const folders[] = { "/nobody/there", folder, NULL };
    char a[64], b[64], hidden[64], other[64], found[64], sha256[SHELF_SHA256_BYTES];
    uint64_t bytes = 0;
    struct shelf *s;
    (void) state;
    snprintf(a, sizeof(a), "%s/a.safetensors", folder);
    snprintf(b, sizeof(b), "%s/b.safetensors", folder);
    snprintf(hidden, sizeof(hidden), "%s/.b.safetensors.1.part", folder);
    snprintf(other, sizeof(other), "%s/c.txt", folder);
    spill(a, "abc", 3);
    spill(hidden, "xyz", 3);
    spill(other, "xyz", 3);
    assert_int_equal(shelf_open(&s, folders), ERR_OK);
    assert_true(comes(s, OF_ABC, true));
    assert_true(shelf_find(s, OF_ABC, found, sizeof(found), &bytes));
    assert_string_equal(found, a);
    assert_int_equal(bytes, 3);
    assert_true(comes_alone(s, sha256));
    assert_string_equal(sha256, OF_ABC);
    assert_false(shelf_find(s, OF_XYZ, found, sizeof(found), &bytes));
    assert_false(shelf_find(s, "", found, sizeof(found), &bytes));
    spill(b, "xyz", 3);
    assert_true(comes(s, OF_XYZ, true));
    assert_false(shelf_only(s, sha256));
    spill(a, "xyzz", 4); // another under that name
    assert_true(comes(s, OF_ABC, false));
    unlink(b);
    assert_true(comes(s, OF_XYZ, false));
    shelf_close(&s);
    assert_null(s);
    unlink(a);
    unlink(hidden);
    unlink(other);
}

static void test_one_of_two_is_not_alone_while_the_other_is_hashed(void **state)
{
    const char *const folders[] = { folder, NULL };
    char a[64], b[64], found[64], sha256[SHELF_SHA256_BYTES];
    uint64_t bytes;
    struct shelf *s;
    (void) state;
    snprintf(a, sizeof(a), "%s/a.safetensors", folder);
    snprintf(b, sizeof(b), "%s/b.safetensors", folder);
    spill(a, "", 0);
    spill(b, "", 0);
    assert_int_equal(truncate(a, 32 << 20), 0);
    assert_int_equal(truncate(b, 48 << 20), 0);
    assert_int_equal(shelf_open(&s, folders), ERR_OK);
    for (bool here = false; !here; usleep(1000)) {
        assert_false(shelf_only(s, sha256));
        here = shelf_find(s, OF_32_MIB, found, sizeof(found), &bytes) &&
               shelf_find(s, OF_48_MIB, found, sizeof(found), &bytes);
    }
    assert_false(shelf_only(s, sha256));
    shelf_close(&s);
    unlink(a);
    unlink(b);
}

static void test_none_at_all(void **state)
{
    char text[SHELF_SHA256_BYTES];
    uint64_t bytes;
    struct shelf *s = NULL;
    (void) state;
    assert_false(shelf_only(s, text));
    assert_false(shelf_find(s, OF_ABC, text, sizeof(text), &bytes));
    shelf_close(&s);
}

static int begin(void **state)
{
    (void) state;
    return mkdtemp(folder) ? 0 : 1;
}

static int end(void **state)
{
    (void) state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_come_change_and_go),
        cmocka_unit_test(test_one_of_two_is_not_alone_while_the_other_is_hashed),
        cmocka_unit_test(test_none_at_all),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
