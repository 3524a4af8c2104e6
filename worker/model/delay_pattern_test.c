// Tests of the delay pattern, with the published delays and with others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/model/delay_pattern.h"

static const struct lm_config published = { .card = 64,
                                            .codebooks = 4,
                                            .delays = { 0, 1, 2, 3 } };
static const struct lm_config flat = { .card = 9, .codebooks = 3 };
static const struct lm_config steep = { .card = 100, .codebooks = 3, .delays = { 0, 5, 5 } };

static void lays_the_published_pattern(void **state)
{
    (void) state;
    static const int32_t codes[] = { 10, 11, 20, 21, 30, 31, 40, 41 }; // [4][2]
    const uint32_t u = TOKEN_UNKNOWN, x = 64;
    const uint32_t want[4][7] = {
        { x, 10, 11, u, x, x, x },
        { x, x, 20, 21, u, x, x },
        { x, x, x, 30, 31, u, x },
        { x, x, x, x, 40, 41, u },
    };
    assert_int_equal(delay_steps(&published, 3), 7);
    uint32_t got[4 * 8];
    delay_apply(&published, codes, 2, 3, 7, got, 8);
    for (uint32_t k = 0; k < 4; k++)
        assert_memory_equal(got + k * 8, want[k], sizeof(want[k]));
}

static void counts_complete_columns(void **state)
{
    (void) state;
    assert_int_equal(delay_columns(&published, 10, 0), 0);
    assert_int_equal(delay_columns(&published, 10, 3), 0);
    assert_int_equal(delay_columns(&published, 10, 4), 1);
    assert_int_equal(delay_columns(&published, 10, 13), 10);
    assert_int_equal(delay_columns(&flat, 10, 1), 1);
    assert_int_equal(delay_columns(&steep, 2, 50), 2);
}

static void reverts_what_it_applied(void **state)
{
    (void) state;
    static const struct lm_config *const configs[] = { &published, &flat, &steep };
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t columns = 1; columns <= 12; columns++) {
            const struct lm_config *c = configs[i];
            const uint32_t steps = delay_steps(c, columns);
            int32_t codes[4 * 12], back[4 * 12];
            uint32_t sequence[4 * 32];
            for (uint32_t j = 0; j < c->codebooks * columns; j++)
                codes[j] = (int32_t) (j % c->card);
            delay_apply(c, codes, columns, columns, steps, sequence, 32);
            assert_int_equal(delay_columns(c, columns, steps - 1), columns);
            delay_revert(c, sequence, 32, columns, back);
            assert_memory_equal(codes, back, c->codebooks * columns * sizeof(*codes));
        }
}

static void training_cuts_the_tail(void **state)
{
    (void) state;
    static const int32_t codes[] = { 1, 2, 3, 4, 5, 6 }; // [3][2], delays 0
    uint32_t got[3 * 3];
    delay_apply(&flat, codes, 2, 2, 3, got, 3);
    static const uint32_t want[] = { 9, 1, 2, 9, 3, 4, 9, 5, 6 };
    assert_memory_equal(got, want, sizeof(want));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lays_the_published_pattern),
        cmocka_unit_test(counts_complete_columns),
        cmocka_unit_test(reverts_what_it_applied),
        cmocka_unit_test(training_cuts_the_tail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
