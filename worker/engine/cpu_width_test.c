// Tests of cpu_width: who has chosen is left alone, and no version but the one it is for keeps it.
#include "worker/engine/cpu_width.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define VARIABLE "LP_NATIVE_VECTOR_WIDTH"

static void what_the_user_sets_stays(void **state)
{
    (void) state;
    setenv(VARIABLE, "128", 1);
    cpu_width_ask();
    assert_string_equal(getenv(VARIABLE), "128");
    assert_false(cpu_width_is_wrong("llvmpipe Mesa 25.0.7-2 (LLVM 19.1.7)"));
}

static void other_versions_do_not_keep_it(void **state)
{
    (void) state;
    unsetenv(VARIABLE);
    cpu_width_ask();
    if (!getenv(VARIABLE))
        skip(); // no such processor
    assert_string_equal(getenv(VARIABLE), "512");
    cpu_width_ask(); // the next instance: what it finds is ours
    assert_false(cpu_width_is_wrong("llvmpipe Mesa 22.3.6 (LLVM 15.0.6)"));
    assert_false(cpu_width_is_wrong("NVIDIA 535.183.01"));
    assert_false(cpu_width_is_wrong("radv Mesa 25.0.7-2"));
    assert_true(cpu_width_is_wrong("llvmpipe Mesa 25.0.7-2 (LLVM 19.1.7)"));
    assert_true(cpu_width_is_wrong("llvmpipe Mesa 22.2.5 (LLVM 15.0.6)"));
    cpu_width_withdraw();
    assert_null(getenv(VARIABLE));
    assert_false(cpu_width_is_wrong("llvmpipe Mesa 25.0.7-2 (LLVM 19.1.7)"));
}

static void a_width_withdrawn_is_not_asked_for_again(void **state)
{
    (void) state;
    unsetenv(VARIABLE);
    cpu_width_ask();
    cpu_width_withdraw();
    cpu_width_ask();
    assert_null(getenv(VARIABLE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_user_sets_stays),
        cmocka_unit_test(other_versions_do_not_keep_it),
        cmocka_unit_test(a_width_withdrawn_is_not_asked_for_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
