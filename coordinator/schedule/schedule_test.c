// Tests of the schedule on a simulated clock: who gets what, and how long it all takes.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "coordinator/schedule/schedule.h"

#define LEASE_S 30.0
#define MOST_WORKERS 16

// A farm that is played through: each worker composes what it holds one after the other.
struct farm {
    struct schedule s;
    struct fleet f;
    double now;
    int64_t next_attempt;
    double speed[MOST_WORKERS]; // seconds of music a second
    double left[MOST_WORKERS];  // of the segment that it is at; < 0: it is at none
    int64_t at[MOST_WORKERS];   // that attempt
    unsigned leases, speculations;
    const char *require; // of the jobs that are added next; NULL: nothing
};

static void begin(struct farm *farm)
{
    *farm = (struct farm){ .next_attempt = 1 };
    schedule_init(&farm->s, LEASE_S);
    fleet_init(&farm->f, 1, LEASE_S);
}

static void finish(struct farm *farm)
{
    schedule_finish(&farm->s);
    fleet_finish(&farm->f);
}

static size_t add_worker(struct farm *farm, const char *model, double speed, bool measured)
{
    char name[16];
    size_t place;
    snprintf(name, sizeof(name), "w%zu", farm->f.count);
    const struct fleet_hello h = { .name = name,
                                   .device = "",
                                   .vendor = "",
                                   .driver = "",
                                   .software = "",
                                   .model = model,
                                   .slots = 1,
                                   .incarnation = farm->f.count + 1,
                                   .rate = measured ? speed : 0 };
    assert_int_equal(fleet_join(&farm->f, &h, farm->now, &place), ERR_OK);
    fleet_pull(&farm->f, place, 1, farm->now);
    farm->speed[place] = speed;
    farm->left[place] = -1;
    return place;
}

// `cues` cues of `each` segments of `audio_s`; all pictures are there.
static void add_job(struct farm *farm, int64_t id, const char *owner, double weight,
                    int64_t priority, uint32_t cues, uint32_t each, double audio_s)
{
    struct work_job j = { .id = id, .priority = priority, .model = "m", .count = cues * each };
    char why[500];
    assert_int_equal(
        require_parse(&j.require, farm->require ? farm->require : "", why, sizeof(why)),
        ERR_OK);
    assert_int_equal(schedule_owner(&farm->s, owner, weight, 0, &j.owner), ERR_OK);
    j.segments = calloc(j.count, sizeof(*j.segments));
    assert_non_null(j.segments);
    for (uint32_t i = 0; i < j.count; i++)
        j.segments[i] = (struct work_segment){
            .cue = i / each,
            .place = i % each,
            .audio_s = audio_s,
            .remaining_s = audio_s * (each - i % each),
            .state = i % each ? WORK_BLOCKED : WORK_READY,
            .frames = FRAMES_THERE,
        };
    assert_int_equal(schedule_add(&farm->s, &j), ERR_OK);
}

static bool grant(struct farm *farm, struct decision *d)
{
    if (!schedule_next(&farm->s, &farm->f, farm->now, d))
        return false;
    assert_true(fleet_may_work(&farm->f.workers[d->worker]));
    assert_true(farm->f.workers[d->worker].want > 0);
    const struct work_segment *g = &schedule_job(&farm->s, d->job)->segments[d->segment];
    assert_int_equal(g->state, d->again ? WORK_LEASED : WORK_READY);
    assert_int_equal(schedule_lease(&farm->s, &farm->f, d, farm->next_attempt++, 1, farm->now),
                     ERR_OK);
    assert_null(schedule_check(&farm->s, &farm->f));
    farm->leases++;
    farm->speculations += d->again;
    return true;
}

static void grant_all(struct farm *farm)
{
    struct decision d;
    while (grant(farm, &d))
        ;
}

static bool all_done(const struct farm *farm)
{
    for (size_t i = 0; i < farm->s.job_count; i++)
        if (farm->s.jobs[i]->done < farm->s.jobs[i]->count)
            return false;
    return true;
}

// The attempt is done: it counts, others at its segment are called off.
static void done(struct farm *farm, int64_t attempt)
{
    const struct work_lease l = *schedule_find(&farm->s, attempt);
    schedule_end(&farm->s, &farm->f, attempt, WORK_DONE, farm->now);
    for (int64_t i; (i = schedule_lease_of(&farm->s, l.job, l.segment)) >= 0;)
        schedule_end(&farm->s, &farm->f, farm->s.leases[i].attempt, WORK_DONE, farm->now);
    assert_null(schedule_check(&farm->s, &farm->f));
}

static void compose(struct farm *farm, size_t w, double dt)
{
    if (farm->left[w] >= 0 && !schedule_find(&farm->s, farm->at[w]))
        farm->left[w] = -1; // called off
    if (farm->left[w] < 0) {
        farm->at[w] = schedule_of_worker(&farm->s, w);
        const struct work_lease *l =
            farm->at[w] < 0 ? NULL : schedule_find(&farm->s, farm->at[w]);
        farm->left[w] = l ? schedule_job(&farm->s, l->job)->segments[l->segment].audio_s : -1;
    }
    if (farm->left[w] < 0)
        return;
    schedule_renew(schedule_find(&farm->s, farm->at[w]), farm->now);
    farm->f.workers[w].rate = farm->speed[w];
    farm->left[w] -= dt * farm->speed[w];
    if (farm->left[w] > 0)
        return;
    farm->left[w] = -1;
    done(farm, farm->at[w]);
}

// Until all is done; how long that took.
static double play(struct farm *farm)
{
    const double start = farm->now, dt = 0.25;
    while (!all_done(farm) && farm->now - start < 1e6) {
        for (size_t w = 0; w < farm->f.count; w++) {
            fleet_beat(&farm->f, w, 1, 0, farm->now);
            fleet_pull(&farm->f, w, farm->f.workers[w].held ? 0 : 1, farm->now);
        }
        grant_all(farm);
        for (size_t w = 0; w < farm->f.count; w++)
            compose(farm, w, dt);
        assert_true(schedule_expired(&farm->s, farm->now) < 0);
        farm->now += dt;
    }
    assert_true(all_done(farm));
    return farm->now - start;
}

static void the_longest_cue_goes_first_and_in_order(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 1, 0, 3, 1, 10);
    schedule_job(&farm.s, 1)->segments[1].remaining_s = 50;
    assert_true(grant(&farm, &d));
    assert_int_equal(d.segment, 1);
    assert_false(grant(&farm, &d)); // it asked for one
    schedule_end(&farm.s, &farm.f, 1, WORK_DONE, 1);
    finish(&farm);

    begin(&farm);
    const size_t w = add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 1, 0, 1, 3, 10);
    for (uint32_t i = 0; i < 3; i++) {
        fleet_pull(&farm.f, w, 5, 0);
        assert_true(grant(&farm, &d));
        assert_int_equal(d.segment, i);
        assert_false(grant(&farm, &d)); // the next one continues it
        done(&farm, farm.next_attempt - 1);
    }
    finish(&farm);
}

static void priority_and_then_age(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    const size_t w = add_worker(&farm, "m", 1, true);
    add_job(&farm, 5, "ada", 1, 0, 2, 1, 10);
    add_job(&farm, 3, "ada", 1, 0, 2, 1, 10);
    add_job(&farm, 9, "ada", 1, 7, 2, 1, 10);
    fleet_pull(&farm.f, w, 10, 0);
    const int64_t order[] = { 9, 9, 3, 3, 5, 5 };
    for (int i = 0; i < 6; i++) {
        assert_true(grant(&farm, &d));
        assert_int_equal(d.job, order[i]);
    }
    finish(&farm);
}

static void owners_share_by_weight(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    const size_t w = add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 3, 0, 100, 1, 10);
    add_job(&farm, 2, "bob", 1, 100, 100, 1, 10); // priority counts among one's own
    unsigned of[3] = { 0 };
    for (int i = 0; i < 80; i++) {
        fleet_pull(&farm.f, w, 1, farm.now);
        assert_true(grant(&farm, &d));
        of[d.job]++;
        farm.now += 10;
        done(&farm, farm.next_attempt - 1);
    }
    assert_in_range(of[1], 58, 62);
    assert_in_range(of[2], 18, 22);
    finish(&farm);
}

static void nothing_goes_where_it_cannot(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    char why[500];
    begin(&farm);
    add_job(&farm, 1, "ada", 1, 0, 2, 1, 10);
    const size_t other = add_worker(&farm, "another model", 1, true);
    assert_false(grant(&farm, &d));
    schedule_explain(&farm.s, &farm.f, 1, NULL, why, sizeof(why));
    assert_non_null(strstr(why, "no worker may compose them"));
    const size_t right = add_worker(&farm, "m", 1, true);
    fleet_quarantine(&farm.f, right, true);
    assert_false(grant(&farm, &d));
    fleet_quarantine(&farm.f, right, false);
    schedule_order(&farm.s, 1, true, 0);
    assert_false(grant(&farm, &d));
    schedule_explain(&farm.s, &farm.f, 1, NULL, why, sizeof(why));
    assert_non_null(strstr(why, "paused"));
    schedule_order(&farm.s, 1, false, 0);
    schedule_frames(&farm.s, 1, 0, FRAMES_ABSENT);
    assert_true(grant(&farm, &d));
    assert_true(d.segment == 1 && d.worker == right && right != other);
    schedule_explain(&farm.s, &farm.f, 1, NULL, why, sizeof(why));
    assert_non_null(strstr(why, "1 wait for their pictures"));
    schedule_explain(&farm.s, &farm.f, 1, "wait because of that", why, sizeof(why));
    assert_non_null(strstr(why, "; 1 wait because of that"));
    assert_null(strstr(why, "pictures"));
    finish(&farm);
}

static void requirements_are_obeyed(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    char why[500];
    begin(&farm);
    farm.require = "vram>=8G";
    add_job(&farm, 1, "ada", 1, 0, 4, 1, 10);
    farm.require = NULL;
    add_job(&farm, 2, "ada", 1, 0, 1, 1, 10);
    const size_t small = add_worker(&farm, "m", 1, true),
                 large = add_worker(&farm, "m", 1, true);
    farm.f.workers[small].memory = 4ull << 30;
    farm.f.workers[large].memory = 16ull << 30;
    assert_true(grant(&farm, &d)); // the small one, first in line, takes what it may
    assert_true(d.job == 2 && d.worker == small);
    fleet_pull(&farm.f, small, 5, 0);
    assert_true(grant(&farm, &d));
    assert_true(d.job == 1 && d.worker == large);
    assert_false(grant(&farm, &d)); // nor is it tried a second time there
    assert_true(
        schedule_excludes(schedule_job(&farm.s, 1), &farm.f.workers[small], why, sizeof(why)));
    assert_string_equal(why, "does not meet vram>=8G (it has 4.0 GiB)");
    assert_false(
        schedule_excludes(schedule_job(&farm.s, 1), &farm.f.workers[large], why, sizeof(why)));
    finish(&farm);
}

static void what_is_left_takes_as_long_as_the_rates_say(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    add_job(&farm, 1, "ada", 1, 0, 2, 3, 10); // 60 s in two cues
    assert_true(schedule_left(&farm.s, &farm.f, 1) < 0);
    assert_true(schedule_left(&farm.s, &farm.f, 77) < 0);
    const size_t w = add_worker(&farm, "m", 5, true);
    assert_true(grant(&farm, &d));
    assert_float_equal(schedule_left(&farm.s, &farm.f, 1), 12, 1e-9);
    fleet_pull(&farm.f, w, 1, 0);
    assert_true(grant(&farm, &d)); // both cues, side by side on one: no faster
    assert_float_equal(schedule_left(&farm.s, &farm.f, 1), 12, 1e-9);
    done(&farm, 1);
    done(&farm, 2);
    add_worker(&farm, "m", 5, true);
    // One cue's second segment: the other worker does not make that cue shorter.
    grant_all(&farm);
    assert_float_equal(schedule_left(&farm.s, &farm.f, 1), 8, 1e-9);
    finish(&farm);
}

static void the_idle_worker_is_asked_first(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    const size_t slow = add_worker(&farm, "m", 1, true),
                 fast = add_worker(&farm, "m", 10, true);
    fleet_pull(&farm.f, slow, 10, 0), fleet_pull(&farm.f, fast, 10, 0);
    add_job(&farm, 1, "ada", 1, 0, 12, 1, 10);
    unsigned of[2] = { 0 };
    while (grant(&farm, &d))
        of[d.worker]++;
    // Ten to one, and the fast one asked for no more.
    assert_true(of[fast] == 10 && of[slow] == 2);
    finish(&farm);
}

static void leases_end_without_progress(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    const size_t w = add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 1, 0, 1, 1, 10);
    assert_true(grant(&farm, &d));
    assert_int_equal(schedule_expired(&farm.s, LEASE_S - 1), -1);
    schedule_renew(schedule_find(&farm.s, 1), LEASE_S - 1);
    assert_int_equal(schedule_expired(&farm.s, LEASE_S + 1), -1);
    assert_int_equal(schedule_expired(&farm.s, 2 * LEASE_S), 1);
    schedule_end(&farm.s, &farm.f, 1, WORK_READY, 2 * LEASE_S);
    assert_int_equal(farm.f.workers[w].held, 0);
    fleet_pull(&farm.f, w, 1, 60);
    assert_true(grant(&farm, &d));
    finish(&farm);
}

static void work_waits_for_workers_that_could_take_it(void **state)
{
    (void) state;
    struct farm farm;
    struct require any, large;
    char why[128];
    begin(&farm);
    assert_int_equal(require_parse_offer(&any, "", why, sizeof(why)), ERR_OK);
    assert_int_equal(require_parse_offer(&large, "vram=24G", why, sizeof(why)), ERR_OK);
    assert_false(schedule_waits(&farm.s, &any) || schedule_waits(&farm.s, &large));
    farm.require = "vram>=48G";
    add_job(&farm, 1, "ada", 1, 0, 1, 1, 10);
    assert_true(schedule_waits(&farm.s, &any));
    assert_false(schedule_waits(&farm.s, &large));
    farm.require = "vram>=16G";
    add_job(&farm, 2, "ada", 1, 0, 1, 1, 10);
    schedule_order(&farm.s, 2, true, 0);
    assert_false(schedule_waits(&farm.s, &large));
    schedule_order(&farm.s, 2, false, 0);
    assert_true(schedule_waits(&farm.s, &large));
    // Pictures come by themselves: what waits for them still waits for a worker.
    for (enum work_frames f = FRAMES_ABSENT; f <= FRAMES_LATER; f++) {
        schedule_frames(&farm.s, 2, 0, f);
        assert_true(schedule_waits(&farm.s, &large));
    }
    finish(&farm);
}

static void a_gpus_failure_is_waited_out(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    int64_t job;
    uint32_t segment;
    begin(&farm);
    const size_t w = add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 1, 0, 1, 1, 10);
    double waits[3];
    for (int i = 0; i < 3; i++) {
        fleet_pull(&farm.f, w, 1, farm.now);
        assert_true(grant(&farm, &d));
        schedule_end(&farm.s, &farm.f, farm.next_attempt - 1, WORK_RETRY_WAIT, farm.now);
        fleet_pull(&farm.f, w, 1, farm.now);
        assert_false(grant(&farm, &d));
        const double start = farm.now;
        while (!schedule_due(&farm.s, farm.now, &job, &segment))
            farm.now += 0.5;
        waits[i] = farm.now - start;
        schedule_released(&farm.s, job, segment);
    }
    assert_true(waits[0] < waits[1] && waits[1] < waits[2] && waits[2] <= 30);
    finish(&farm);
}

static void only_the_tail_is_done_twice(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    begin(&farm);
    const size_t slow = add_worker(&farm, "m", 1, true);
    add_job(&farm, 1, "ada", 1, 0, 2, 1, 100);
    assert_true(grant(&farm, &d) && d.worker == slow);
    const size_t fast = add_worker(&farm, "m", 10, true);
    assert_true(grant(&farm, &d));
    assert_true(d.worker == fast && !d.again); // there is something READY
    done(&farm, 2);
    fleet_pull(&farm.f, fast, 1, 0);
    assert_true(grant(&farm, &d)); // 10 s against another 100
    assert_true(d.again && d.worker == fast);
    fleet_pull(&farm.f, fast, 1, 0);
    assert_false(grant(&farm, &d)); // twice is enough
    done(&farm, 3);
    assert_int_equal(farm.s.lease_count, 0);
    assert_true(all_done(&farm));
    finish(&farm);

    begin(&farm);
    add_worker(&farm, "m", 10, true);
    add_job(&farm, 1, "ada", 1, 0, 1, 1, 100);
    assert_true(grant(&farm, &d));
    const size_t late = add_worker(&farm, "m", 1, true);
    fleet_pull(&farm.f, late, 1, 0);
    assert_false(grant(&farm, &d)); // it would be the slower one
    farm.now = 10 * 100;
    fleet_pull(&farm.f, late, 1, farm.now);
    assert_true(grant(&farm, &d) && d.again); // the other is long past its deadline
    finish(&farm);
}

static void pictures_are_read_ahead_but_not_far(void **state)
{
    (void) state;
    struct farm farm;
    struct decision d;
    int64_t job;
    uint32_t segment;
    begin(&farm);
    add_job(&farm, 1, "ada", 1, 0, 6, 2, 10);
    for (uint32_t i = 0; i < 12; i++)
        schedule_frames(&farm.s, 1, i, FRAMES_ABSENT);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(schedule_wants_frames(&farm.s, 4, &job, &segment));
        assert_int_equal(segment % 2, 0); // the beginnings of cues
        schedule_frames(&farm.s, 1, segment, FRAMES_THERE);
    }
    assert_false(schedule_wants_frames(&farm.s, 4, &job, &segment));
    add_worker(&farm, "m", 1, true);
    assert_true(grant(&farm, &d));
    assert_true(schedule_wants_frames(&farm.s, 4, &job, &segment));
    for (unsigned i = 0; i < 2; i++) {
        assert_true(schedule_wants_frames(&farm.s, 9, &job, &segment));
        schedule_frames(&farm.s, 1, segment, FRAMES_THERE);
    }
    assert_true(schedule_wants_frames(&farm.s, 9, &job, &segment));
    // After all beginnings, what follows work under way.
    assert_int_equal(segment, d.segment + 1);
    finish(&farm);
}

// Ideal: all workers busy until the end, or the longest cue alone on the fastest one.
static double ideal(const struct farm *farm, double audio_s, double longest_s)
{
    double speed = 0, fastest = 0;
    for (size_t w = 0; w < farm->f.count; w++) {
        speed += farm->speed[w];
        fastest = fmax(fastest, farm->speed[w]);
    }
    return fmax(audio_s / speed, longest_s / fastest);
}

static void one_slow_worker_does_not_hold_up_the_rest(void **state)
{
    (void) state;
    struct farm farm;
    begin(&farm);
    for (int i = 0; i < 7; i++)
        add_worker(&farm, "m", 1, false);
    add_worker(&farm, "m", 0.1, false);
    add_job(&farm, 1, "ada", 1, 0, 100, 2, 20);
    const double took = play(&farm), best = ideal(&farm, 100 * 2 * 20, 40);
    assert_true(took <= 1.3 * best);
    assert_true(farm.leases - farm.speculations == 200);
    finish(&farm);
}

// Farms at random: everything is done, each segment's predecessor before it (grant()
// and schedule_end() see to that), and nothing is left over.
static void any_farm_comes_to_an_end(void **state)
{
    (void) state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct farm farm;
        begin(&farm);
        const uint64_t workers = 1 + mix64(seed, 1) % 6, jobs = 1 + mix64(seed, 2) % 5;
        for (uint64_t w = 0; w < workers; w++)
            add_worker(&farm, "m", 0.2 + (double) (mix64(seed, 10 + w) % 40) / 10,
                       mix64(seed, 20 + w) % 2);
        for (uint64_t j = 0; j < jobs; j++)
            add_job(&farm, (int64_t) (1 + mix64(seed, 30 + j) % 1000 * 10 + j),
                    j % 2 ? "ada" : "bob", 1 + (double) j, (int64_t) (mix64(seed, 40 + j) % 3),
                    (uint32_t) (1 + mix64(seed, 50 + j) % 6),
                    (uint32_t) (1 + mix64(seed, 60 + j) % 4),
                    5 + (double) (mix64(seed, 70 + j) % 25));
        play(&farm);
        assert_int_equal(farm.s.lease_count, 0);
        for (size_t w = 0; w < farm.f.count; w++)
            assert_true(farm.f.workers[w].held == 0 && farm.f.workers[w].backlog_s <= 0);
        for (size_t o = 0; o < farm.s.owner_count; o++)
            assert_true(fabs(farm.s.owners[o].promised_s) < 1e-6);
        while (farm.s.job_count)
            schedule_remove(&farm.s, farm.s.jobs[0]->id);
        finish(&farm);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_cue_goes_first_and_in_order),
        cmocka_unit_test(priority_and_then_age),
        cmocka_unit_test(owners_share_by_weight),
        cmocka_unit_test(nothing_goes_where_it_cannot),
        cmocka_unit_test(requirements_are_obeyed),
        cmocka_unit_test(what_is_left_takes_as_long_as_the_rates_say),
        cmocka_unit_test(the_idle_worker_is_asked_first),
        cmocka_unit_test(leases_end_without_progress),
        cmocka_unit_test(a_gpus_failure_is_waited_out),
        cmocka_unit_test(work_waits_for_workers_that_could_take_it),
        cmocka_unit_test(only_the_tail_is_done_twice),
        cmocka_unit_test(pictures_are_read_ahead_but_not_far),
        cmocka_unit_test(one_slow_worker_does_not_hold_up_the_rest),
        cmocka_unit_test(any_farm_comes_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
