// What a file may say and what not; and that a table, dumped, says the same when read again.
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "common/base/log.h"
#include "common/config/config.h"

struct all {
    struct option_spec table[12];
    bool flag;
    const char *text, *optional;
    int64_t whole, time_ms;
    uint64_t seed, bytes;
    double number;
    int choice;
    struct option_list list;
};

static bool is_calm(const char *text, char *why, size_t room)
{
    snprintf(why, room, "too loud");
    return !strchr(text, '!');
}

static void make(struct all *a)
{
    static const char *const choices[] = { "left", "right", NULL };
    *a = (struct all){ 0 };
    const struct option_spec table[] = {
        { .name = "Things", .kind = OPTION_HEADING },
        { .name = "flag",
          .kind = OPTION_FLAG,
          .target = &a->flag,
          .reload = true,
          .help = "a flag" },
        { .name = "text",
          .kind = OPTION_STRING,
          .target = &a->text,
          .fallback = "a \"word\" \\",
          .help = "a text" },
        { .name = "optional",
          .kind = OPTION_STRING,
          .target = &a->optional,
          .check = is_calm,
          .help = "another" },
        { .name = "whole",
          .kind = OPTION_INT,
          .target = &a->whole,
          .min = -5,
          .max = 5,
          .fallback = "3",
          .reload = true,
          .help = "a whole number" },
        { .name = "time",
          .kind = OPTION_SECONDS,
          .target = &a->time_ms,
          .min = 1,
          .max = 100000,
          .fallback = "1.5",
          .unit = "s",
          .help = "a time" },
        { .name = "seed",
          .kind = OPTION_SEED,
          .target = &a->seed,
          .fallback = "0",
          .help = "a seed" },
        { .name = "bytes",
          .kind = OPTION_BYTES,
          .target = &a->bytes,
          .min = 1024,
          .max = 1e12,
          .fallback = "4G",
          .help = "a size" },
        { .name = "number",
          .kind = OPTION_NUMBER,
          .target = &a->number,
          .min = 0.05,
          .max = 60,
          .fallback = "0.1",
          .unit = "s",
          .reload = true,
          .help = "a number" },
        { .name = "choice",
          .kind = OPTION_CHOICE,
          .target = &a->choice,
          .choices = choices,
          .fallback = "right",
          .help = "a choice" },
        { .name = "list",
          .kind = OPTION_LIST,
          .target = &a->list,
          .reload = true,
          .help = "a list" },
    };
    memcpy(a->table, table, sizeof(table));
    assert_int_equal(options_default(a->table), ERR_OK);
}

static enum err parse(struct config **c, struct all *a, const char *text)
{
    return config_parse(c, a->table, "x.conf", text, strlen(text));
}

static void test_all_kinds(void **state)
{
    (void) state;
    struct all a;
    struct config *c;
    make(&a);
    assert_string_equal(a.text, "a \"word\" \\");
    assert_int_equal(a.bytes, 4ull << 30);
    assert_int_equal(
        parse(
            &c, &a,
            "# a remark\nflag = true;\ntext = \"other\"\noptional = \"there\";\nwhole = -5;\n"
            "time = \"1:02:03.5\";\nseed = 18446744073709551L;\nbytes = \"1.5M\";\nnumber = 60;\n"
            "choice = \"left\";\nlist = [ \"a\", \"b\" ];\n"),
        ERR_OK);
    assert_true(a.flag);
    assert_string_equal(a.text, "other");
    assert_string_equal(a.optional, "there");
    assert_int_equal(a.whole, -5);
    assert_int_equal(a.time_ms, 3723500);
    assert_int_equal(a.seed, 18446744073709551);
    assert_int_equal(a.bytes, 3 << 19);
    assert_true(a.number >= 60 && a.number <= 60);
    assert_int_equal(a.choice, 0);
    assert_int_equal(a.list.count, 2);
    assert_string_equal(a.list.items[1], "b");
    assert_null(a.list.items[2]);
    config_close(&c);
    make(&a);
    assert_int_equal(parse(&c, &a, "optional = \"\"; list = \"one\"; bytes = 2048;"), ERR_OK);
    assert_null(a.optional);
    assert_int_equal(a.list.count, 1);
    assert_int_equal(a.bytes, 2048);
    config_close(&c);
}

static void test_what_is_wrong_is_said(void **state)
{
    (void) state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        { "whole = 6;", "x.conf:1: whole = 6: must be -5 to 5" },
        { "\n\nnumber = 0.01;", "x.conf:3: number = 0.01: must be 0.05 to 60 s" },
        { "bytes = \"1K\";\nbytes2 = 3;", "x.conf:2: no setting bytes2; there are flag, text" },
        { "bytes = \"1\";", "x.conf:1: bytes = 1: must be" },
        { "whole = 1.5;", "x.conf:1: whole: a whole number is wanted" },
        { "whole = \"1\";", "x.conf:1: whole: a whole number is wanted" },
        { "flag = 1;", "x.conf:1: flag: true or false is wanted" },
        { "text = true;", "x.conf:1: text: text in quotes is wanted" },
        { "text = \"\";", "x.conf:1: text = : empty" },
        { "\noptional = \"there!\";", "x.conf:2: optional = there!: too loud" },
        { "choice = \"up\";", "x.conf:1: choice = up: not one of left, right" },
        { "list = ( \"a\", 3 );", "x.conf:1: list: a list of texts" },
        { "list = [ \"a\", \"\" ];", "x.conf:1: list = : empty" },
        { "time = \"soon\";", "x.conf:1: time = soon: not a time" },
        { "number = { a = 1; };", "x.conf:1: number: a number is wanted" },
        { "flag = true;\nwhole = ;\n", "x.conf:2: syntax error" },
        { "whole = 1;\nwhole = 2;\n", "x.conf:2: duplicate setting name" },
        { "# 1\ntext = \"99999999999 \\\" \"; /* 99999999999\n */ whole = 99999999999999999999;",
          "x.conf:3: 99999999999999999999: too large" },
        { "whole = 4294967297;", "x.conf:1: 4294967297: too large for a number; write an L" },
        { "bytes = 0xffffffffffffffffL;", "x.conf:1: 0xffffffffffffffff: too large" },
        { "whole = 4294967297L;", "x.conf:1: whole = 4294967297: must be -5 to 5" },
        { "number = 1e999;", "x.conf:1: number = inf: not a number" },
        { "flag = true;\n@include \"/etc/passwd\"\n", "x.conf:2: files are not included here" },
    };
    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct all a;
        struct config *c;
        char said[1024] = "";
        make(&a);
        log_keep_error(said, sizeof(said));
        const enum err e = parse(&c, &a, cases[i].text);
        log_keep_error(NULL, 0);
        config_close(&c);
        if (e != ERR_CONFIG || strncmp(said, cases[i].says, strlen(cases[i].says)) != 0) {
            restore_stderr(kept);
            fail_msg("%s: %d, %s", cases[i].text, e, said);
        }
    }
    restore_stderr(kept);
}

static void keep_line(void *to, const char *text)
{
    buffer_add_text(to, text);
    buffer_add_text(to, "\n");
}

static void test_a_dump_is_read_again(void **state)
{
    (void) state;
    struct all a, again;
    struct config *c, *d;
    struct buffer first = { 0 }, second = { 0 }, none = { 0 };
    make(&a);
    config_dump(a.table, keep_line, &none);
    none.data[none.bytes] = 0;
    for (char *line = strtok((char *) none.data, "\n"); line; line = strtok(NULL, "\n"))
        assert_int_equal(line[0], '#'); // the defaults: all of it is commented out
    assert_int_equal(
        parse(&c, &a,
              "whole = 1; list = ( \"x\", \"a \\\"b\\\" \\\\\" ); number = 0.25; seed = 7; "
              "bytes = 5000; choice = \"left\"; time = 90; flag = true; text = \"y\";"),
        ERR_OK);
    config_dump(a.table, keep_line, &first);
    make(&again);
    assert_int_equal(config_parse(&d, again.table, "dump", (char *) first.data, first.bytes),
                     ERR_OK);
    config_dump(again.table, keep_line, &second);
    assert_int_equal(first.bytes, second.bytes);
    assert_memory_equal(first.data, second.data, first.bytes);
    config_close(&c);
    config_close(&d);
    buffer_free(&first);
    buffer_free(&second);
    buffer_free(&none);
}

static void test_taking_over(void **state)
{
    (void) state;
    struct all now, fresh;
    struct config *c;
    struct buffer said = { 0 };
    make(&now);
    make(&fresh);
    assert_int_equal(parse(&c, &fresh, "whole = 1; text = \"new\"; list = [ \"a\" ];"), ERR_OK);
    config_take_over(now.table, fresh.table, true, keep_line, &said);
    assert_int_equal(now.whole, 3);
    config_take_over(now.table, fresh.table, false, keep_line, &said);
    said.data[said.bytes] = 0;
    assert_int_equal(now.whole, 1);
    assert_string_equal(now.list.items[0], "a");
    assert_string_equal(now.text, "a \"word\" \\"); // not while it runs
    assert_non_null(strstr((char *) said.data, "whole: 3 -> 1\n"));
    assert_non_null(strstr((char *) said.data,
                           "text: still \"a \\\"word\\\" \\\\\"; \"new\" needs a restart\n"));
    config_close(&c);
    buffer_free(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_what_is_wrong_is_said),
        cmocka_unit_test(test_a_dump_is_read_again),
        cmocka_unit_test(test_taking_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
