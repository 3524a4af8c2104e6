// Tests of the map of numbers: against a plain array, through many changes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/id_map.h"

#define IDS 500

static void it_agrees_with_an_array(void **state)
{
    (void) state;
    struct id_map m = { 0 };
    int64_t there[IDS];
    uint64_t x = 1;
    for (size_t i = 0; i < IDS; i++)
        there[i] = -1;
    assert_int_equal(id_map_find(&m, 7), -1);
    id_map_remove(&m, 7);
    for (int turn = 0; turn < 200000; turn++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        const size_t i = (size_t) (x >> 33) % IDS;
        // Some are counted up, some negative, some alike in their low half.
        const uint64_t id = i % 3 == 0 ? i : i % 3 == 1 ? -(uint64_t) i : (uint64_t) i << 32;
        if ((x >> 20) % 3) {
            assert_int_equal(id_map_reserve(&m, m.count + 1), ERR_OK);
            id_map_put(&m, id, (size_t) turn);
            there[i] = turn;
        } else {
            id_map_remove(&m, id);
            there[i] = -1;
        }
        assert_int_equal(id_map_find(&m, id), there[i]);
    }
    size_t count = 0;
    for (size_t i = 0; i < IDS; i++) {
        const uint64_t id = i % 3 == 0 ? i : i % 3 == 1 ? -(uint64_t) i : (uint64_t) i << 32;
        assert_int_equal(id_map_find(&m, id), there[i]);
        count += there[i] >= 0;
    }
    assert_int_equal(m.count, count);
    id_map_finish(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(it_agrees_with_an_array) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
