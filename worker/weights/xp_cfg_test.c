// Tests of xp_cfg: interpolations, and the ways a configuration may be hostile.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "worker/weights/weights_fixture.h"
#include "worker/weights/xp_cfg.h"

static const char sample[] = "sample_rate: 32000\n"
                             "encodec:\n"
                             "  causal: false\n"
                             "  sample_rate: ${sample_rate}\n"
                             "seanet:\n"
                             "  causal: ${encodec.causal}\n"
                             "  ratios:\n  - 8\n  - 5\n"
                             "  norm_params: {}\n"
                             "  lstm: '2'\n"
                             "alias: ${seanet}\n"
                             "far: ${alias.causal}\n"
                             "eps: 1.0e-12\n"
                             "none: null\n"
                             "quoted: 'null'\n"
                             "dir: /checkpoint/${oc.env:USER}/x\n"
                             "a: ${b}\n"
                             "b: ${c.d}\n"
                             "c: ${a}\n"
                             "self: ${self}\n"
                             "relative: ${.eps}\n"
                             "lost: ${no.where}\n";

static void values_and_interpolations(void **state)
{
    (void) state;
    struct xp_cfg *c;
    assert_int_equal(xp_cfg_parse(&c, "test", sample), ERR_OK);
    uint32_t n = 7, list[4], count = 9;
    double real = 0;
    bool flag = true, present;
    char text[32];
    assert_int_equal(xp_cfg_u32(c, "encodec.sample_rate", &n), ERR_OK);
    assert_int_equal(n, 32000);
    assert_int_equal(xp_cfg_bool(c, "far", &flag), ERR_OK);
    assert_false(flag);
    assert_int_equal(xp_cfg_real(c, "eps", &real), ERR_OK);
    assert_true(real == 1e-12);
    assert_int_equal(xp_cfg_u32_list(c, "alias.ratios", list, 4, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(list[1], 5);
    assert_int_equal(xp_cfg_u32(c, "seanet.lstm", &n), ERR_OK);
    assert_int_equal(n, 2);

    n = 7;
    assert_int_equal(xp_cfg_u32(c, "none", &n), ERR_OK);
    assert_int_equal(xp_cfg_u32(c, "seanet.no", &n), ERR_OK);
    assert_int_equal(xp_cfg_u32(c, "eps.no.such", &n), ERR_OK);
    assert_int_equal(n, 7);
    assert_int_equal(xp_cfg_text(c, "seanet.ratios", text, sizeof(text), &present), ERR_OK);
    assert_string_equal(text, "8,5");
    assert_int_equal(xp_cfg_text(c, "seanet.ratios", text, 3, &present), ERR_OK);
    assert_string_equal(text, "8,");
    assert_int_equal(xp_cfg_text(c, "seanet.norm_params", text, sizeof(text), &present),
                     ERR_OK);
    assert_string_equal(text, "{}");
    assert_int_equal(xp_cfg_text(c, "none", text, sizeof(text), &present), ERR_OK);
    assert_string_equal(text, "null");
    assert_int_equal(xp_cfg_text(c, "no", text, sizeof(text), &present), ERR_OK);
    assert_false(present);
    xp_cfg_free(&c);
    assert_null(c);
}

static void wrong_kinds_and_loops_are_refused(void **state)
{
    (void) state;
    struct xp_cfg *c;
    assert_int_equal(xp_cfg_parse(&c, "test", sample), ERR_OK);
    uint32_t n = 7, list[4], count;
    double real;
    bool flag;
    assert_int_equal(xp_cfg_u32(c, "a", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "c.d.e", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "self", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "relative", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "lost", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "dir", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "eps", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "seanet", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_u32(c, "quoted", &n), ERR_INPUT);
    assert_int_equal(xp_cfg_real(c, "encodec.causal", &real), ERR_INPUT);
    assert_int_equal(xp_cfg_bool(c, "sample_rate", &flag), ERR_INPUT);
    assert_int_equal(xp_cfg_u32_list(c, "seanet.ratios", list, 1, &count), ERR_INPUT);
    assert_int_equal(xp_cfg_u32_list(c, "eps", list, 1, &count), ERR_INPUT);
    assert_int_equal(n, 7);
    xp_cfg_free(&c);
}

static enum err parse(const char *text)
{
    struct xp_cfg *c;
    const enum err e = xp_cfg_parse(&c, "test", text);
    xp_cfg_free(&c);
    return e;
}

static void hostile_texts_are_refused(void **state)
{
    (void) state;
    static const char *const texts[] = {
        "",
        "a: [1, 2",
        "a: &x [1]\nb: *x\n",
        "a: &x [*x]\n",
        "? [a]\n: b\n",
        "? {a: b}\n: c\n",
        "a: \"\\0\"\n",
        "\xff\xfe\xfd",
        "a:\n\t- b\n",
        "%YAML 9.9\n---\na: b\n",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_int_equal(parse(texts[i]), ERR_INPUT);

    struct buffer b = { 0 };
    for (int i = 0; i < 100000; i++)
        buffer_add_text(&b, "[");
    b.data[b.bytes] = 0;
    assert_int_equal(parse((const char *) b.data), ERR_INPUT);
    buffer_free(&b);
    for (int i = 0; i < 140000; i++)
        buffer_add_text(&b, "- 1\n");
    b.data[b.bytes] = 0;
    assert_int_equal(parse((const char *) b.data), ERR_INPUT);
    buffer_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_interpolations),
        cmocka_unit_test(wrong_kinds_and_loops_are_refused),
        cmocka_unit_test(hostile_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
