// Tests of what a worker's beats are believed. Everything else that the foreman does is played
// through by tests/simulation.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "coordinator/foreman/foreman.h"

#define LEASE_S 30.0

// One worker, and one job of one segment, which is leased to it.
struct farm {
    struct foreman foreman;
    struct ledger *ledger;
    struct fleet fleet;
    struct schedule schedule;
    size_t worker;
    int64_t attempt;
    unsigned told; // of the lease
    unsigned lost;
};

static void on_lease(void *user, const struct work_lease *l)
{
    struct farm *farm = user;
    farm->attempt = l->attempt;
    farm->told++;
}

static void on_ended(void *user, enum outcome why, double music_s, double gpu_s, double now)
{
    struct farm *farm = user;
    (void) music_s, (void) gpu_s, (void) now;
    assert_int_equal(why, OUTCOME_LOST);
    farm->lost++;
}

static int64_t plan_one(struct ledger *l)
{
    int64_t job;
    bool existed;
    const struct ledger_submission s = {
        .film = "/films/a.mkv",
        .output = "/out/a.mkv",
        .owner = "ada",
        .model = "",
        .identity = "a",
        .request = "request",
        .request_bytes = 7,
    };
    assert_int_equal(ledger_submit(l, &s, 0, &job, &existed), ERR_OK);
    assert_int_equal(ledger_move_job(l, job, JOB_PROBING, NULL, 0), ERR_OK);
    assert_int_equal(
        ledger_plan(l, job, 30000, 1, &(struct ledger_planned){ 0, 0, 30000, 30000 }, 1),
        ERR_OK);
    return job;
}

static void begin(struct farm *farm, double now)
{
    static const struct foreman_hooks hooks = { .lease = on_lease, .ended = on_ended };
    *farm = (struct farm){ 0 };
    unlink(in_folder("ledger.db"));
    assert_int_equal(ledger_open(&farm->ledger, in_folder("ledger.db")), ERR_OK);
    schedule_init(&farm->schedule, LEASE_S);
    fleet_init(&farm->fleet, 1, LEASE_S);
    farm->foreman = (struct foreman){ .ledger = farm->ledger,
                                      .fleet = &farm->fleet,
                                      .schedule = &farm->schedule,
                                      .hooks = &hooks,
                                      .user = farm };
    const struct fleet_hello hello = { .name = "w",
                                       .device = "",
                                       .vendor = "",
                                       .driver = "",
                                       .software = "",
                                       .model = "m",
                                       .slots = 1,
                                       .incarnation = 1 };
    assert_int_equal(fleet_join(&farm->fleet, &hello, now, &farm->worker), ERR_OK);
    fleet_pull(&farm->fleet, farm->worker, 1, now);
    struct work_job job = { .id = plan_one(farm->ledger), .model = "m", .count = 1 };
    assert_int_equal(schedule_owner(&farm->schedule, "ada", 1, 0, &job.owner), ERR_OK);
    assert_int_equal(foreman_mirror(&farm->foreman, job.id, 1, &job.segments), ERR_OK);
    job.segments[0].frames = FRAMES_THERE;
    assert_int_equal(schedule_add(&farm->schedule, &job), ERR_OK);
    assert_int_equal(foreman_dispatch(&farm->foreman, now), ERR_OK);
    assert_int_equal(farm->told, 1);
}

static void finish(struct farm *farm)
{
    schedule_finish(&farm->schedule);
    fleet_finish(&farm->fleet);
    ledger_close(&farm->ledger);
}

static void beat(struct farm *farm, bool has_it, double now)
{
    struct wire_ids held = { 0 };
    if (has_it)
        held.id[held.count++] = (uint64_t) farm->attempt;
    foreman_look_after(&farm->foreman, farm->worker, &held, now);
}

static bool is_live(const struct farm *farm)
{
    return schedule_find(&farm->schedule, farm->attempt) != NULL;
}

static void beats_from_before_it_had_it_change_nothing(void **state)
{
    (void) state;
    struct farm farm;
    begin(&farm, 100);
    foreman_acknowledged(&farm.foreman, farm.worker, farm.attempt);
    for (int i = 0; i < 40; i++) // of an earlier connection, all at once
        beat(&farm, false, 100.01);
    assert_true(is_live(&farm));
    beat(&farm, true, 100.3);
    for (int i = 0; i < 40; i++)
        beat(&farm, false, 103); // of one between, which took longer: counted anew
    beat(&farm, true, 103.3);
    assert_true(is_live(&farm));
    assert_int_equal(farm.lost, 0);
    assert_int_equal(farm.told, 1);
    finish(&farm);
}

static void what_it_has_no_more_is_lost(void **state)
{
    (void) state;
    struct farm farm;
    begin(&farm, 100);
    beat(&farm, true, 101);
    beat(&farm, false, 102);
    beat(&farm, false, 103);
    assert_true(is_live(&farm));
    beat(&farm, false, 104.5);
    assert_false(is_live(&farm));
    assert_int_equal(farm.lost, 1);
    finish(&farm);
}

static void what_never_came_is_said_again(void **state)
{
    (void) state;
    struct farm farm;
    begin(&farm, 100);
    beat(&farm, false, 101);
    assert_int_equal(farm.told, 1);
    beat(&farm, false, 102.5);
    assert_int_equal(farm.told, 2);
    beat(&farm, false, 103);
    assert_int_equal(farm.told, 2);
    assert_true(is_live(&farm));
    finish(&farm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beats_from_before_it_had_it_change_nothing),
        cmocka_unit_test(what_it_has_no_more_is_lost),
        cmocka_unit_test(what_never_came_is_said_again),
    };
    return cmocka_run_group_tests(tests, begin_folder, end_folder);
}
