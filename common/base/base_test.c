// Tests of base: sizes, halves, files that are whole or absent.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/base/file.h"
#include "common/base/files_fixture.h"
#include "common/base/log.h"
#include "common/base/utf8.h"

static void sizes_do_not_wrap(void **state)
{
    (void) state;
    uint64_t r = 7;
    assert_false(size_mul(UINT64_MAX, 2, &r));
    assert_false(size_add(UINT64_MAX, 1, &r));
    assert_int_equal(r, 7);
    assert_true(size_mul(1u << 20, 1u << 20, &r));
    assert_int_equal(r, 1ull << 40);
    assert_int_equal(round_up(17, 8), 24);
    assert_int_equal(round_up(16, 8), 16);
}

static void every_half_survives_the_round_trip(void **state)
{
    (void) state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = half_to_float((uint16_t) h);
        if (isnan(f))
            assert_true(isnan(half_to_float(half_from_float(f))));
        else
            assert_int_equal(half_from_float(f), h);
    }
}

static void halves_round_to_nearest_even(void **state)
{
    (void) state;
    assert_int_equal(half_from_float(1.0f + 0x1p-11f), 0x3c00); // a tie, to even
    assert_int_equal(half_from_float(1.0f + 3 * 0x1p-11f), 0x3c02);
    assert_int_equal(half_from_float(1.0f + 0x1.1p-11f), 0x3c01);
    assert_int_equal(half_from_float(65519.0f), 0x7bff);
    assert_int_equal(half_from_float(65520.0f), 0x7c00);
    assert_int_equal(half_from_float(0x1p-25f), 0x0000); // a tie with zero
    assert_int_equal(half_from_float(0x1.1p-25f), 0x0001);
    assert_int_equal(half_from_float(-0x1p-14f), 0x8400);
    assert_int_equal(half_from_float(0x1.ffep-15f), 0x0400); // rounds into the normals
}

static void an_output_is_whole_or_absent(void **state)
{
    (void) state;
    char directory[] = "/tmp/underscore-base-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char path[64];
    snprintf(path, sizeof(path), "%s/a/b/out", directory);
    struct out_file f;
    assert_int_equal(out_file_open(&f, path), ERR_CREATE);
    char parent[64];
    snprintf(parent, sizeof(parent), "%s/a/b", directory);
    assert_int_equal(file_make_directory(parent), ERR_OK);

    assert_int_equal(out_file_open(&f, path), ERR_OK);
    fputs("half", f.stream);
    assert_int_not_equal(access(path, F_OK), 0);
    out_file_discard(&f);
    assert_int_not_equal(access(path, F_OK), 0);

    assert_int_equal(out_file_open(&f, path), ERR_OK);
    fputs("whole", f.stream);
    assert_int_equal(out_file_commit(&f), ERR_OK);
    struct file_map m;
    assert_int_equal(file_map(&m, path), ERR_OK);
    assert_int_equal(m.bytes, 5);
    assert_memory_equal(m.data, "whole", 5);
    file_unmap(&m);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(parent), 0); // so nothing else is in it
    parent[strlen(parent) - 2] = 0;
    rmdir(parent);
    rmdir(directory);
}

static void a_full_disk_leaves_nothing(void **state)
{
    (void) state;
    struct out_file f;
    assert_int_equal(out_file_open(&f, "/tmp/underscore-full-disk-test"), ERR_OK);
    fclose(f.stream);
    f.stream = fopen("/dev/full", "wb"); // every flush fails with ENOSPC
    assert_non_null(f.stream);
    fputs("x", f.stream);
    assert_int_equal(out_file_commit(&f), ERR_FULL);
    assert_int_not_equal(access("/tmp/underscore-full-disk-test", F_OK), 0);
}

// Who may write into a folder and not read it cannot sync it, either.
static void a_folder_that_cannot_be_read_takes_files(void **state)
{
    (void) state;
    char directory[] = "/tmp/underscore-base-XXXXXX", path[64];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/out", directory);
    assert_int_equal(chmod(directory, 0333), 0);
    const bool is_root = geteuid() == 0;
    if (is_root)
        assert_int_equal(seteuid(65534), 0);
    struct out_file f;
    const enum err opened = out_file_open(&f, path);
    const enum err written = opened ? opened : out_file_commit(&f);
    if (is_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(written, ERR_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(directory), 0);
}

static void text_of_unknown_origin_becomes_text(void **state)
{
    (void) state;
    char out[64];
    assert_string_equal(utf8_clean(out, sizeof(out), "a\xffz \xc3\xa9", true),
                        "a\xef\xbf\xbdz \xc3\xa9");
    assert_string_equal(utf8_clean(out, sizeof(out), "\x1b[2J\x7f\xc2\x9b", true),
                        "\xef\xbf\xbd[2J\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(utf8_clean(out, sizeof(out), "a\nb\xed\xa0\x80", false),
                        "a\nb\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(utf8_clean(out, 4, "ab\xc3\xa9", true), "ab"); // not half a character
    assert_string_equal(utf8_clean(out, 5, "ab\xc3\xa9", true), "ab\xc3\xa9");
}

static void what_was_logged_last_is_known(void **state)
{
    (void) state;
    char out[64];
    const int kept = silence_stderr();
    log_init("test", LOG_INFO);
    for (int i = 0; i < 500; i++)
        log_info("line %d", i);
    log_debug("nobody sees this");
    restore_stderr(kept);
    log_tail(out, 30);
    assert_string_equal(out, "test: line 498\ntest: line 499"); // 29 bytes, and the zero
    log_tail(out, 29);
    assert_string_equal(out, "test: line 499");
    log_tail(out, 5);
    assert_string_equal(out, "");
}

static void an_event_has_fields_in_the_journal(void **state)
{
    (void) state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    char got[4096];
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/underscore-journal-%d",
             getpid());
    const int listener = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *) &address, sizeof(address)), 0);
    log_init("test", LOG_INFO);
    log_journal(address.sun_path);
    log_event(
        LOG_WARN,
        &(struct log_subject){ .job = 7, .has_segment = true, .worker = "gpu1/0\nPRIORITY=0" },
        "segment %d is\nlost", 0);
    ssize_t n = recv(listener, got, sizeof(got) - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    got[n] = 0;
    assert_string_equal(
        got, "MESSAGE=segment 0 is?lost\nPRIORITY=4\nSYSLOG_IDENTIFIER=test\nUNDERSCORE_JOB=7\n"
             "UNDERSCORE_SEGMENT=0\nUNDERSCORE_WORKER=gpu1/0?PRIORITY=0\n");
    log_tail(got, sizeof(got));
    // A worker's last words, too.
    assert_non_null(strstr(got, "test: warning: segment 0 is?lost"));
    log_event(LOG_INFO, &(struct log_subject){ .job = 7 }, "job 7");
    log_event(LOG_DEBUG, &(struct log_subject){ .job = 7 }, "nobody sees this");
    n = recv(listener, got, sizeof(got) - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    got[n] = 0;
    assert_string_equal(
        got, "MESSAGE=job 7\nPRIORITY=6\nSYSLOG_IDENTIFIER=test\nUNDERSCORE_JOB=7\n");
    assert_true(recv(listener, got, sizeof(got), MSG_DONTWAIT) < 0);
    close(listener); // nobody listens: a line like the others
    unlink(address.sun_path);
    const int kept = silence_stderr();
    log_event(LOG_INFO, &(struct log_subject){ .job = 8 }, "job 8");
    restore_stderr(kept);
    log_tail(got, 16);
    assert_string_equal(got, "test: job 8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_do_not_wrap),
        cmocka_unit_test(every_half_survives_the_round_trip),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(an_output_is_whole_or_absent),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(a_folder_that_cannot_be_read_takes_files),
        cmocka_unit_test(text_of_unknown_origin_becomes_text),
        cmocka_unit_test(what_was_logged_last_is_known),
        cmocka_unit_test(an_event_has_fields_in_the_journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
