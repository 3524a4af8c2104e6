// How long what failed is tried again, on a clock of our own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/children/patience.h"

static void test_a_disk_that_fails_is_given_up(void **state)
{
    (void) state;
    static const double waits[] = { 5, 10, 20, 40, 80, 160, 320, 600, 600 };
    struct patience p = { 0 };
    double now = 1000;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        assert_true(patience_fail(&p, ERR_IO, now));
        assert_true(p.not_before_s - now >= waits[i] && p.not_before_s - now <= waits[i]);
        now = p.not_before_s;
    }
    assert_false(patience_fail(&p, ERR_IO, now));
    assert_true(now - 1000 < 3600); // an operator hears of it within the hour
}

static void test_a_full_disk_is_waited_for(void **state)
{
    (void) state;
    struct patience p = { 0 };
    assert_true(patience_fail(&p, ERR_NOMEM, 0));
    for (int i = 0; i < 10000; i++) {
        assert_true(patience_fail(&p, ERR_FULL, i));
        assert_true(p.not_before_s <= i + PATIENCE_FIRST_S);
    }
    assert_true(patience_fail(&p, ERR_IO, 0)); // and has not used up what others have
    assert_true(p.not_before_s >= 10 && p.not_before_s <= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_disk_that_fails_is_given_up),
        cmocka_unit_test(test_a_full_disk_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
