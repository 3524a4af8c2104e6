// Tests of require: what is understood, what is refused, and whom it lets through.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/schedule/require.h"

static const struct fleet_worker small = {
    .name = "node1/0",
    .vendor = "AMD",
    .device = "Radeon Pro W5500",
    .driver = "radv",
    .memory = 8ull << 30,
    .slots = 4,
};
static const struct fleet_worker large = {
    .name = "node2/1",
    .vendor = "NVIDIA",
    .device = "H100 PCIe",
    .driver = "NVIDIA",
    .memory = 80ull << 30,
    .slots = 32,
};

static bool lets_through(const char *text, const struct fleet_worker *w)
{
    struct require r;
    char why[256] = "";
    assert_int_equal(require_parse(&r, text, why, sizeof(why)), ERR_OK);
    assert_string_equal(why, "");
    return !require_unmet(&r, w);
}

static void terms_mean_what_they_say(void **state)
{
    (void) state;
    const struct {
        const char *text;
        bool small, large;
    } cases[] = {
        { "", true, true },
        { "vram>=8G", true, true },
        { "vram>8G", false, true },
        { "vram<=8GiB", true, false },
        { "vram<8G", false, false },
        { "vram=8589934592", true, false },
        { "vram!=8G", false, true },
        { "vram>=0.5T", false, false },
        { "vram>=81919M", false, true },
        { "slots>=32", false, true },
        { "slots=4", true, false },
        { "vendor=amd", true, false },
        { "vendor!=amd", false, true },
        { "vendor=Nvidia", false, true },
        { "vendor~vid", false, true },
        { "device~w5500", true, false },
        { "device=Radeon", false, false },
        { "name=node1/0", true, false },
        { "driver=radv,vram>=8G", true, false },
        { "vendor=amd,vram>=16G", false, false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(lets_through(cases[i].text, &small), cases[i].small);
        assert_int_equal(lets_through(cases[i].text, &large), cases[i].large);
    }
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void) state;
    const char *const cases[] = {
        "vram",
        "vram>=",
        "vram>=much",
        "vram>=-1",
        "vram>=8X",
        "vram~8",
        "vram>=inf",
        "colour=red",
        "vendor>=amd",
        "vendor=",
        "=8",
        ",",
        "vram>=8G,",
        "vram>=8G,,vendor=amd",
        " vram>=8G",
        "vendor=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "slots>1,slots>1,slots>1,slots>1,slots>1,slots>1,slots>1,slots>1,slots>1",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct require r;
        char why[256] = "";
        assert_int_equal(require_parse(&r, cases[i], why, sizeof(why)), ERR_INPUT);
        assert_true(strlen(why) > 0);
    }
}

static void an_offer_meets_what_it_names(void **state)
{
    (void) state;
    struct require asked, offer;
    char why[256] = "";
    const struct {
        const char *asked;
        bool met;
    } cases[] = {
        { "", true },
        { "vram>=8G", true },
        { "vram>=24G,vendor=AMD", true },
        { "vendor~md", true },
        { "vram>24G", false },
        { "vram<24G", false },
        { "vendor=nvidia", false },
        { "vendor!=nvidia", true },
        { "driver!=radv", false },
        { "vram>=8G,slots>=1", false }, // nothing was said of those
    };
    assert_int_equal(require_parse_offer(&offer, "vram=24G,vendor=amd", why, sizeof(why)),
                     ERR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(require_parse(&asked, cases[i].asked, why, sizeof(why)), ERR_OK);
        assert_int_equal(!require_unoffered(&asked, &offer), cases[i].met);
    }
    const struct require_term *unmet = require_unoffered(&asked, &offer);
    assert_ptr_equal(unmet, &asked.terms[1]);
    require_term_text(unmet, why, sizeof(why));
    assert_string_equal(why, "slots>=1");
    assert_int_equal(require_parse_offer(&offer, "", why, sizeof(why)), ERR_OK);
    assert_null(require_unoffered(&asked, &offer)); // it could have anything
    assert_int_equal(require_parse_offer(&offer, "vram>=24G", why, sizeof(why)), ERR_INPUT);
    assert_string_equal(why, "'vram>=24G': what is offered is said with =, once for each fact");
    assert_int_equal(
        require_parse_offer(&offer, "vram=24G,vendor=amd,vram=8G", why, sizeof(why)),
        ERR_INPUT);
    assert_string_equal(why, "'vram=8G': what is offered is said with =, once for each fact");
    assert_int_equal(require_parse_offer(&offer, "colour=red", why, sizeof(why)), ERR_INPUT);
}

static void it_says_what_is_missing(void **state)
{
    (void) state;
    struct require r;
    char text[256];
    assert_int_equal(require_parse(&r, "vram>=4G,vram>=16G,vendor=intel", text, sizeof(text)),
                     ERR_OK);
    assert_int_equal(r.count, 3);
    require_say(require_unmet(&r, &small), &small, text, sizeof(text));
    assert_string_equal(text, "vram>=16G (it has 8.0 GiB)");
    require_say(require_unmet(&r, &large), &large, text, sizeof(text));
    assert_string_equal(text, "vendor=intel (it has NVIDIA)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_mean_what_they_say),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(an_offer_meets_what_it_names),
        cmocka_unit_test(it_says_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
