// Tests of the fleet on a clock of their own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/fleet/fleet.h"

static size_t joined(struct fleet *f, const char *name, uint64_t incarnation, double now)
{
    size_t place;
    const struct fleet_hello h = { .name = name,
                                   .device = "gpu",
                                   .vendor = "v",
                                   .driver = "d",
                                   .software = "s",
                                   .model = "m",
                                   .incarnation = incarnation,
                                   .slots = 4 };
    assert_int_equal(fleet_join(f, &h, now, &place), ERR_OK);
    return place;
}

static void a_worker_comes_and_goes(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 7, 0);
    assert_int_equal(f.workers[a].state, WORKER_JOINING);
    assert_false(fleet_may_work(&f.workers[a]));
    fleet_pull(&f, a, 3, 0.1);
    assert_true(fleet_may_work(&f.workers[a]));
    assert_int_equal(fleet_find(&f, 7), a);
    assert_int_equal(fleet_find(&f, 8), -1);
    fleet_goodbye(&f, a);
    assert_int_equal(f.workers[a].state, WORKER_OFFLINE);
    assert_int_equal(fleet_find(&f, 7), -1);
    assert_int_equal(fleet_tick(&f, 1000), -1);    // who has said goodbye is not lost
    assert_int_equal(joined(&f, "a", 8, 1000), a); // its place is kept
    fleet_finish(&f);
}

static void who_has_been_gone_for_a_day_makes_room(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0), b = joined(&f, "b", 2, 0),
                 c = joined(&f, "c", 3, 0);
    fleet_drain(&f, a, true); // an operator's word is kept
    f.workers[b].held = 1;    // it has something that has not ended
    fleet_goodbye(&f, a), fleet_goodbye(&f, b), fleet_goodbye(&f, c);
    assert_int_equal(joined(&f, "d", 4, 86400), 3);
    fleet_trouble(&f, c, 0, 0);
    assert_int_equal(joined(&f, "e", 5, 86401), c);
    assert_string_equal(f.workers[c].name, "e");
    assert_int_equal(f.workers[c].troubles, 0);
    assert_int_equal(fleet_find(&f, 5), c);
    assert_int_equal(fleet_find_name(&f, "c"), -1);
    assert_int_equal(joined(&f, "g", 6, 90000), 4); // nobody else is forgotten
    assert_int_equal(f.count, 5);
    fleet_finish(&f);
}

static void who_is_silent_is_suspected_and_then_lost(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0), b = joined(&f, "b", 2, 0);
    fleet_pull(&f, a, 1, 0), fleet_pull(&f, b, 1, 0);
    assert_int_equal(fleet_tick(&f, 2.9), -1);
    assert_int_equal(f.workers[a].state, WORKER_READY);
    fleet_beat(&f, b, 1, 0, 3);
    assert_int_equal(fleet_tick(&f, 3.1), -1);
    assert_int_equal(f.workers[a].state, WORKER_SUSPECT);
    assert_int_equal(f.workers[b].state, WORKER_READY);
    assert_false(fleet_may_work(&f.workers[a]));
    fleet_beat(&f, a, 1, 0, 29);
    assert_int_equal(f.workers[a].state, WORKER_READY);
    fleet_beat(&f, a, 2, 0, 40);
    assert_int_equal(fleet_tick(&f, 40), b);  // silent since 3
    assert_int_equal(fleet_tick(&f, 40), -1); // said once
    assert_int_equal(f.workers[b].state, WORKER_LOST);
    assert_int_equal(joined(&f, "b", 3, 41), b);
    assert_int_equal(f.workers[b].state, WORKER_JOINING);
    fleet_finish(&f);
}

static void progress_is_not_liveness(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    assert_true(fleet_beat(&f, a, 5, 0, 1));
    assert_false(fleet_beat(&f, a, 5, 0, 2)); // alive, but stuck
    assert_true(fleet_beat(&f, a, 6, 2.5, 3));
    assert_true(f.workers[a].rate == 2.5);
    fleet_beat(&f, a, 7, 0, 4); // not measured again: what is known stays
    assert_true(f.workers[a].rate == 2.5);
    fleet_finish(&f);
}

static void three_failures_in_a_row_are_quarantine(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    fleet_pull(&f, a, 1, 0);
    assert_false(fleet_trouble(&f, a, 0, 1));
    assert_false(fleet_trouble(&f, a, 1, 2));
    fleet_success(&f, a); // the row ends
    assert_false(fleet_trouble(&f, a, 2, 3));
    assert_false(fleet_trouble(&f, a, 3, 4));
    assert_true(fleet_may_work(&f.workers[a]));
    assert_true(fleet_trouble(&f, a, 4, 5));
    assert_false(fleet_trouble(&f, a, 5, 6)); // said once
    assert_false(fleet_may_work(&f.workers[a]));
    joined(&f, "a", 2, 5); // starting anew does not help
    fleet_pull(&f, a, 1, 5);
    assert_false(fleet_may_work(&f.workers[a]));
    fleet_quarantine(&f, a, false);
    assert_true(fleet_may_work(&f.workers[a]));
    fleet_finish(&f);
}

static void what_fails_together_is_one_failure(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    fleet_pull(&f, a, 8, 0);
    for (int granted_s = 0; granted_s < 8; granted_s++) // all had before the GPU was lost
        assert_false(fleet_trouble(&f, a, granted_s, 10));
    assert_false(fleet_trouble(&f, a, 9, 11));
    assert_int_equal(f.workers[a].troubles, 1);
    assert_int_equal(f.workers[a].failed, 9);
    assert_false(fleet_trouble(&f, a, 11, 12));
    assert_true(fleet_trouble(&f, a, 12, 13));
    fleet_finish(&f);
}

static void who_lets_leases_end_rests(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    fleet_pull(&f, a, 4, 0);
    assert_false(fleet_hung(&f, a, 0, 30) || fleet_hung(&f, a, 1, 30)); // two at once are one
    assert_false(fleet_hung(&f, a, 31, 61));
    fleet_success(&f, a); // the row ends
    for (int k = 0; k < 2; k++)
        assert_false(fleet_hung(&f, a, 62 + 30 * k, 92 + 30 * k));
    assert_true(fleet_hung(&f, a, 123, 200));
    assert_int_equal(f.workers[a].state, WORKER_RESTING);
    assert_false(fleet_hung(&f, a, 201, 201)); // said once
    fleet_beat(&f, a, 1, 0, 499.9);
    assert_false(fleet_may_work(&f.workers[a]));
    assert_int_equal(fleet_tick(&f, 505), -1); // missed no sooner than others
    fleet_beat(&f, a, 1, 0, 505);
    assert_true(fleet_may_work(&f.workers[a]));
    static const int rests[] = { 1200, 2400, 3600, 3600 }; // four were in a row already
    double now = 540;
    for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++) {
        assert_true(fleet_hung(&f, a, now - 30, now));
        now += rests[i];
        fleet_beat(&f, a, 1, 0, now - 0.1);
        assert_int_equal(f.workers[a].state, WORKER_RESTING);
        fleet_beat(&f, a, 1, 0, now);
        assert_int_equal(f.workers[a].state, WORKER_READY);
        now += 30;
    }
    fleet_finish(&f);
}

static void a_rest_ends_early(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    fleet_pull(&f, a, 4, 0);
    for (int how = 0, now = 0; how < 4; how++) {
        for (int k = 0; k < 3; k++, now += 30)
            assert_int_equal(fleet_hung(&f, a, now + 1, now + 30), k == 2);
        if (how == 0)
            fleet_success(&f, a); // it was only late
        else if (how == 1)
            fleet_quarantine(&f, a, false); // released
        else if (how == 2)
            joined(&f, "a", 2, now); // started anew
        else
            fleet_drain(&f, a, true);
        fleet_beat(&f, a, 1, 0, now);
        assert_int_equal(f.workers[a].state, how < 3 ? WORKER_READY : WORKER_RESTING);
    }
    fleet_beat(&f, a, 1, 0, 9000);
    assert_int_equal(f.workers[a].state, WORKER_QUIET); // drained meanwhile
    fleet_finish(&f);
}

static void a_restart_is_noticed(void **state)
{
    (void) state;
    struct fleet f;
    size_t place;
    fleet_init(&f, 1, 30);
    const size_t a = joined(&f, "a", 1, 0);
    struct fleet_hello h = { .name = "a",
                             .device = "",
                             .vendor = "",
                             .driver = "",
                             .software = "",
                             .model = "",
                             .incarnation = 1,
                             .slots = 1 };
    assert_int_equal(fleet_join(&f, &h, 1, &place), ERR_OK);
    assert_false(fleet_is_replaced(&f, 1)); // the same start says hello again
    h.incarnation = 2;
    assert_int_equal(fleet_join(&f, &h, 2, &place), ERR_OK);
    assert_true(place == a);
    assert_true(fleet_is_replaced(&f, 1) && !fleet_is_replaced(&f, 2) &&
                !fleet_is_replaced(&f, 0));
    fleet_pull(&f, a, 1, 2);
    fleet_drain(&f, a, true);
    assert_int_equal(f.workers[a].state, WORKER_QUIET);
    assert_false(fleet_may_work(&f.workers[a]));
    assert_int_equal(fleet_join(&f, &h, 3, &place), ERR_OK);
    assert_int_equal(f.workers[a].state, WORKER_QUIET); // a hello does not undo that
    fleet_finish(&f);
}

static void what_an_operator_says_of_a_name_stays(void **state)
{
    (void) state;
    struct fleet f;
    fleet_init(&f, 1, 30);
    assert_int_equal(fleet_know(&f, "a", true, false), ERR_OK); // before it has been here
    assert_int_equal(fleet_know(&f, "b", false, true), ERR_OK);
    const size_t a = joined(&f, "a", 1, 0), b = joined(&f, "b", 2, 0);
    assert_int_equal(f.count, 2);
    fleet_pull(&f, a, 1, 0), fleet_pull(&f, b, 1, 0);
    assert_int_equal(f.workers[a].state, WORKER_QUIET);
    assert_int_equal(f.workers[b].state, WORKER_READY);
    assert_false(fleet_may_work(&f.workers[a]) || fleet_may_work(&f.workers[b]));
    assert_int_equal(fleet_tick(&f, 4), -1);
    assert_int_equal(f.workers[a].state, WORKER_SUSPECT); // quiet ones are missed, too
    fleet_beat(&f, a, 1, 0, 4);
    assert_int_equal(f.workers[a].state, WORKER_QUIET);
    assert_int_equal(joined(&f, "a", 3, 5), a); // nor does starting anew help
    fleet_beat(&f, a, 1, 0, 5);
    assert_false(fleet_may_work(&f.workers[a]));
    fleet_drain(&f, a, false);
    assert_true(fleet_may_work(&f.workers[a]));
    fleet_quarantine(&f, b, false);
    fleet_beat(&f, b, 1, 0, 5);
    assert_true(fleet_may_work(&f.workers[b]));
    fleet_goodbye(&f, b);
    fleet_drain(&f, b, true); // while it is away
    assert_int_equal(f.workers[b].state, WORKER_OFFLINE);
    joined(&f, "b", 4, 6);
    assert_int_equal(f.workers[b].state, WORKER_QUIET);
    fleet_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_comes_and_goes),
        cmocka_unit_test(who_has_been_gone_for_a_day_makes_room),
        cmocka_unit_test(who_is_silent_is_suspected_and_then_lost),
        cmocka_unit_test(progress_is_not_liveness),
        cmocka_unit_test(three_failures_in_a_row_are_quarantine),
        cmocka_unit_test(what_fails_together_is_one_failure),
        cmocka_unit_test(who_lets_leases_end_rests),
        cmocka_unit_test(a_rest_ends_early),
        cmocka_unit_test(a_restart_is_noticed),
        cmocka_unit_test(what_an_operator_says_of_a_name_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
