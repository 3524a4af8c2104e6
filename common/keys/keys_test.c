// Key files and lists: what is written is read again, and whatever else lies in a file,
// or may be read or written by others, is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "common/keys/keys.h"

static void write_list(const char *text)
{
    spill(in_folder("list"), text, strlen(text));
    chmod(in_folder("list"), 0644);
}

static enum err read_silently(struct key_list *l)
{
    const int kept = silence_stderr();
    const enum err e = key_list_read(l, in_folder("list"));
    restore_stderr(kept);
    return e;
}

static void test_a_pair_is_read_as_it_was_made(void **state)
{
    (void) state;
    struct key_pair k;
    struct key_entry public;
    struct stat st;
    assert_int_equal(key_generate(test_folder(), "gpu1"), ERR_OK);
    assert_int_equal(stat(in_folder("gpu1.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(key_pair_read(&k, in_folder("gpu1.key")), ERR_OK);
    assert_int_equal(key_public_read(&public, in_folder("gpu1.pub")), ERR_OK);
    assert_string_equal(k.name, "gpu1");
    assert_string_equal(public.name, "gpu1");
    assert_string_equal(public.public_half, k.public_half);
    assert_string_not_equal(k.secret_half, k.public_half);
    const int kept = silence_stderr();
    assert_int_equal(key_generate(test_folder(), "gpu1"), ERR_CREATE);
    assert_int_equal(key_public_read(&public, in_folder("gpu1.key")), ERR_CONFIG);
    assert_int_equal(key_pair_read(&k, in_folder("gpu1.pub")), ERR_CONFIG);
    restore_stderr(kept);
    // One half is left over: the other is not made anew.
    assert_int_equal(unlink(in_folder("gpu1.key")), 0);
    const int again = silence_stderr();
    assert_int_equal(key_generate(test_folder(), "gpu1"), ERR_CREATE);
    restore_stderr(again);
    assert_int_not_equal(access(in_folder("gpu1.key"), F_OK), 0);
}

static void test_a_key_that_others_can_read_is_refused(void **state)
{
    (void) state;
    struct key_pair k;
    assert_int_equal(key_generate(test_folder(), "open"), ERR_OK);
    const int kept = silence_stderr();
    for (mode_t bit = 1; bit <= 040; bit <<= 1) {
        chmod(in_folder("open.key"), 0600 | bit);
        assert_int_equal(key_pair_read(&k, in_folder("open.key")), ERR_CONFIG);
    }
    assert_int_equal(key_pair_read(&k, in_folder("absent.key")), ERR_MISSING);
    assert_int_equal(key_pair_read(&k, "/dev/zero"), ERR_CONFIG);
    assert_int_equal(key_pair_read(&k, test_folder()), ERR_CONFIG);
    restore_stderr(kept);
    chmod(in_folder("open.key"), 0400);
    assert_int_equal(key_pair_read(&k, in_folder("open.key")), ERR_OK);
}

static void test_names(void **state)
{
    (void) state;
    static const char *const good[] = { "a", "gpu-1.example.org", "A_9" };
    static const char *const bad[] = {
        "",         ".",
        "../x",     "a b",
        "a/b",      ".hidden",
        "\xc3\xa4", "0123456789012345678901234567890123456789012345678901234567890123"
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(key_name_is_good(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(key_name_is_good(bad[i]));
}

static void test_a_list_changes(void **state)
{
    (void) state;
    struct key_entry a, b, other;
    struct key_list l;
    assert_int_equal(key_generate(test_folder(), "a"), ERR_OK);
    assert_int_equal(key_generate(test_folder(), "b"), ERR_OK);
    assert_int_equal(key_public_read(&a, in_folder("a.pub")), ERR_OK);
    assert_int_equal(key_public_read(&b, in_folder("b.pub")), ERR_OK);
    unlink(in_folder("list"));
    assert_int_equal(key_list_add(in_folder("list"), &a), ERR_OK);
    assert_int_equal(key_list_add(in_folder("list"), &a), ERR_OK);
    assert_int_equal(key_list_add(in_folder("list"), &b), ERR_OK);
    assert_int_equal(key_list_read(&l, in_folder("list")), ERR_OK);
    assert_int_equal(l.count, 2);
    assert_ptr_equal(key_list_find(&l, a.public_half), key_list_named(&l, "a"));
    key_list_finish(&l);

    const int kept = silence_stderr();
    other = b;
    snprintf(other.name, sizeof(other.name), "c");
    // The same key by another name.
    assert_int_equal(key_list_add(in_folder("list"), &other), ERR_USAGE);
    other = b;
    memcpy(other.public_half, a.public_half, KEY_BYTES);
    // The same name for another key.
    assert_int_equal(key_list_add(in_folder("list"), &other), ERR_USAGE);
    assert_int_equal(key_list_revoke(in_folder("list"), "nobody"), ERR_USAGE);
    restore_stderr(kept);

    assert_int_equal(key_list_revoke(in_folder("list"), "a"), ERR_OK);
    assert_int_equal(key_list_read(&l, in_folder("list")), ERR_OK);
    assert_null(key_list_named(&l, "a"));
    assert_true(key_list_find(&l, a.public_half)->revoked);
    assert_false(key_list_find(&l, b.public_half)->revoked);
    key_list_finish(&l);

    const int again = silence_stderr();
    assert_int_equal(key_list_add(in_folder("list"), &a), ERR_USAGE);
    assert_int_equal(key_list_revoke(in_folder("list"), "a"), ERR_USAGE);
    restore_stderr(again);
    assert_int_equal(key_generate(test_folder(), "fresh"), ERR_OK);
    assert_int_equal(key_public_read(&other, in_folder("fresh.pub")), ERR_OK);
    // A node whose key was revoked gets a new one.
    snprintf(other.name, sizeof(other.name), "a");
    assert_int_equal(key_list_add(in_folder("list"), &other), ERR_OK);
}

#define K "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define L "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

static void test_what_is_no_list(void **state)
{
    (void) state;
    static const char *const bad[] = {
        "allow a",
        "allow a " K " more",
        "permit a " K,
        "allow a/b " K,
        "allow .. " K,
        "allow a " K "\nallow b " K,
        "allow a " K "\nallow a " L,
        "revoked a " K "\nallow a " K,
        "allow a rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf",
        "allow a rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf~",
        "allow a " K "x",
        "allow",
        "\x01\x02",
        "secret a " K,
    };
    struct key_list l;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_list(bad[i]);
        assert_int_equal(read_silently(&l), ERR_CONFIG);
        assert_int_equal(l.count, 0);
    }
    write_list("# who is let in\n\nallow a " K "\r\n  \n#\nrevoked a " L "\n");
    assert_int_equal(read_silently(&l), ERR_OK);
    assert_int_equal(l.count, 2);
    key_list_finish(&l);
    for (mode_t bit = 2; bit <= 020; bit <<= 3) {
        chmod(in_folder("list"), 0644 | bit);
        assert_int_equal(read_silently(&l), ERR_CONFIG);
    }
    unlink(in_folder("list"));
    assert_int_equal(read_silently(&l), ERR_MISSING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pair_is_read_as_it_was_made),
        cmocka_unit_test(test_a_key_that_others_can_read_is_refused),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_a_list_changes),
        cmocka_unit_test(test_what_is_no_list),
    };
    return cmocka_run_group_tests(tests, begin_folder, end_folder);
}
