// Tests of the ledger: every transition, what is refused, and that a crash at any
// moment leaves one of the two states and never a third.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/ledger/sql.h"

static char directory[] = "/tmp/underscore-ledger-XXXXXX";
static char path[64];

static int make_directory(void **state)
{
    (void) state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/ledger.db", directory);
    return 0;
}

static void forget(void)
{
    const char *const ends[] = { "", "-wal", "-shm", "-journal", ".copy" };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        char name[96];
        snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        unlink(name);
    }
}

static int remove_directory(void **state)
{
    (void) state;
    forget();
    return rmdir(directory);
}

static struct ledger *reopened(struct ledger *l)
{
    ledger_close(&l);
    assert_int_equal(ledger_open(&l, path), ERR_OK);
    assert_int_equal(ledger_check(l), ERR_OK);
    return l;
}

static struct ledger *fresh(void)
{
    forget();
    return reopened(NULL);
}

static int64_t submitted(struct ledger *l, const char *identity)
{
    int64_t job;
    bool existed;
    const struct ledger_submission s = {
        .film = "/films/a.mkv",
        .output = "/out/a.mkv",
        .owner = "ada",
        .model = "",
        .identity = identity,
        .request = "request",
        .request_bytes = 7,
    };
    assert_int_equal(ledger_submit(l, &s, 1000, &job, &existed), ERR_OK);
    assert_false(existed);
    return job;
}

// Two cues: segments 0, 1, 2 and 3, 4.
static const struct ledger_planned five[] = {
    { 0, 0, 30000, 60000 }, { 0, 1, 20000, 30000 }, { 0, 2, 10000, 10000 },
    { 1, 0, 30000, 50000 }, { 1, 1, 20000, 20000 },
};

static int64_t planned(struct ledger *l, const char *identity)
{
    const int64_t job = submitted(l, identity);
    assert_int_equal(ledger_move_job(l, job, JOB_PROBING, NULL, 1), ERR_OK);
    assert_int_equal(ledger_plan(l, job, 90000, 2, five, 5), ERR_OK);
    return job;
}

static enum job_state state_of(struct ledger *l, int64_t job)
{
    struct ledger_job j;
    assert_int_equal(ledger_job(l, job, &j), ERR_OK);
    return j.state;
}

static enum err keep_state(void *user, const struct ledger_segment *s)
{
    ((char *) user)[s->segment] = "brlwdfc"[s->state];
    return ERR_OK;
}

// One letter for each segment: b locked, r eady, l eased, w aiting to retry, d one,
// f ailed, c ancelled.
static void assert_segments(struct ledger *l, int64_t job, const char *expected)
{
    char states[64] = "";
    assert_int_equal(ledger_each_segment(l, job, keep_state, states), ERR_OK);
    assert_string_equal(states, expected);
    assert_int_equal(ledger_check(l), ERR_OK);
}

static struct ledger_lease leased(struct ledger *l, int64_t job, uint32_t segment)
{
    struct ledger_lease lease = { .job = job, .segment = segment, .worker = "node/0" };
    assert_int_equal(ledger_lease(l, &lease, 1, 2000), ERR_OK);
    return lease;
}

static enum verdict accepted(struct ledger *l, const struct ledger_lease *lease)
{
    enum verdict v, before;
    assert_int_equal(ledger_judge(l, lease->attempt, lease->fence, &before), ERR_OK);
    assert_int_equal(ledger_accept(l, lease->attempt, lease->fence, 1.5, 3000, &v), ERR_OK);
    assert_int_equal(v, before);
    return v;
}

static struct ledger_ending ended(struct ledger *l, const struct ledger_lease *lease,
                                  enum outcome why)
{
    struct ledger_ending out;
    assert_int_equal(ledger_end(l, lease->attempt, why, "detail", 0.5, 3000, &out), ERR_OK);
    return out;
}

static void a_job_goes_from_submitted_to_done(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    assert_int_equal(state_of(l, job), JOB_PLANNED);
    assert_segments(l, job, "rbbrb");
    const uint32_t order[] = { 3, 0, 1, 4, 2 };
    const char *const states[] = { "rbbdr", "drbdr", "ddrdr", "ddrdd", "ddddd" };
    for (int i = 0; i < 5; i++) {
        const struct ledger_lease lease = leased(l, job, order[i]);
        assert_int_equal(state_of(l, job), JOB_RUNNING);
        assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
        assert_segments(l, job, states[i]);
        l = reopened(l);
        assert_segments(l, job, states[i]);
    }
    assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_OK);
    assert_int_equal(ledger_move_job(l, job, JOB_DONE, NULL, 4000), ERR_OK);
    struct ledger_job j;
    assert_int_equal(ledger_job(l, job, &j), ERR_OK);
    assert_int_equal(j.ended_ms, 4000);
    assert_int_equal(j.done, 5);
    ledger_close(&l);
}

static struct ledger_lease composed(struct ledger *l, int64_t job, uint32_t segment)
{
    const struct ledger_lease lease = leased(l, job, segment);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    return lease;
}

static void what_is_damaged_is_composed_again(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct ledger_lease first[5];
    const int64_t job = planned(l, "x");
    const uint32_t damaged[] = { 1 };
    for (uint32_t i = 0; i < 5; i++)
        first[i] = composed(l, job, i);
    assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_OK);
    assert_int_equal(ledger_reopen(l, job, damaged, 1, 1), ERR_OK);
    assert_int_equal(state_of(l, job), JOB_RUNNING);
    assert_segments(l, job, "drbdd"); // and what continues it
    l = reopened(l);
    assert_segments(l, job, "drbdd");
    // Its worker may never have heard that it was accepted.
    assert_int_equal(accepted(l, &first[1]), VERDICT_DUP);
    assert_segments(l, job, "drbdd");
    const struct ledger_lease second = composed(l, job, 1);
    assert_true(second.fence > first[1].fence);
    assert_segments(l, job, "ddrdd");
    composed(l, job, 2);
    assert_segments(l, job, "ddddd");
    struct ledger_job j;
    assert_int_equal(ledger_job(l, job, &j), ERR_OK);
    assert_int_equal(j.done, 5);
    ledger_close(&l);
}

// It was to be the prompt of what is being composed.
static void what_is_damaged_is_composed_again_before_the_rest(void **state)
{
    (void) state;
    static const enum job_state states[] = { JOB_RUNNING, JOB_PAUSED };
    for (size_t i = 0; i < 2; i++) {
        struct ledger *l = fresh();
        const int64_t job = planned(l, "x");
        const uint32_t damaged[] = { 0 };
        struct ledger_attempt a;
        composed(l, job, 0);
        const struct ledger_lease follower = leased(l, job, 1), again = leased(l, job, 1),
                                  other = leased(l, job, 3);
        if (states[i] == JOB_PAUSED)
            assert_int_equal(ledger_move_job(l, job, JOB_PAUSED, NULL, 1), ERR_OK);
        assert_segments(l, job, "dlblb");
        assert_int_equal(ledger_reopen(l, job, damaged, 1, 9), ERR_OK);
        assert_int_equal(state_of(l, job), states[i]);
        assert_segments(l, job, "rbblb");
        const int kept = silence_stderr();
        assert_int_equal(ledger_reopen(l, job, damaged, 1, 9), ERR_INPUT); // it is not done
        restore_stderr(kept);
        assert_int_equal(ledger_attempt(l, follower.attempt, &a), ERR_OK);
        assert_int_equal(a.outcome, OUTCOME_CANCELLED);
        assert_int_equal(accepted(l, &follower), VERDICT_STALE);
        assert_int_equal(accepted(l, &again), VERDICT_STALE);
        assert_int_equal(accepted(l, &other), VERDICT_ACCEPTED);
        assert_segments(l, job, "rbbdr");
        ledger_close(&l);
    }
}

static void what_is_damaged_too_often_fails_its_job(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const uint32_t damaged[] = { 3, 4 };
    for (uint32_t i = 0; i < 5; i++)
        composed(l, job, i);
    for (int times = 1; times < LEDGER_MOST_SPOILT; times++) {
        assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_OK);
        assert_int_equal(ledger_reopen(l, job, damaged, 2, 1), ERR_OK);
        assert_segments(l, job, "dddrb");
        composed(l, job, 3);
        composed(l, job, 4);
    }
    assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_OK);
    assert_int_equal(ledger_reopen(l, job, damaged, 2, 77), ERR_OK);
    struct ledger_job j;
    assert_int_equal(ledger_job(l, job, &j), ERR_OK);
    assert_int_equal(j.state, JOB_FAILED);
    assert_int_equal(j.ended_ms, 77);
    assert_non_null(strstr(j.reason, "segment 3: "));
    assert_segments(l, job, "dddfc");
    assert_int_equal(ledger_retry(l, job), ERR_OK); // with as many tries as at first
    assert_segments(l, job, "dddrb");
    composed(l, job, 3);
    composed(l, job, 4);
    assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_OK);
    assert_int_equal(ledger_reopen(l, job, damaged, 1, 1), ERR_OK);
    assert_int_equal(state_of(l, job), JOB_RUNNING);
    ledger_close(&l);
}

static void the_same_submission_is_one_job(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = submitted(l, "x");
    struct ledger_submission s = { .film = "/films/a.mkv",
                                   .output = "/out/a.mkv",
                                   .owner = "ada",
                                   .model = "",
                                   .identity = "x",
                                   .request = "r",
                                   .request_bytes = 1 };
    int64_t again;
    bool existed;
    assert_int_equal(ledger_submit(l, &s, 1, &again, &existed), ERR_OK);
    assert_true(existed && again == job);
    assert_int_equal(ledger_find(l, "x", &again), ERR_OK);
    assert_int_equal(again, job);
    assert_int_equal(ledger_find(l, "y", &again), ERR_OK);
    assert_int_equal(again, 0);
    s.force = true;
    assert_int_equal(ledger_submit(l, &s, 1, &again, &existed), ERR_OK);
    assert_true(!existed && again != job);
    s.force = false;
    assert_int_equal(ledger_move_job(l, again, JOB_FAILED, "no", 1), ERR_OK);
    assert_int_equal(ledger_move_job(l, job, JOB_CANCELLED, NULL, 1), ERR_OK);
    assert_int_equal(ledger_submit(l, &s, 1, &again, &existed), ERR_OK);
    assert_false(existed); // what failed may be submitted again
    void *request;
    size_t bytes;
    assert_int_equal(ledger_request(l, job, &request, &bytes), ERR_OK);
    assert_int_equal(bytes, 7);
    assert_memory_equal(request, "request", 7);
    free(request);
    ledger_close(&l);
}

static void old_fences_are_stale_and_done_is_final(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease first = leased(l, job, 0);
    assert_int_equal(ended(l, &first, OUTCOME_LOST).segment_state, SEGMENT_READY);
    const struct ledger_lease second = leased(l, job, 0);
    assert_true(second.fence > first.fence && second.attempt != first.attempt);
    l = reopened(l);
    assert_int_equal(accepted(l, &first), VERDICT_STALE);
    const struct ledger_lease forged = { .attempt = second.attempt, .fence = first.fence };
    assert_int_equal(accepted(l, &forged), VERDICT_STALE);
    const struct ledger_lease unknown = { .attempt = 99999, .fence = 1 };
    assert_int_equal(accepted(l, &unknown), VERDICT_STALE);
    assert_segments(l, job, "lbbrb");
    assert_int_equal(accepted(l, &second), VERDICT_ACCEPTED);
    assert_int_equal(accepted(l, &second), VERDICT_DUP);
    assert_int_equal(accepted(l, &first), VERDICT_STALE);
    // Too late to matter.
    assert_int_equal(ended(l, &second, OUTCOME_DEVICE_LOST).segment_state, SEGMENT_DONE);
    assert_segments(l, job, "drbrb");
    ledger_close(&l);
}

static void of_two_attempts_the_first_commit_wins(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease slow = leased(l, job, 3), fast = leased(l, job, 3);
    assert_segments(l, job, "rbblb");
    assert_int_equal(accepted(l, &slow), VERDICT_ACCEPTED); // the older one may win
    assert_int_equal(accepted(l, &fast), VERDICT_DUP);
    const struct ledger_lease a = leased(l, job, 4), b = leased(l, job, 4);
    assert_int_equal(ended(l, &a, OUTCOME_OOM).segment_state, SEGMENT_LEASED); // b goes on
    assert_int_equal(accepted(l, &b), VERDICT_ACCEPTED);
    assert_segments(l, job, "rbbdd");
    ledger_close(&l);
}

static void failures_lead_where_their_class_says(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    struct ledger_lease lease = leased(l, job, 0);
    assert_int_equal(ended(l, &lease, OUTCOME_OOM).segment_state, SEGMENT_RETRY_WAIT);
    assert_segments(l, job, "wbbrb");
    struct ledger_lease refused = { .job = job, .segment = 0, .worker = "w" };
    const int kept = silence_stderr();
    assert_int_equal(ledger_lease(l, &refused, 1, 1), ERR_INPUT);
    refused.segment = 1; // blocked
    assert_int_equal(ledger_lease(l, &refused, 1, 1), ERR_INPUT);
    refused.segment = 17;
    assert_int_equal(ledger_lease(l, &refused, 1, 1), ERR_INPUT);
    restore_stderr(kept);
    assert_int_equal(ledger_release(l, job, 0), ERR_OK);
    lease = leased(l, job, 0);
    assert_int_equal(ended(l, &lease, OUTCOME_DEVICE_LOST).segment_state, SEGMENT_RETRY_WAIT);
    assert_int_equal(ledger_release(l, job, 0), ERR_OK);
    lease = leased(l, job, 0);
    assert_int_equal(ended(l, &lease, OUTCOME_SHUTDOWN).segment_state, SEGMENT_READY);

    const struct ledger_lease other = leased(l, job, 3);
    lease = leased(l, job, 0);
    const struct ledger_ending e = ended(l, &lease, OUTCOME_INPUT);
    assert_int_equal(e.segment_state, SEGMENT_FAILED);
    assert_int_equal(e.job_state, JOB_FAILED);
    assert_segments(l, job, "fcccc");
    assert_int_equal(accepted(l, &other), VERDICT_STALE);
    struct ledger_job j;
    assert_int_equal(ledger_job(l, job, &j), ERR_OK);
    assert_non_null(strstr(j.reason, "detail"));
    ledger_close(&l);
}

static void a_poison_segment_stops(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const enum outcome why[] = { OUTCOME_LOST, OUTCOME_DEVICE_LOST };
    for (int w = 0; w < 2; w++) {
        const int64_t job = planned(l, w ? "x" : "y");
        for (int i = 1; i <= 10; i++) {
            const struct ledger_lease lease = leased(l, job, 0);
            const struct ledger_ending e = ended(l, &lease, why[w]);
            assert_int_equal(e.job_state == JOB_FAILED, i == 10);
            if (e.segment_state == SEGMENT_RETRY_WAIT)
                assert_int_equal(ledger_release(l, job, 0), ERR_OK);
        }
        assert_segments(l, job, "fcccc");
    }
    ledger_close(&l);
}

static void results_that_come_together_count_in_their_order(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease first = leased(l, job, 0), again = leased(l, job, 0),
                              other = leased(l, job, 3);
    struct ledger_result r[] = {
        { .attempt = again.attempt, .fence = again.fence },
        { .attempt = first.attempt, .fence = first.fence },
        { .attempt = other.attempt, .fence = other.fence - 1 },
        { .attempt = 4711, .fence = 1 },
        { .attempt = other.attempt, .fence = other.fence },
        { .attempt = again.attempt, .fence = again.fence },
    };
    static const enum verdict said[] = { VERDICT_ACCEPTED, VERDICT_DUP,      VERDICT_STALE,
                                         VERDICT_STALE,    VERDICT_ACCEPTED, VERDICT_DUP };
    assert_int_equal(ledger_accept_all(l, r, 6, 1), ERR_OK);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(r[i].verdict, said[i]);
    assert_true(r[4].job == job && r[4].segment == 3 && r[3].job == 0);
    assert_segments(l, job, "drbdr");
    assert_int_equal(ledger_check(l), ERR_OK);
    ledger_close(&l);
}

static void a_cancelled_job_can_be_taken_up(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    struct ledger_lease lease = leased(l, job, 0);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    lease = leased(l, job, 3);
    assert_int_equal(ledger_move_job(l, job, JOB_CANCELLED, "not needed", 9), ERR_OK);
    assert_segments(l, job, "dcccc");
    assert_int_equal(accepted(l, &lease), VERDICT_STALE);
    assert_int_equal(ledger_retry(l, job), ERR_OK);
    assert_segments(l, job, "drbrb");
    assert_int_equal(state_of(l, job), JOB_RUNNING);
    const int kept = silence_stderr();
    assert_int_equal(ledger_retry(l, job), ERR_INPUT);
    restore_stderr(kept);
    const int64_t early = submitted(l, "y");
    assert_int_equal(ledger_move_job(l, early, JOB_FAILED, "not a film", 9), ERR_OK);
    assert_int_equal(ledger_retry(l, early), ERR_OK);
    assert_int_equal(state_of(l, early), JOB_SUBMITTED);
    ledger_close(&l);
}

static void pausing_keeps_what_is_under_way(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease lease = leased(l, job, 0);
    assert_int_equal(ledger_move_job(l, job, JOB_PAUSED, NULL, 1), ERR_OK);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    struct ledger_lease refused = { .job = job, .segment = 3, .worker = "w" };
    const int kept = silence_stderr();
    assert_int_equal(ledger_lease(l, &refused, 1, 1), ERR_INPUT);
    restore_stderr(kept);
    assert_int_equal(ledger_move_job(l, job, JOB_RUNNING, NULL, 1), ERR_OK);
    assert_segments(l, job, "drbrb");
    ledger_close(&l);
}

// Every pair of states: what may be moved is moved, the rest refused and left alone.
static void only_the_arrows_that_are_drawn(void **state)
{
    (void) state;
    // Initials of where each may go.
    static const char *const arrows[JOB_STATES] = {
        [JOB_SUBMITTED] = "BFC", [JOB_PROBING] = "SFC", [JOB_PLANNED] = "UFC",
        [JOB_RUNNING] = "UAFC",  [JOB_PAUSED] = "RFC",  [JOB_ASSEMBLING] = "DHFC",
        [JOB_HELD] = "AFC",      [JOB_DONE] = "",       [JOB_FAILED] = "",
        [JOB_CANCELLED] = "",
    };
    static const char letters[JOB_STATES + 1] = "SBPRUAHDFC";
    struct ledger *l = fresh();
    const int kept = silence_stderr();
    for (int from = 0; from < JOB_STATES; from++)
        for (int to = 0; to < JOB_STATES; to++) {
            char identity[16];
            snprintf(identity, sizeof(identity), "%d %d", from, to);
            const int64_t job = submitted(l, identity);
            // First in struct ledger; as if it had come that way.
            struct sql *raw = (struct sql *) l;
            char text[96];
            snprintf(text, sizeof(text), "UPDATE jobs SET state = %d WHERE id = %lld", from,
                     (long long) job);
            assert_int_equal(sql_script(raw, text), ERR_OK);
            const bool may = strchr(arrows[from], letters[to]) != NULL;
            assert_int_equal(ledger_move_job(l, job, (enum job_state) to, NULL, 1),
                             may ? ERR_OK : ERR_INPUT);
            assert_int_equal(state_of(l, job), may ? to : from);
        }
    restore_stderr(kept);
    ledger_close(&l);
}

static void what_is_not_whole_is_not_assembled(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease lease = leased(l, job, 0);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    const int kept = silence_stderr();
    assert_int_equal(ledger_move_job(l, job, JOB_ASSEMBLING, NULL, 1), ERR_INPUT);
    assert_int_equal(ledger_plan(l, job, 1, 2, five, 5), ERR_INPUT);
    restore_stderr(kept);
    struct ledger_job j;
    assert_int_equal(ledger_job(l, 4711, &j), ERR_MISSING);
    ledger_close(&l);
}

static void history_cannot_be_rewritten(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "x");
    const struct ledger_lease lease = leased(l, job, 0);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    const int kept = silence_stderr();
    assert_int_not_equal(sql_script((struct sql *) l, "UPDATE segments SET state = 1"), ERR_OK);
    assert_int_not_equal(sql_script((struct sql *) l, "UPDATE attempts SET outcome = 0"),
                         ERR_OK);
    assert_int_equal(sql_script((struct sql *) l, "UPDATE jobs SET done = 3"), ERR_OK);
    assert_int_equal(ledger_check(l), ERR_BUG); // and what can be broken is noticed
    restore_stderr(kept);
    ledger_close(&l);
}

static void models_and_owners_are_kept(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const struct ledger_model m = { "aa", 32000, 640, 30000, 336, 4, 1.0, 3.0, "CC-BY-NC" };
    assert_int_equal(ledger_put_model(l, &m), ERR_OK);
    assert_int_equal(ledger_put_model(l, &m), ERR_OK);
    l = reopened(l);
    struct ledger_model back;
    size_t count;
    assert_int_equal(ledger_models(l, &back, 1, &count), ERR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(back.sha256, "aa");
    assert_int_equal(back.hop, 640);
    assert_true(back.guidance == 3.0 && back.frames_per_s == 1.0);
    bool gone;
    assert_int_equal(ledger_choose_model(l, submitted(l, "a"), "aa"), ERR_OK);
    assert_int_equal(ledger_drop_model(l, "aa", &gone), ERR_OK);
    assert_false(gone); // a job names it
    assert_int_equal(ledger_choose_model(l, 1, "bb"), ERR_OK);
    assert_int_equal(ledger_drop_model(l, "aa", &gone), ERR_OK);
    assert_true(gone);
    assert_int_equal(ledger_models(l, &back, 1, &count), ERR_OK);
    assert_int_equal(count, 0);
    ledger_close(&l);
}

static void each_start_is_a_new_epoch(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const uint64_t first = ledger_epoch(l);
    l = reopened(l);
    assert_int_equal(ledger_epoch(l), first + 1);
    ledger_close(&l);
}

static void a_second_coordinator_is_refused(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const pid_t child = fork(); // locks are between processes
    if (child == 0) {
        struct ledger *second;
        silence_stderr();
        _exit(ledger_open(&second, path) == ERR_UNAVAILABLE ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ledger_close(&l);
}

static void a_damaged_ledger_is_refused(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    for (int i = 0; i < 50; i++) {
        char identity[16];
        snprintf(identity, sizeof(identity), "%d", i);
        planned(l, identity);
    }
    char copy[80];
    snprintf(copy, sizeof(copy), "%s.copy", path);
    assert_int_equal(ledger_backup(l, copy), ERR_OK);
    ledger_close(&l);
    struct buffer whole = slurp(path);
    const int kept = silence_stderr();
    for (size_t page = 4096; page + 4096 < whole.bytes; page += 4096) {
        uint8_t *bytes = malloc(whole.bytes);
        assert_non_null(bytes);
        memcpy(bytes, whole.data, whole.bytes);
        memset(bytes + page, 0x5a, 2048);
        spill(path, bytes, whole.bytes);
        assert_int_equal(ledger_open(&l, path), ERR_CONFIG);
        free(bytes);
    }
    spill(
        path,
        "Dear Sir or Madam, this is no ledger but a letter of some length, as you will notice.",
        80);
    assert_int_equal(ledger_open(&l, path), ERR_CONFIG);
    restore_stderr(kept);
    buffer_free(&whole);
    assert_int_equal(rename(copy, path), 0); // what the message says to do
    l = reopened(NULL);
    assert_segments(l, 7, "rbbrb");
    ledger_close(&l);
}

static void a_later_version_is_refused(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    assert_int_equal(sql_script((struct sql *) l, "PRAGMA user_version = 99"), ERR_OK);
    ledger_close(&l);
    const int kept = silence_stderr();
    assert_int_equal(ledger_open(&l, path), ERR_CONFIG);
    restore_stderr(kept);
}

// A child works through a film as fast as it can and reports each step that the ledger
// has confirmed; it is killed at some moment. What was confirmed is there.
static void work_until_killed(int to)
{
    struct ledger *l;
    if (ledger_open(&l, path))
        _exit(1);
    for (uint32_t i = 0; i < 5; i++) {
        struct ledger_lease lease = { .job = 1, .segment = i, .worker = "w" };
        enum verdict v;
        if (ledger_lease(l, &lease, 1, 1) || write(to, "l", 1) != 1 ||
            ledger_accept(l, lease.attempt, lease.fence, 1, 1, &v) || write(to, "d", 1) != 1)
            _exit(1);
    }
    _exit(0);
}

static enum err count_done(void *user, const struct ledger_segment *s)
{
    unsigned *counts = user;
    counts[0] += s->state == SEGMENT_DONE;
    counts[1] += s->state == SEGMENT_LEASED;
    return ERR_OK;
}

static void what_was_confirmed_survives_a_kill(void **state)
{
    (void) state;
    unsigned cut_short = 0;
    for (int round = 0; round < 20; round++) {
        struct ledger *l = fresh();
        planned(l, "x");
        ledger_close(&l);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        const pid_t child = fork();
        if (child == 0)
            work_until_killed(ends[1]);
        close(ends[1]);
        unsigned confirmed = 0;
        char step;
        for (int i = 0; i < round % 10 && read(ends[0], &step, 1) == 1; i++)
            confirmed += step == 'd';
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        cut_short += WIFSIGNALED(status);
        while (read(ends[0], &step, 1) == 1)
            confirmed += step == 'd';
        close(ends[0]);
        l = reopened(NULL);
        unsigned counts[2] = { 0, 0 };
        assert_int_equal(ledger_each_segment(l, 1, count_done, counts), ERR_OK);
        // What was written last may not have been confirmed.
        assert_true(counts[0] == confirmed || counts[0] == confirmed + 1);
        assert_true(counts[1] <= 1);
        ledger_close(&l);
    }
    assert_true(cut_short >= 10);
}

static enum err keep_node(void *user, const struct ledger_node *n)
{
    struct ledger_node *out = user;
    while (*out->name)
        out++;
    *out = *n;
    return ERR_OK;
}

static void what_is_said_of_nodes_is_kept(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct ledger_node found[4] = { 0 };
    assert_int_equal(
        ledger_put_node(l, &(struct ledger_node){ .name = "b/1", .drained = true }), ERR_OK);
    assert_int_equal(
        ledger_put_node(l, &(struct ledger_node){ .name = "a/0", .quarantined = true }),
        ERR_OK);
    assert_int_equal(ledger_put_node(l, &(struct ledger_node){ .name = "b/1" }), ERR_OK);
    l = reopened(l);
    assert_int_equal(ledger_each_node(l, keep_node, found), ERR_OK);
    assert_string_equal(found[0].name, "a/0");
    assert_true(found[0].quarantined && !found[0].drained);
    assert_string_equal(found[1].name, "b/1");
    assert_false(found[1].quarantined || found[1].drained);
    assert_string_equal(found[2].name, "");
    ledger_close(&l);
}

static void an_output_has_one_job_at_a_time(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    int64_t other;
    assert_int_equal(ledger_writes(l, "/out/a.mkv", &other), ERR_OK);
    assert_int_equal(other, 0);
    const int64_t job = planned(l, "one");
    assert_int_equal(ledger_writes(l, "/out/a.mkv", &other), ERR_OK);
    assert_int_equal(other, job);
    assert_int_equal(ledger_writes(l, "/out/b.mkv", &other), ERR_OK);
    assert_int_equal(other, 0);
    assert_int_equal(ledger_move_job(l, job, JOB_CANCELLED, NULL, 5), ERR_OK);
    assert_int_equal(ledger_writes(l, "/out/a.mkv", &other), ERR_OK);
    assert_int_equal(other, 0);
    ledger_close(&l);
}

// A ledger as version 1 left it, with work under way, becomes one of today.
static void an_older_ledger_is_brought_up(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    const int64_t job = planned(l, "old");
    leased(l, job, 0);
    ledger_close(&l);
    struct sql s;
    int64_t version;
    assert_int_equal(sql_open(&s, path), ERR_OK);
    assert_int_equal(
        sql_script(
            &s,
            "ALTER TABLE models DROP COLUMN license;"
            "ALTER TABLE segments DROP COLUMN reopened; ALTER TABLE segments DROP COLUMN spoilt;"
            "DROP TABLE nodes; DELETE FROM meta WHERE key LIKE 'queue%';"
            "DROP INDEX attempts_failed; DROP INDEX jobs_by_output;"
            "ALTER TABLE attempts DROP COLUMN detail; PRAGMA user_version = 1"),
        ERR_OK);
    sql_close(&s);
    assert_int_equal(ledger_check_file(path), ERR_OK);
    l = reopened(NULL);
    assert_segments(l, job, "lbbrb");
    assert_int_equal(ledger_put_node(l, &(struct ledger_node){ .name = "n" }), ERR_OK);
    ledger_close(&l);
    assert_int_equal(sql_open(&s, path), ERR_OK);
    assert_int_equal(sql_number(&s, sql_statement(&s, "PRAGMA user_version"), 0, &version),
                     ERR_OK);
    assert_int_equal(version, 4);
    sql_close(&s);
}

static enum err keep_attempt(void *user, const struct ledger_attempt *a)
{
    struct ledger_attempt *out = user;
    while (out->id)
        out++;
    *out = *a;
    return ERR_OK;
}

static void what_attempts_came_to_is_kept(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct ledger_attempt all[8] = { 0 }, later[8] = { 0 }, failed[8] = { 0 };
    struct ledger_ending out;
    const int64_t job = planned(l, "one"), other = planned(l, "two");
    const struct ledger_lease first = leased(l, job, 0), mine = leased(l, job, 3),
                              theirs = leased(l, other, 0);
    assert_int_equal(
        ledger_end(l, first.attempt, OUTCOME_LOST, "its worker was lost", 1, 4000, &out),
        ERR_OK);
    assert_int_equal(accepted(l, &mine), VERDICT_ACCEPTED);
    assert_int_equal(ledger_end(l, theirs.attempt, OUTCOME_OOM, "a\nb", 1, 4001, &out), ERR_OK);
    l = reopened(l);
    assert_int_equal(ledger_each_attempt(l, job, 0, 100, keep_attempt, all), ERR_OK);
    assert_true(all[0].id == first.attempt && all[1].id == mine.attempt && !all[2].id);
    assert_string_equal(all[0].detail, "its worker was lost");
    assert_true(all[0].outcome == OUTCOME_LOST && all[0].leased_ms == 2000 &&
                all[0].ended_ms == 4000);
    assert_string_equal(all[1].detail, "");
    assert_int_equal(ledger_each_attempt(l, job, first.attempt, 100, keep_attempt, later),
                     ERR_OK);
    assert_true(later[0].id == mine.attempt && !later[1].id);
    assert_int_equal(ledger_each_failure(l, 100, keep_attempt, failed), ERR_OK);
    assert_true(failed[0].id == theirs.attempt && failed[1].id == first.attempt &&
                !failed[2].id);
    assert_string_equal(failed[0].detail, "a\nb");
    for (int o = 0; o < OUTCOMES; o++)
        assert_true(strlen(outcome_name((enum outcome) o)) > 2);
    ledger_close(&l);
}

static void the_queues_switches_are_kept(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct ledger_queue q;
    assert_int_equal(ledger_queue(l, &q), ERR_OK);
    assert_false(q.disabled || q.stopped);
    assert_int_equal(ledger_put_queue(l, &(struct ledger_queue){ .stopped = true }), ERR_OK);
    l = reopened(l);
    assert_int_equal(ledger_queue(l, &q), ERR_OK);
    assert_true(!q.disabled && q.stopped);
    assert_int_equal(ledger_put_queue(l, &(struct ledger_queue){ .disabled = true }), ERR_OK);
    assert_int_equal(ledger_queue(l, &q), ERR_OK);
    assert_true(q.disabled && !q.stopped);
    ledger_close(&l);
}

static void what_is_long_over_is_forgotten(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    int64_t ids[8];
    size_t count;
    uint64_t counts[JOB_STATES];
    struct ledger_attempt all[8] = { 0 };
    const int64_t old = planned(l, "old"), recent = planned(l, "recent"),
                  open = planned(l, "open");
    const struct ledger_lease lease = leased(l, old, 0);
    assert_int_equal(accepted(l, &lease), VERDICT_ACCEPTED);
    assert_int_equal(ledger_move_job(l, old, JOB_FAILED, "why", 5000), ERR_OK);
    assert_int_equal(ledger_move_job(l, recent, JOB_CANCELLED, NULL, 6000), ERR_OK);
    assert_int_equal(ledger_count_jobs(l, counts), ERR_OK);
    assert_true(counts[JOB_FAILED] == 1 && counts[JOB_CANCELLED] == 1 &&
                counts[JOB_PLANNED] == 1 && !counts[JOB_DONE]);
    assert_int_equal(ledger_prune(l, 5000, ids, 8, &count), ERR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(ledger_prune(l, 5001, ids, 8, &count), ERR_OK);
    assert_true(count == 1 && ids[0] == old);
    l = reopened(l);
    struct ledger_job j;
    assert_int_equal(ledger_job(l, old, &j), ERR_MISSING);
    assert_int_equal(ledger_each_attempt(l, old, 0, 100, keep_attempt, all), ERR_OK);
    assert_int_equal(all[0].id, 0);
    assert_segments(l, open, "rbbrb");
    // Never what is not over.
    assert_int_equal(ledger_prune(l, INT64_MAX, ids, 8, &count), ERR_OK);
    assert_true(count == 1 && ids[0] == recent);
    int64_t last;
    assert_int_equal(ledger_last_job(l, &last), ERR_OK);
    assert_int_equal(last, open);
    assert_int_equal(ledger_move_job(l, open, JOB_CANCELLED, NULL, 7000), ERR_OK);
    assert_int_equal(ledger_prune(l, INT64_MAX, ids, 8, &count), ERR_OK);
    assert_int_equal(ledger_last_job(l, &last), ERR_OK);
    assert_int_equal(last, open); // forgotten, and not anew
    assert_true(planned(l, "new") > open);
    ledger_close(&l);
}

struct numbers {
    int64_t id[8];
    size_t count;
};

static enum err keep_number(void *user, const struct ledger_job *j)
{
    struct numbers *n = user;
    n->id[n->count++] = j->id;
    return ERR_OK;
}

static void jobs_are_listed_by_what_one_wants_of_them(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct numbers all = { 0 }, open = { 0 }, over = { 0 }, last = { 0 }, latest = { 0 },
                   latest_open = { 0 }, first_open = { 0 };
    int64_t job[5];
    for (int i = 0; i < 5; i++)
        job[i] = submitted(l, (const char *const[]){ "a", "b", "c", "d", "e" }[i]);
    assert_int_equal(ledger_move_job(l, job[3], JOB_CANCELLED, NULL, 5), ERR_OK);
    assert_int_equal(ledger_move_job(l, job[1], JOB_FAILED, NULL, 6), ERR_OK);
    assert_int_equal(ledger_each_job(l, job[0], 3, false, keep_number, &all), ERR_OK);
    assert_true(all.count == 3 && all.id[0] == job[1] && all.id[2] == job[3]);
    assert_int_equal(ledger_each_job(l, 0, 100, true, keep_number, &open), ERR_OK);
    assert_true(open.count == 3 && open.id[0] == job[0] && open.id[1] == job[2] &&
                open.id[2] == job[4]);
    assert_int_equal(ledger_each_open(l, 2, keep_number, &first_open), ERR_OK);
    assert_true(first_open.count == 2 && first_open.id[0] == job[0] &&
                first_open.id[1] == job[2]);
    assert_int_equal(ledger_each_last(l, 2, false, keep_number, &latest), ERR_OK);
    assert_true(latest.count == 2 && latest.id[0] == job[4] && latest.id[1] == job[3]);
    assert_int_equal(ledger_each_last(l, 2, true, keep_number, &latest_open), ERR_OK);
    assert_true(latest_open.count == 2 && latest_open.id[0] == job[4] &&
                latest_open.id[1] == job[2]);
    assert_int_equal(ledger_each_over(l, 100, keep_number, &over), ERR_OK);
    assert_true(over.count == 2 && over.id[0] == job[3] && over.id[1] == job[1]);
    assert_int_equal(ledger_each_over(l, 1, keep_number, &last), ERR_OK);
    assert_true(last.count == 1 && last.id[0] == job[3]);
    ledger_close(&l);
}

static void a_file_is_checked_as_it_is(void **state)
{
    (void) state;
    struct ledger *l = fresh();
    struct sql s;
    const int kept = silence_stderr();
    const int64_t job = planned(l, "one");
    assert_int_equal(ledger_check_file(path), ERR_UNAVAILABLE); // it is in use
    ledger_close(&l);
    assert_int_equal(ledger_check_file(path), ERR_OK);
    assert_int_equal(sql_open(&s, path), ERR_OK);
    assert_int_equal(sql_script(&s, "UPDATE jobs SET segments = 4"), ERR_OK);
    sql_close(&s);
    assert_int_equal(ledger_check_file(path), ERR_BUG);
    assert_int_equal(ledger_check_file("/tmp/there-is-no-such-ledger.db"), ERR_MISSING);
    assert_int_equal(ledger_check_file("/etc/passwd"), ERR_CONFIG);
    restore_stderr(kept);
    assert_true(job > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_goes_from_submitted_to_done),
        cmocka_unit_test(what_is_damaged_is_composed_again),
        cmocka_unit_test(what_is_damaged_is_composed_again_before_the_rest),
        cmocka_unit_test(what_is_damaged_too_often_fails_its_job),
        cmocka_unit_test(the_same_submission_is_one_job),
        cmocka_unit_test(old_fences_are_stale_and_done_is_final),
        cmocka_unit_test(of_two_attempts_the_first_commit_wins),
        cmocka_unit_test(failures_lead_where_their_class_says),
        cmocka_unit_test(a_poison_segment_stops),
        cmocka_unit_test(results_that_come_together_count_in_their_order),
        cmocka_unit_test(a_cancelled_job_can_be_taken_up),
        cmocka_unit_test(pausing_keeps_what_is_under_way),
        cmocka_unit_test(only_the_arrows_that_are_drawn),
        cmocka_unit_test(what_is_not_whole_is_not_assembled),
        cmocka_unit_test(history_cannot_be_rewritten),
        cmocka_unit_test(models_and_owners_are_kept),
        cmocka_unit_test(each_start_is_a_new_epoch),
        cmocka_unit_test(a_second_coordinator_is_refused),
        cmocka_unit_test(a_damaged_ledger_is_refused),
        cmocka_unit_test(a_later_version_is_refused),
        cmocka_unit_test(what_was_confirmed_survives_a_kill),
        cmocka_unit_test(what_is_said_of_nodes_is_kept),
        cmocka_unit_test(an_output_has_one_job_at_a_time),
        cmocka_unit_test(an_older_ledger_is_brought_up),
        cmocka_unit_test(what_attempts_came_to_is_kept),
        cmocka_unit_test(the_queues_switches_are_kept),
        cmocka_unit_test(what_is_long_over_is_forgotten),
        cmocka_unit_test(jobs_are_listed_by_what_one_wants_of_them),
        cmocka_unit_test(a_file_is_checked_as_it_is),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
