// Tests of weight: who is named, and what is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/schedule/weight.h"

static void whoever_is_named_has_it(void **state)
{
    (void) state;
    static const char *const list[] = { "archive=3", "a=b=0.5", "archive=2.5", "=4", NULL };
    assert_true(weight_of(list, "archive") == 2.5);
    assert_true(weight_of(list, "a=b") == 0.5);
    assert_true(weight_of(list, "arch") == 1);
    assert_true(weight_of(list, "archives") == 1);
    assert_true(weight_of(list, "") == 1);
    assert_true(weight_of(NULL, "archive") == 1);
}

static void anything_else_is_refused(void **state)
{
    (void) state;
    static const char *const bad[] = {
        "",           "=",         "=2",         "archive",     "archive=",    "archive=x",
        "archive=2x", "archive=0", "archive=-1", "archive=nan", "archive=inf", "archive=1001"
    };
    char why[128];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(weight_check(bad[i], why, sizeof(why)));
        assert_non_null(strstr(why, "OWNER=WEIGHT"));
    }
    assert_true(weight_check("archive=1000", why, sizeof(why)));
    assert_true(weight_check("a=b=0.001", why, sizeof(why)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_is_named_has_it),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
