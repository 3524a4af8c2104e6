// Tests of starting workers: when, how many, and how often after failures; and of the command.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "coordinator/elastic/elastic.h"
#include "coordinator/elastic/start_command.h"

static const struct elastic_rules rules = {
    .most = 3, .after_s = 30, .pause_s = 60, .patience_s = 600
};

static bool wants(struct elastic *e, bool waits, uint32_t workers, double now)
{
    return elastic_wants(e, &rules,
                         &(struct elastic_facts){ .waits = waits, .workers = workers }, now);
}

static void test_only_what_has_waited(void **state)
{
    struct elastic e = { 0 };
    (void) state;
    assert_false(wants(&e, false, 0, 1000));
    assert_false(wants(&e, true, 0, 1010));
    assert_false(wants(&e, true, 0, 1039.9));
    assert_false(wants(&e, false, 0, 1039.95)); // somebody took it
    assert_false(wants(&e, true, 0, 1040));
    assert_false(wants(&e, true, 0, 1069.9));
    assert_true(wants(&e, true, 0, 1070));
}

static void test_no_more_than_the_most(void **state)
{
    struct elastic e = { 0 };
    (void) state;
    assert_false(wants(&e, true, 1, 0));
    assert_true(wants(&e, true, 1, 100));
    elastic_started(&e, &rules, 100);
    elastic_succeeded(&e);
    assert_false(wants(&e, true, 1, 159)); // the pause
    assert_true(wants(&e, true, 1, 160));
    elastic_started(&e, &rules, 160);
    assert_false(wants(&e, true, 1, 500)); // one is there, two are on their way
    assert_false(wants(&e, true, 2, 501)); // two and one
    assert_false(wants(&e, true, 3, 502));
    assert_true(wants(&e, true, 2, 503)); // one has left
    elastic_started(&e, &rules, 503);
    assert_false(wants(&e, true, 2, 1102));
    assert_true(wants(&e, true, 2, 1104)); // it did not come, and will not
}

static void test_none_at_all(void **state)
{
    struct elastic e = { 0 };
    struct elastic_rules none = rules;
    (void) state;
    none.most = 0;
    for (int now = 0; now < 1000; now += 10)
        assert_false(elastic_wants(&e, &none, &(struct elastic_facts){ .waits = true }, now));
}

static void test_not_while_one_is_running(void **state)
{
    struct elastic e = { 0 };
    (void) state;
    assert_false(wants(&e, true, 0, 0));
    assert_false(elastic_wants(&e, &rules,
                               &(struct elastic_facts){ .waits = true, .running = true }, 100));
    assert_true(wants(&e, true, 0, 101));
}

// 2, 4, 8, ... pauses, an hour at most; a success ends that.
static void test_failures_are_backed_off(void **state)
{
    struct elastic e = { 0 };
    double now = 100, pause = 60;
    (void) state;
    assert_false(wants(&e, true, 0, 0));
    for (int i = 0; i < 40; i++) {
        assert_true(wants(&e, true, 0, now));
        elastic_started(&e, &rules, now);
        elastic_failed(&e, &rules, now + 1);
        pause = pause * 2 < ELASTIC_MOST_PAUSE_S ? pause * 2 : ELASTIC_MOST_PAUSE_S;
        assert_false(wants(&e, true, 0, now + 0.9 + pause));
        now += 1 + pause;
    }
    assert_true(wants(&e, true, 0, now));
    elastic_started(&e, &rules, now);
    elastic_succeeded(&e);
    assert_true(wants(&e, true, 0, now + 60));
}

static void run(const char *command, char *why, size_t room, double later)
{
    struct start_command c = { 0 };
    assert_false(start_command_ended(&c, 0, why, room));
    assert_int_equal(start_command_run(&c, command, 0), ERR_OK);
    assert_true(c.pid > 0);
    for (int i = 0; i < 3000 && !start_command_ended(&c, later, why, room); i++)
        usleep(10000);
    assert_int_equal(c.pid, 0);
}

static void test_how_commands_end(void **state)
{
    char why[64];
    (void) state;
    run("exit 0", why, sizeof(why), 1);
    assert_string_equal(why, "");
    run("test ! -t 0 && test ! -e /proc/self/fd/7", why, sizeof(why), 1);
    assert_string_equal(why, "");
    run("exit 3", why, sizeof(why), 1);
    assert_string_equal(why, "it ended with status 3");
    run("kill -9 $$", why, sizeof(why), 1);
    assert_string_equal(why, "signal 9 ended it");
    run("exec sleep 100", why, sizeof(why), START_COMMAND_LONGEST_S + 1);
    assert_string_equal(why, "it took longer than 120 s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_has_waited),
        cmocka_unit_test(test_no_more_than_the_most),
        cmocka_unit_test(test_none_at_all),
        cmocka_unit_test(test_not_while_one_is_running),
        cmocka_unit_test(test_failures_are_backed_off),
        cmocka_unit_test(test_how_commands_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
