// Tests of wire: what is sent is received, and nothing else is believed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/base/files_fixture.h"
#include "common/wire/crc32c.h"
#include "common/wire/wire.h"

static void the_checksum_is_castagnolis(void **state)
{
    (void) state;
    uint8_t bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes)); // RFC 3720, B.4
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
    for (size_t cut = 0; cut <= 32; cut++)
        assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, 32 - cut), 0x46dd794e);
    for (size_t from = 0; from < 9; from++) // at any alignment and length, both ways
        for (size_t n = 0; n + from <= 32; n++)
            assert_int_equal(crc32c(7, bytes + from, n), crc32c_by_table(7, bytes + from, n));
}

// A message of each type, its numbers, texts and lists made of `seed`.
static struct wire_message *example(enum wire_type type, uint64_t seed)
{
    static uint8_t data[1000];
    struct wire_message *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->type = type;
    m->seq = mix64(seed, 1);
    m->incarnation = mix64(seed, 2);
    m->epoch = seed;
    switch ((int) type) {
    case WIRE_HELLO:
        strcpy(m->hello.name, "node é/0");
        m->hello.memory = UINT64_MAX;
        memset(m->hello.has, 'a', 65);
        m->hello.model =
            (struct wire_model){ "aa", 32000, 640, 30000, 1.5, 336, 4, -0.5, "CC-BY-NC é" };
        m->hello.held = (struct wire_ids){ 3, { 1, UINT64_MAX, 7 } };
        break;
    case WIRE_LEASE:
        m->lease = (struct wire_lease){ .attempt = seed,
                                        .fence = 2,
                                        .columns = 1500,
                                        .seed = UINT64_MAX,
                                        .temperature = 0.1,
                                        .top_k = 250,
                                        .key = "model x film y" };
        break;
    case WIRE_BEAT: m->beat.held.count = WIRE_MAX_IDS; break;
    case WIRE_BEAT_ACK:
        m->beat_ack.order = WIRE_TERMINATE;
        m->beat_ack.cancel = (struct wire_ids){ 2, { seed, seed + 1 } };
        m->beat_ack.rehello = true;
        break;
    case WIRE_SUBMIT:
        memset(m->submit.film, 'a', sizeof(m->submit.film) - 1);
        m->submit.priority = -5;
        m->submit.segment_ms = INT64_MIN;
        m->submit.max_cue_ms = INT64_MAX;
        m->submit.target_lufs = -14;
        break;
    case WIRE_CHUNK:
        m->chunk.data = (struct wire_bytes){ data, sizeof(data) };
        m->chunk.crc32c = crc32c(0, data, sizeof(data));
        break;
    default: break; // zeros and empty texts
    }
    return m;
}

static void every_message_survives_the_round_trip(void **state)
{
    (void) state;
    for (int t = 0; t < WIRE_TYPES; t++) {
        struct wire_message *m = example((enum wire_type) t, 99),
                            *back = calloc(1, sizeof(*back));
        uint8_t *bytes, *again;
        size_t n, n_again;
        const char *why;
        assert_non_null(back);
        assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
        assert_int_equal(wire_decode(back, bytes, n, &why), ERR_OK);
        assert_int_equal(back->type, t);
        assert_int_equal(back->seq, m->seq);
        assert_int_equal(wire_encode(&again, &n_again, back), ERR_OK);
        assert_int_equal(n, n_again);
        assert_memory_equal(bytes, again, n);
        free(bytes), free(again), free(m), free(back);
    }
}

static void what_a_message_says_arrives(void **state)
{
    (void) state;
    struct wire_message *m = example(WIRE_HELLO, 5), *back = calloc(1, sizeof(*back));
    uint8_t *bytes;
    size_t n;
    const char *why;
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
    assert_int_equal(wire_decode(back, bytes, n, &why), ERR_OK);
    assert_string_equal(back->hello.name, "node é/0");
    assert_true(back->hello.memory == UINT64_MAX);
    assert_int_equal(back->hello.model.max_duration_ms, 30000);
    assert_true(back->hello.model.guidance == -0.5);
    assert_int_equal(back->hello.held.count, 3);
    assert_true(back->hello.held.id[1] == UINT64_MAX);
    free(bytes), free(m), free(back);

    m = example(WIRE_SUBMIT, 5), back = calloc(1, sizeof(*back));
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
    assert_int_equal(wire_decode(back, bytes, n, &why), ERR_OK);
    assert_int_equal(strlen(back->submit.film), WIRE_PATH_BYTES - 1);
    assert_int_equal(back->submit.priority, -5);
    assert_true(back->submit.segment_ms == INT64_MIN && back->submit.max_cue_ms == INT64_MAX);
    free(bytes), free(m), free(back);
}

static bool refused(const uint8_t *bytes, size_t n)
{
    static struct wire_message out;
    const char *why = NULL;
    const enum err e = wire_decode(&out, bytes, n, &why);
    assert_true(e == ERR_OK ? !why : e == ERR_INPUT && why && *why);
    return e != ERR_OK;
}

static void cut_or_longer_messages_are_refused(void **state)
{
    (void) state;
    for (int t = 0; t < WIRE_TYPES; t++) {
        struct wire_message *m = example((enum wire_type) t, 3);
        uint8_t *bytes;
        size_t n;
        assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
        uint8_t *copy = malloc(n + 1);
        assert_non_null(copy);
        for (size_t cut = 0; cut < n; cut++) {
            uint8_t *exact = malloc(cut ? cut : 1); // so that a byte too far is seen
            memcpy(exact, bytes, cut);
            assert_true(refused(exact, cut));
            free(exact);
        }
        memcpy(copy, bytes, n);
        copy[n] = 0xc0;
        assert_true(refused(copy, n + 1));
        free(copy), free(bytes), free(m);
    }
}

// One byte changed at a time: refused, or another message that is as sound.
static void changed_messages_are_refused_or_sound(void **state)
{
    (void) state;
    static struct wire_message out;
    unsigned refusals = 0, tried = 0;
    for (int t = 0; t < WIRE_TYPES; t++) {
        struct wire_message *m = example((enum wire_type) t, 8);
        uint8_t *bytes, *again;
        size_t n, n_again;
        const char *why;
        assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
        const size_t step = n > 2000 ? 37 : 1;
        for (size_t at = 0; at < n; at += step)
            for (unsigned by = 1; by < 256; by = by * 2 + 1) {
                bytes[at] = (uint8_t) (bytes[at] ^ by);
                if (wire_decode(&out, bytes, n, &why)) {
                    refusals++;
                } else {
                    assert_int_equal(wire_encode(&again, &n_again, &out), ERR_OK);
                    free(again);
                }
                tried++;
                bytes[at] = (uint8_t) (bytes[at] ^ by);
            }
        free(bytes), free(m);
    }
    assert_true(tried > 10000 && refusals > tried / 4);
}

static void promises_that_are_not_kept_cost_nothing(void **state)
{
    (void) state;
    const uint8_t huge_map[] = { 0xdf, 0xff, 0xff, 0xff, 0xff, 0xa1, 'v', 1 };
    const uint8_t huge_array[] = { 0x81, 0xa1, 'v', 0xdd, 0xff, 0xff, 0xff, 0xff };
    const uint8_t huge_text[] = { 0x81, 0xdb, 0xff, 0xff, 0xff, 0xff, 'v' };
    const uint8_t extension[] = { 0x81, 0xa1, 'v', 0xd4, 1, 1 };
    const uint8_t never_used[] = { 0x81, 0xa1, 'v', 0xc1 };
    uint8_t deep[4096];
    memset(deep, 0x91, sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = 0xc0;
    assert_true(refused(huge_map, sizeof(huge_map)));
    assert_true(refused(huge_array, sizeof(huge_array)));
    assert_true(refused(huge_text, sizeof(huge_text)));
    assert_true(refused(extension, sizeof(extension)));
    assert_true(refused(never_used, sizeof(never_used)));
    assert_true(refused(deep, sizeof(deep)));
}

static void another_version_is_told_apart(void **state)
{
    (void) state;
    const uint8_t other[] = { 0x82, 0xa1, 'v', WIRE_VERSION + 1,
                              0xa4, 't',  'y', 'p',
                              'e',  0xa5, 'H', 'E',
                              'L',  'L',  'O' };
    struct wire_message out;
    const char *why;
    assert_int_equal(wire_decode(&out, other, sizeof(other), &why), ERR_INPUT);
    assert_string_equal(why, WIRE_OTHER_VERSION);
}

static void what_may_be_asked_later_is_told_apart(void **state)
{
    (void) state;
    assert_true(wire_is_later("/films/a.mp4: its file system does not answer" WIRE_LATER));
    assert_false(wire_is_later("/films/a.mp4" WIRE_LATER ": not a file in a folder"));
    assert_false(wire_is_later(""));
}

static void what_the_other_side_would_refuse_is_not_sent(void **state)
{
    (void) state;
    struct wire_message *m = example(WIRE_PULL, 1);
    uint8_t *bytes;
    size_t n;
    const int kept = silence_stderr();
    m->pull.want = WIRE_MAX_WANT + 1;
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_BUG);
    free(m);
    m = example(WIRE_LEASE, 1);
    m->lease.temperature = (double) NAN;
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_BUG);
    m->lease.temperature = 1;
    memset(m->lease.key, 'k', sizeof(m->lease.key));
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_BUG);
    free(m);
    restore_stderr(kept);
}

static struct wire_job *long_job(uint64_t number)
{
    struct wire_job *j = calloc(1, sizeof(*j));
    assert_non_null(j);
    *j = (struct wire_job){ .job = number,
                            .state = "RUNNING",
                            .owner = "é",
                            .priority = -7,
                            .segments = 200,
                            .submitted_ms = INT64_MAX,
                            .left_ms = -1,
                            .over = true };
    memset(j->film, 'f', sizeof(j->film) - 1);
    memset(j->reason, 'r', sizeof(j->reason) - 1);
    return j;
}

static void as_many_jobs_as_fit_go_in_one_message(void **state)
{
    (void) state;
    static uint8_t rows[WIRE_ROWS_BYTES];
    uint32_t bytes = 0, count = 0;
    uint8_t *sent;
    size_t n;
    const char *why;
    struct wire_job *j = long_job(1), *back = calloc(1, sizeof(*back));
    struct wire_message *m = example(WIRE_JOBS, 1);
    for (; wire_add_row(rows, &bytes, j); count++)
        j->job++;
    assert_in_range(count, 8, 12);
    m->jobs.rows = (struct wire_bytes){ rows, bytes };
    assert_int_equal(wire_encode(&sent, &n, m), ERR_OK);
    assert_int_equal(wire_decode(m, sent, n, &why), ERR_OK);
    for (struct wire_bytes left = m->jobs.rows; left.bytes; count--) {
        assert_int_equal(wire_take_row(back, &left), ERR_OK);
        assert_int_equal(back->job, j->job - count);
        assert_string_equal(back->film, j->film);
        assert_true(back->priority == -7 && back->submitted_ms == INT64_MAX && back->over &&
                    !back->failed);
    }
    assert_int_equal(count, 0);
    memset(j->state, 'x', sizeof(j->state)); // nobody would take that
    bytes = 0;
    assert_false(wire_add_row(rows, &bytes, j));
    free(sent), free(m), free(j), free(back);
}

static void rows_that_are_no_jobs_are_refused(void **state)
{
    (void) state;
    static uint8_t rows[WIRE_ROWS_BYTES];
    uint32_t bytes = 0;
    struct wire_job *j = long_job(1), *back = calloc(1, sizeof(*back));
    j->film[20] = j->reason[20] = 0;
    assert_true(wire_add_row(rows, &bytes, j));
    for (uint32_t cut = 1; cut < bytes; cut++) {
        uint8_t *exact = malloc(cut); // so that a byte too far is seen
        assert_non_null(exact);
        memcpy(exact, rows, cut);
        assert_int_equal(wire_take_row(back, &(struct wire_bytes){ exact, cut }), ERR_INPUT);
        free(exact);
    }
    rows[0] ^= 0x80; // not an array
    assert_int_equal(wire_take_row(back, &(struct wire_bytes){ rows, bytes }), ERR_INPUT);
    free(j), free(back);
}

static void nothing_large_travels_on_control(void **state)
{
    (void) state;
    static uint8_t data[WIRE_CHUNK_BYTES];
    struct wire_message *m = example(WIRE_CHUNK, 1);
    m->chunk.data = (struct wire_bytes){ data, sizeof(data) };
    uint8_t *bytes;
    size_t n;
    const char *why;
    assert_int_equal(wire_encode(&bytes, &n, m), ERR_OK);
    assert_true(n > WIRE_CONTROL_BYTES && n <= WIRE_BULK_BYTES);
    assert_int_equal(wire_decode(m, bytes, n, &why), ERR_OK);
    free(bytes), free(m);
    for (int t = 0; t < WIRE_TYPES; t++)
        if (!wire_is_bulk((enum wire_type) t))
            assert_int_equal(wire_most_bytes((enum wire_type) t), WIRE_CONTROL_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_castagnolis),
        cmocka_unit_test(every_message_survives_the_round_trip),
        cmocka_unit_test(what_a_message_says_arrives),
        cmocka_unit_test(cut_or_longer_messages_are_refused),
        cmocka_unit_test(changed_messages_are_refused_or_sound),
        cmocka_unit_test(promises_that_are_not_kept_cost_nothing),
        cmocka_unit_test(another_version_is_told_apart),
        cmocka_unit_test(what_may_be_asked_later_is_told_apart),
        cmocka_unit_test(what_the_other_side_would_refuse_is_not_sent),
        cmocka_unit_test(as_many_jobs_as_fit_go_in_one_message),
        cmocka_unit_test(rows_that_are_no_jobs_are_refused),
        cmocka_unit_test(nothing_large_travels_on_control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
