// Tests of the spool: a result is a part when all of it is right, and not before.
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "common/parts/parts.h"
#include "coordinator/spool/spool.h"

static char directory[] = "/tmp/underscore-spool-XXXXXX";

struct scene {
    struct spool s;
    struct plan *plan;
    char *sent; // a part as a worker would send it
};

static struct scene begin(void)
{
    struct scene x = { 0 };
    const struct plan_model model = { 32000, 640, 2000 };
    struct plan_settings settings = plan_settings_default(&model);
    const struct plan_film film = { .path = "a.mkv", .duration_ms = 6000 };
    assert_int_equal(plan_build(&x.plan, &film, NULL, 0, &settings), ERR_OK);
    assert_true(x.plan->segment_count > 1);
    assert_int_equal(spool_open(&x.s, directory), ERR_OK);
    assert_int_equal(spool_begin(&x.s, 1, "r", 1), ERR_OK);
    x.sent = spool_path(&x.s, 1, "sent");
    return x;
}

static void end(struct scene *x)
{
    unlink(x->sent);
    free(x->sent);
    spool_remove(&x->s, 1);
    char *jobs = spool_path(&x->s, 1, "..");
    rmdir(jobs);
    free(jobs);
    plan_destroy(&x->plan);
    spool_close(&x->s);
}

// Writes a part for `segment` whose samples are `value` and reads it back as bytes.
static struct buffer part_of(const struct scene *x, uint32_t segment, const char *key,
                             float value, uint64_t samples)
{
    const uint32_t columns = x->plan->segments[segment].columns;
    float *pcm = calloc(samples, sizeof(*pcm));
    int32_t *tokens = calloc(4ull * columns, sizeof(*tokens));
    assert_true(pcm && tokens);
    for (uint64_t i = 0; i < samples; i++)
        pcm[i] = value;
    for (uint32_t i = 0; i < 4 * columns; i++)
        tokens[i] = (int32_t) i;
    assert_int_equal(part_file_write(x->sent, &(struct part_content){ key, 4, columns, tokens,
                                                                      samples, pcm }),
                     ERR_OK);
    free(pcm), free(tokens);
    return slurp(x->sent);
}

static uint64_t right_length(const struct scene *x, uint32_t segment)
{
    return (uint64_t) plan_segment_samples(x->plan, segment);
}

static enum err received(struct scene *x, uint32_t segment, const char *key,
                         const struct buffer *b)
{
    struct incoming in;
    assert_int_equal(incoming_open(&in, &x->s, 1, b->bytes), ERR_OK);
    for (size_t at = 0; at < b->bytes; at += 1000)
        assert_int_equal(
            incoming_add(&in, b->data + at, b->bytes - at < 1000 ? b->bytes - at : 1000),
            ERR_OK);
    assert_int_equal(in.received, b->bytes);
    return incoming_commit(&in, &x->s, 1, x->plan, segment, key);
}

static unsigned count_parts(const struct scene *x)
{
    char *parts = spool_path(&x->s, 1, "parts");
    unsigned n = 0;
    DIR *d = opendir(parts);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    free(parts);
    return n;
}

// More than are synced one by one: the same segment five times here, the last name stays.
static void several_results_are_put_together(void **state)
{
    (void) state;
    struct scene x = begin();
    struct spool_move moves[6] = { 0 };
    struct buffer b = part_of(&x, 0, "key", 0.5f, right_length(&x, 0));
    for (int i = 0; i < 5; i++) { // and one that there is none of
        struct incoming in;
        assert_int_equal(incoming_open(&in, &x.s, 1, b.bytes), ERR_OK);
        assert_int_equal(incoming_add(&in, b.data, b.bytes), ERR_OK);
        assert_int_equal(incoming_finish(&in, &x.s, 1, x.plan, 0, "key", &moves[i]), ERR_OK);
    }
    assert_int_equal(count_parts(&x), 5);
    assert_int_equal(spool_put(&x.s, moves, 6), ERR_OK);
    assert_int_equal(count_parts(&x), 1);
    assert_null(moves[0].from);
    char *parts = spool_path(&x.s, 1, "parts");
    assert_true(part_is_made_of(parts, x.plan, 0, "key"));
    free(parts);
    free(b.data);
    end(&x);
}

static void a_whole_result_becomes_a_part(void **state)
{
    (void) state;
    struct scene x = begin();
    struct buffer b = part_of(&x, 0, "key", 0.5f, right_length(&x, 0));
    assert_int_equal(received(&x, 0, "key", &b), ERR_OK);
    assert_int_equal(count_parts(&x), 1);
    char *parts = spool_path(&x.s, 1, "parts");
    assert_true(part_is_made_of(parts, x.plan, 0, "key"));
    free(parts);

    // Its last columns are what the next segment begins with.
    int32_t *prompt;
    size_t bytes;
    const uint32_t columns = x.plan->segments[0].columns,
                   keep = x.plan->segments[1].prompt_columns;
    assert_int_equal(spool_prompt(&x.s, 1, x.plan, 1, &prompt, &bytes), ERR_OK);
    assert_int_equal(bytes, 4 * keep * sizeof(int32_t));
    for (uint32_t k = 0; k < 4; k++)
        for (uint32_t i = 0; i < keep; i++)
            assert_int_equal(prompt[k * keep + i], k * columns + columns - keep + i);
    free(prompt);
    buffer_free(&b);
    end(&x);
}

static void a_part_that_is_damaged_prompts_nothing(void **state)
{
    (void) state;
    struct scene x = begin();
    struct buffer first = part_of(&x, 0, "key", 0.5f, right_length(&x, 0));
    struct buffer second = part_of(&x, 1, "key", 0.5f, right_length(&x, 1));
    char *parts = spool_path(&x.s, 1, "parts"), *path = part_path(parts, x.plan, 0), aside[512];
    int32_t *prompt;
    size_t bytes;
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    assert_int_equal(received(&x, 0, "key", &first), ERR_OK);
    assert_int_equal(received(&x, 1, "key", &second), ERR_OK);
    assert_int_equal(truncate(path, 5000), 0);
    const int kept = silence_stderr();
    assert_int_equal(spool_prompt(&x.s, 1, x.plan, 1, &prompt, &bytes), ERR_INPUT);
    assert_null(prompt);
    assert_int_equal(access(aside, F_OK), 0);
    assert_false(part_exists(parts, x.plan, 0));
    assert_false(part_exists(parts, x.plan, 1)); // of which the ledger never heard
    assert_int_equal(spool_prompt(&x.s, 1, x.plan, 1, &prompt, &bytes), ERR_MISSING);
    restore_stderr(kept);
    free(parts), free(path);
    buffer_free(&first), buffer_free(&second);
    end(&x);
}

static void anything_else_is_refused_and_removed(void **state)
{
    (void) state;
    struct scene x = begin();
    const uint64_t n = right_length(&x, 0);
    struct buffer good = part_of(&x, 0, "key", 0.5f, n);
    struct buffer bad[] = {
        part_of(&x, 0, "another key", 0.5f, n), part_of(&x, 0, "key", NAN, n),
        part_of(&x, 0, "key", INFINITY, n),     part_of(&x, 0, "key", 0.5f, n - 1),
        part_of(&x, 0, "key", 0.5f, n + 1),
    };
    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(received(&x, 0, "key", &bad[i]), ERR_INPUT);
        assert_int_equal(count_parts(&x), 0);
        buffer_free(&bad[i]);
    }
    for (size_t cut = 0; cut < good.bytes; cut += 997) {
        const struct buffer part = { good.data, cut, 0 };
        assert_int_equal(received(&x, 0, "key", &part), ERR_INPUT);
    }
    for (size_t at = 0; at < 300; at++) { // the header, byte by byte
        good.data[at] ^= 0x15;
        const enum err e = received(&x, 0, "key", &good);
        assert_true(e == ERR_INPUT || e == ERR_OK); // the name of the software may say anything
        good.data[at] ^= 0x15;
    }
    restore_stderr(kept);
    buffer_free(&good);
    end(&x);
}

static void what_was_half_received_is_swept(void **state)
{
    (void) state;
    struct scene x = begin();
    struct incoming in;
    assert_int_equal(incoming_open(&in, &x.s, 1, 100), ERR_OK);
    assert_int_equal(incoming_add(&in, "abc", 3), ERR_OK);
    assert_int_equal(count_parts(&x), 1);
    struct spool again;
    assert_int_equal(spool_open(&again, directory), ERR_OK); // as after a kill
    assert_int_equal(count_parts(&x), 0);
    spool_close(&again);
    incoming_discard(&in);
    incoming_discard(&in); // twice is fine
    end(&x);
}

static void a_full_disk_is_said(void **state)
{
    (void) state;
    struct scene x = begin();
    struct incoming in;
    assert_int_equal(incoming_open(&in, &x.s, 1, 100), ERR_OK);
    close(in.fd);
    in.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    const int kept = silence_stderr();
    assert_int_equal(incoming_add(&in, "abc", 3), ERR_IO);
    restore_stderr(kept);
    assert_int_equal(in.received, 0);
    incoming_discard(&in);
    end(&x);
}

static void pictures_are_there_when_they_are_whole(void **state)
{
    (void) state;
    struct scene x = begin();
    char *path = spool_frames_path(&x.s, 1, 3), piece[10];
    size_t got;
    assert_false(spool_has_frames(&x.s, 1, 3, 6));
    spill(path, "abcdef", 6);
    assert_true(spool_has_frames(&x.s, 1, 3, 6));
    assert_false(spool_has_frames(&x.s, 1, 3, 7));
    assert_int_equal(spool_read(path, 2, piece, sizeof(piece), &got), ERR_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(piece, "cdef", 4);
    assert_int_equal(spool_read(path, 100, piece, sizeof(piece), &got), ERR_OK);
    assert_int_equal(got, 0);
    spool_drop_frames(&x.s, 1, 3);
    assert_false(spool_has_frames(&x.s, 1, 3, 6));
    free(path);
    end(&x);
}

static int make_directory(void **state)
{
    (void) state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void) state;
    char jobs[64];
    snprintf(jobs, sizeof(jobs), "%s/jobs", directory);
    return rmdir(jobs) | rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_result_becomes_a_part),
        cmocka_unit_test(a_part_that_is_damaged_prompts_nothing),
        cmocka_unit_test(several_results_are_put_together),
        cmocka_unit_test(anything_else_is_refused_and_removed),
        cmocka_unit_test(what_was_half_received_is_swept),
        cmocka_unit_test(a_full_disk_is_said),
        cmocka_unit_test(pictures_are_there_when_they_are_whole),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
