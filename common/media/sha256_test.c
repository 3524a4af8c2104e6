// Tests of sha256: what is mapped is what counts.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "common/media/sha256.h"

#define OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-2
#define OF_NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void known_sums(void **state)
{
    (void) state;
    char sum[SHA256_TEXT_BYTES];
    spill(in_folder("abc"), "abc", 3);
    spill(in_folder("empty"), "", 0);
    assert_int_equal(sha256_file(sum, in_folder("abc")), ERR_OK);
    assert_string_equal(sum, OF_ABC);
    assert_int_equal(sha256_file(sum, in_folder("empty")), ERR_OK);
    assert_string_equal(sum, OF_NOTHING);
}

static void a_file_replaced_after_it_was_mapped(void **state)
{
    (void) state;
    struct file_map m;
    char sum[SHA256_TEXT_BYTES];
    spill(in_folder("model"), "abc", 3);
    assert_int_equal(file_map(&m, in_folder("model")), ERR_OK);
    spill(in_folder("other"), "xyz", 3);
    assert_int_equal(rename(in_folder("other"), in_folder("model")), 0);
    sha256_mapped(sum, &m);
    assert_string_equal(sum, OF_ABC);
    file_unmap(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums),
        cmocka_unit_test(a_file_replaced_after_it_was_mapped),
    };
    return cmocka_run_group_tests(tests, begin_folder, end_folder);
}
