// Tests of stream: order, replaying, cutting, failures that stick.
//
// fold is y = times * y + x + plus: digits in a number tell which dispatches
// ran, how often, and in which order.
#include "worker/engine/fold_fixture.h"
#include "worker/engine/profile.h"

static void dispatches_run_in_order(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1, 0), y = words(f, 1, 0);
    for (uint32_t digit = 1; digit <= 9; digit++)
        fold(f->stream, x, y, 1, 10, digit);
    assert_int_equal(stream_length(f->stream), 9);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 123456789);
    assert_int_equal(stream_length(f->stream), 0);
}

// Each element of a long chain depends on the same element before: with a
// barrier missing between two large dispatches some would read too early.
static void every_dispatch_sees_all_of_the_one_before(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t n = 1 << 16;
    struct span a = words(f, n, 1), b = words(f, n, 2);
    uint32_t want_a = 1, want_b = 2;
    for (uint32_t i = 0; i < 64; i++) {
        fold(f->stream, a, b, n, 3, i);
        want_b = 3 * want_b + want_a + i;
        fold(f->stream, b, a, n, 5, i);
        want_a = 5 * want_a + want_b + i;
    }
    assert_int_equal(stream_run(f->stream), ERR_OK);
    for (uint32_t i = 0; i < n; i += 4093) {
        assert_int_equal(word_at(f, a, i), want_a);
        assert_int_equal(word_at(f, b, i), want_b);
    }
}

static void what_runs_together_is_done_when_apart(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t n = 4096;
    struct span x = words(f, n, 1), parts[8], sum = words(f, n, 0);
    for (uint32_t i = 0; i < 8; i++)
        parts[i] = words(f, n, i);
    for (uint32_t round = 0; round < 3; round++) {
        stream_together(f->stream);
        for (uint32_t i = 0; i < 8; i++)
            fold(f->stream, x, parts[i], n, 2, i);
        stream_apart(f->stream);
        for (uint32_t i = 0; i < 8; i++)
            fold(f->stream, parts[i], sum, n, 3, 0);
    }
    assert_int_equal(stream_run(f->stream), ERR_OK);
    uint32_t want = 0, part[8] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 8; i++)
            part[i] = 2 * part[i] + 1 + i;
        for (uint32_t i = 0; i < 8; i++)
            want = 3 * want + part[i];
    }
    for (uint32_t i = 0; i < n; i += 511)
        assert_int_equal(word_at(f, sum, i), want);
}

static void what_is_recorded_runs_as_often_as_asked(void **state)
{
    struct fold_fixture *f = *state;
    struct span one = words(f, 1, 1), zero = words(f, 1, 0), y = words(f, 1, 0),
                z = words(f, 1, 0);
    fold(f->stream, one, y, 1, 1, 0);  // counts
    fold(f->stream, y, z, 1, 1, 0);    // sums the counts: sees each in turn
    fold(f->stream, zero, y, 1, 1, 0); // and changes nothing
    assert_int_equal(stream_submit(f->stream, 100), ERR_OK);
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 100);
    assert_int_equal(word_at(f, z, 0), 5050);
    assert_int_equal(stream_submit(f->stream, 1), ERR_OK); // without waiting between
    assert_int_equal(stream_submit(f->stream, 2), ERR_OK);
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 103);
    assert_int_equal(stream_submit(f->stream, 0), ERR_OK);
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 103);
    fold(f->stream, one, y, 1, 1, 0); // never submitted
    assert_int_equal(stream_length(f->stream), 4);
    stream_reset(f->stream);
    assert_int_equal(stream_length(f->stream), 0);
    assert_int_equal(stream_run(f->stream), ERR_OK); // nothing recorded, nothing done
    assert_int_equal(word_at(f, y, 0), 103);
}

// Costly work is cut into several submissions; the result may not show it.
static void cut_work_is_the_same_work(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1, 0), y = words(f, 1, 0);
    const uint32_t lanes = device_facts(f->device)->subgroup;
    uint32_t want = 0;
    for (uint32_t i = 0; i < 10; i++) {
        const struct fold_push push = { 1, 7, i };
        stream_dispatch(f->stream, &fold_kernel,
                        &(struct dispatch){
                            .bind = { x, y },
                            .push = &push,
                            .constants = { lanes },
                            .constant_count = 1,
                            .groups = { 1, 1, 1 },
                            .flops = i % 2 ? 1e30 : 0, // every second fills a submission
                        });
        want = 7 * want + i;
    }
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(stream_submit(f->stream, 1), ERR_OK);
        assert_int_equal(stream_wait(f->stream), ERR_OK);
        assert_int_equal(word_at(f, y, 0), want);
        for (uint32_t k = 0; k < 10; k++)
            want = 7 * want + k;
    }
    stream_reset(f->stream);
}

static void many_dispatches_are_cut_too(void **state)
{
    struct fold_fixture *f = *state;
    struct span one = words(f, 1, 1), y = words(f, 1, 0);
    for (uint32_t round = 0; round < 2; round++) { // the second reuses pools and buffers
        for (uint32_t i = 0; i < 5000; i++)
            fold(f->stream, one, y, 1, 1, 0);
        assert_int_equal(stream_length(f->stream), 5000);
        assert_int_equal(stream_run(f->stream), ERR_OK);
        assert_int_equal(word_at(f, y, 0), 5000 * (round + 1));
    }
}

static void copies_are_ordered_among_dispatches(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 64, 1), y = words(f, 64, 0), kept = words(f, 64, 9);
    fold(f->stream, x, y, 64, 10, 0);
    stream_copy(f->stream, y, span_slice(kept, 0, 128)); // half of it
    fold(f->stream, x, y, 64, 10, 0);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 63), 11);
    assert_int_equal(word_at(f, kept, 31), 1);
    assert_int_equal(word_at(f, kept, 32), 9);
}

static void texels_hold_what_was_uploaded(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t n = 1031;
    uint32_t data[1031];
    for (uint32_t i = 0; i < n; i++)
        data[i] = 0x80000000u + 77 * i; // some are signalling NaNs if taken for floats
    data[5] = 0x7f800001u;
    struct span x, y = words(f, n, 0);
    assert_int_equal(arena_alloc_texels(f->arena, sizeof(data), &x), ERR_OK);
    assert_int_equal(span_upload(f->device, x, 0, data, sizeof(data)), ERR_OK);
    assert_true(x.view != VK_NULL_HANDLE);
    fold(f->stream, x, y, n, 0, 0);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(word_at(f, y, i), data[i]);
}

static void the_first_failure_sticks(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1, 0), y = words(f, 1, 5);
    stream_fail(f->stream, ERR_NOMEM);
    stream_fail(f->stream, ERR_INPUT);
    fold(f->stream, x, y, 1, 10, 1);
    assert_int_equal(stream_length(f->stream), 0);
    assert_int_equal(stream_submit(f->stream, 1), ERR_NOMEM);
    assert_int_equal(stream_wait(f->stream), ERR_NOMEM);
    assert_int_equal(stream_run(f->stream), ERR_NOMEM);
    fold(f->stream, x, y, 1, 10, 1); // run has reset it
    assert_int_equal(stream_run(f->stream), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 51);
}

static void a_failure_undoes_nothing_that_runs(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1, 0), y = words(f, 1, 5);
    fold(f->stream, x, y, 1, 10, 1);
    assert_int_equal(stream_submit(f->stream, 1), ERR_OK);
    stream_fail(f->stream, ERR_STOP);
    assert_int_equal(stream_wait(f->stream), ERR_STOP);
    stream_reset(f->stream);
    assert_int_equal(word_at(f, y, 0), 51);
}

static void dispatch_groups(struct fold_fixture *f, uint32_t gx, uint32_t gy, uint32_t gz)
{
    struct span x = words(f, 1, 0), y = words(f, 1, 0);
    const struct fold_push push = { 1, 1, 1 };
    stream_dispatch(f->stream, &fold_kernel,
                    &(struct dispatch){
                        .bind = { x, y },
                        .push = &push,
                        .constants = { device_facts(f->device)->subgroup },
                        .constant_count = 1,
                        .groups = { gx, gy, gz },
                    });
}

static void too_many_workgroups_are_refused(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t *most = device_facts(f->device)->max_groups;
    for (uint32_t axis = 0; axis < 3; axis++) {
        if (most[axis] == UINT32_MAX)
            continue;
        uint32_t g[3] = { 1, 1, 1 };
        g[axis] = most[axis] + 1;
        dispatch_groups(f, g[0], g[1], g[2]);
        assert_int_equal(stream_run(f->stream), ERR_BUG);
    }
    dispatch_groups(f, 0, 1, 1); // none is fine, and nothing
    assert_int_equal(stream_length(f->stream), 0);
    assert_int_equal(stream_run(f->stream), ERR_OK);
}

static void spans_that_cannot_be_bound_are_refused(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1, 0), y = words(f, 1, 0);
    fold(f->stream, (struct span){ 0 }, y, 1, 1, 1);
    assert_int_equal(stream_run(f->stream), ERR_BUG);

    const struct fold_push push = { 1, 1, 1 };
    stream_dispatch(f->stream, &fold_texels_kernel,
                    &(struct dispatch){
                        .bind = { x, y },
                        .push = &push,
                        .constants = { device_facts(f->device)->subgroup },
                        .constant_count = 1,
                        .groups = { 1, 1, 1 }, // x has no view
                    });
    assert_int_equal(stream_run(f->stream), ERR_BUG);

    struct span large = x;
    large.bytes = device_facts(f->device)->max_storage_range + 4;
    fold(f->stream, large, y, 1, 1, 1);
    assert_int_equal(stream_run(f->stream), ERR_BUG);
    fold(f->stream, x, y, 1, 1, 1);
    assert_int_equal(stream_run(f->stream), ERR_OK);
}

static void two_streams_share_a_device(void **state)
{
    struct fold_fixture *f = *state;
    struct stream *other;
    assert_int_equal(stream_create(&other, f->device), ERR_OK);
    struct span x = words(f, 1, 0), y = words(f, 1, 0);
    fold(f->stream, x, y, 1, 10, 1);
    fold(other, x, y, 1, 10, 2);
    for (uint32_t i = 0; i < 3; i++) { // one queue: in the order of submission
        assert_int_equal(stream_submit(f->stream, 1), ERR_OK);
        assert_int_equal(stream_submit(other, 1), ERR_OK);
    }
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    assert_int_equal(stream_wait(other), ERR_OK);
    assert_int_equal(word_at(f, y, 0), 121212);
    assert_ptr_equal(stream_device(other), f->device);
    stream_destroy(&other);
    assert_null(other);
    stream_destroy(&other);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, fold_setup, fold_teardown)

static void dispatches_are_timed_when_asked_for(void **state)
{
    struct fold_fixture *f = *state;
    struct span x = words(f, 1 << 16, 1), y = words(f, 1 << 16, 0);
    uint32_t count = 1;
    fold(f->stream, x, y, 1 << 16, 1, 0);
    assert_int_equal(stream_run(f->stream), ERR_OK);
    profile_rows(f->device, &count);
    assert_int_equal(count, 0);
    assert_int_equal(profile_start(f->device), ERR_OK);
    for (uint32_t i = 0; i < 3; i++)
        fold(f->stream, x, y, 1 << 16, 1, 0);
    assert_int_equal(stream_submit(f->stream, 5), ERR_OK); // the last of the five counts
    assert_int_equal(stream_wait(f->stream), ERR_OK);
    stream_reset(f->stream);
    const struct profile_row *rows = profile_rows(f->device, &count);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].dispatches, 3);
    assert_true(rows[0].seconds > 0 && rows[0].seconds < 60);
    assert_int_equal(word_at(f, y, 4093), 16);
    profile_clear(f->device);
    profile_rows(f->device, &count);
    assert_int_equal(count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(dispatches_run_in_order),
        STREAM_TEST(every_dispatch_sees_all_of_the_one_before),
        STREAM_TEST(what_runs_together_is_done_when_apart),
        STREAM_TEST(what_is_recorded_runs_as_often_as_asked),
        STREAM_TEST(cut_work_is_the_same_work),
        STREAM_TEST(many_dispatches_are_cut_too),
        STREAM_TEST(copies_are_ordered_among_dispatches),
        STREAM_TEST(texels_hold_what_was_uploaded),
        STREAM_TEST(the_first_failure_sticks),
        STREAM_TEST(a_failure_undoes_nothing_that_runs),
        STREAM_TEST(too_many_workgroups_are_refused),
        STREAM_TEST(spans_that_cannot_be_bound_are_refused),
        STREAM_TEST(two_streams_share_a_device),
        STREAM_TEST(dispatches_are_timed_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
