// Tests of safetensors: what is written is read back, and nothing unsound is
// believed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/base/files_fixture.h"
#include "common/safetensors/safetensors.h"

static const char path[] = "/tmp/underscore-safetensors-test.safetensors";

static const float floats[6] = { 1, -2, 3.5f, 0, 1e-9f, 65504 };

static enum err find_floats(struct tensor_source *self, const char *name,
                            struct tensor_view *out)
{
    (void) self;
    if (strcmp(name, "halved") != 0)
        return ERR_MISSING;
    *out = (struct tensor_view){ DTYPE_F32, 2, { 2, 3 }, floats, sizeof(floats) };
    return ERR_OK;
}

static float given; // what find_number() gives

static enum err find_number(struct tensor_source *self, const char *name,
                            struct tensor_view *out)
{
    (void) self, (void) name;
    *out = (struct tensor_view){ DTYPE_F32, 1, { 1 }, &given, sizeof(given) };
    return ERR_OK;
}

static enum err write_number(float number, enum dtype dtype)
{
    struct tensor_source source = { .find = find_number };
    const struct safetensors_item item = { "number", dtype, 1, { 1 }, NULL };
    given = number;
    return safetensors_write(path, &(struct safetensors_write_params){ .items = &item,
                                                                       .item_count = 1,
                                                                       .source = &source });
}

static void weights_that_are_no_numbers_are_refused(void **state)
{
    (void) state;
    assert_int_equal(write_number(65504, DTYPE_F16), ERR_OK);
    assert_int_equal(write_number(65536, DTYPE_F32), ERR_OK);
    unlink(path);
    const enum dtype dtypes[] = { DTYPE_F32, DTYPE_F16 };
    for (int i = 0; i < 2; i++) {
        assert_int_equal(write_number(NAN, dtypes[i]), ERR_INPUT);
        assert_int_equal(write_number(-INFINITY, dtypes[i]), ERR_INPUT);
    }
    assert_int_equal(write_number(65536, DTYPE_F16), ERR_INPUT);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void what_is_written_is_read(void **state)
{
    (void) state;
    struct tensor_source source = { .find = find_floats };
    const int64_t numbers[8] = { 1, 2, 3, 4, 5, 6, 7, -8 };
    const struct safetensors_item items[] = {
        { "odd", DTYPE_U8, 1, { 3 }, "abc" },
        { "halved", DTYPE_F16, 2, { 2, 3 }, NULL },
        { "floats", DTYPE_F32, 2, { 3, 2 }, floats },
        { "empty", DTYPE_F32, 2, { 0, 7 }, floats },
        { "numbers", DTYPE_I64, 1, { 8 }, numbers }, // 64 bytes: goes first
        { "scalar", DTYPE_F32, 0, { 0 }, floats },
    };
    const struct safetensors_string metadata[] = { { "note", "line\n\"quoted\" \xc3\xa9" } };
    assert_int_equal(safetensors_write(path,
                                       &(struct safetensors_write_params){
                                           .items = items,
                                           .item_count = 6,
                                           .metadata = metadata,
                                           .metadata_count = 1,
                                           .source = &source,
                                       }),
                     ERR_OK);
    struct safetensors *s;
    struct tensor_view t;
    assert_int_equal(safetensors_open(&s, path), ERR_OK);
    assert_int_equal(safetensors_count(s), 6);
    assert_string_equal(safetensors_metadata(s, "note"), metadata[0].value);
    assert_null(safetensors_metadata(s, "other"));
    assert_false(safetensors_find(s, "other", &t));

    assert_true(safetensors_find(s, "numbers", &t));
    assert_memory_equal(t.data, numbers, sizeof(numbers));
    assert_int_equal((uintptr_t) t.data % 64, 0);
    assert_true(safetensors_find(s, "floats", &t));
    assert_int_equal((uintptr_t) t.data % 4, 0);
    assert_int_equal(t.shape[0], 3);
    assert_memory_equal(t.data, floats, sizeof(floats));
    assert_true(safetensors_find(s, "scalar", &t));
    assert_int_equal(t.rank, 0);
    assert_int_equal(t.bytes, 4);
    assert_true(safetensors_find(s, "empty", &t));
    assert_int_equal(t.bytes, 0);
    assert_true(safetensors_find(s, "halved", &t));
    assert_int_equal(t.dtype, DTYPE_F16);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(read_le16((const uint8_t *) t.data + 2 * i),
                         half_from_float(floats[i]));
    safetensors_close(&s);
    assert_null(s);
    unlink(path);
}

static void a_failed_write_leaves_nothing(void **state)
{
    (void) state;
    const atomic_bool stop = true;
    const struct safetensors_item item = { "floats", DTYPE_F32, 1, { 6 }, floats };
    const struct safetensors_item absent = { "absent", DTYPE_F32, 1, { 6 }, NULL };
    const struct safetensors_item misshapen = { "halved", DTYPE_F32, 1, { 6 }, NULL };
    const struct safetensors_string latin1 = { "license", "\xe9" };
    struct tensor_source source = { .find = find_floats };
    struct safetensors_write_params p = { .items = &item, .item_count = 1, .stop = &stop };
    assert_int_equal(safetensors_write(path, &p), ERR_STOP);
    p = (struct safetensors_write_params){ .items = &absent,
                                           .item_count = 1,
                                           .source = &source };
    assert_int_equal(safetensors_write(path, &p), ERR_MISSING);
    p.items = &misshapen;
    assert_int_equal(safetensors_write(path, &p), ERR_INPUT);
    p = (struct safetensors_write_params){ .items = &item,
                                           .item_count = 1,
                                           .metadata = &latin1,
                                           .metadata_count = 1 };
    assert_int_equal(safetensors_write(path, &p), ERR_INPUT);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(safetensors_write("/proc/no/such", &p), ERR_CREATE);
}

static enum err parse_header(const char *header, size_t data_bytes)
{
    struct buffer b = { 0 };
    buffer_add_number(&b, strlen(header), 8);
    buffer_add_text(&b, header);
    for (size_t i = 0; i < data_bytes; i++)
        buffer_add(&b, "d", 1);
    struct safetensors *s;
    const enum err e = safetensors_parse(&s, "test", b.data, b.bytes);
    safetensors_close(&s);
    buffer_free(&b);
    return e;
}

#define T(dtype, shape, begin, end) \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"

static void unsound_headers_are_refused(void **state)
{
    (void) state;
    static const struct {
        const char *header;
        size_t data_bytes;
    } good[] = {
        { "{}", 0 },
        { "{}   ", 0 },
        { "{\"a\":" T("F32", "2", "0", "8") "}", 8 },
        { "{\"b\":" T("F16", "2", "8", "12") ",\"a\":" T("F32", "1,2", "0", "8") "}", 12 },
        { "{\"a\":" T("F32", "", "0", "4") ",\"__metadata__\":{\"k\":\"v\"}}", 4 },
        { "{\"a\":" T("F32", "0", "0", "0") ",\"b\":" T("F32", "1", "0", "4") "}", 4 },
    }, bad[] = {
        { "", 0 },
        { "[]", 0 },
        { "{", 0 },
        { "{} x", 0 },
        { "{}", 1 }, // bytes nobody owns
        { "{\"a\":" T("F32", "2", "0", "8") "}", 7 },
        { "{\"a\":" T("F32", "2", "0", "4") "}", 8 },
        { "{\"a\":" T("F32", "2", "8", "0") "}", 8 },
        { "{\"a\":" T("F32", "2", "1", "9") "}", 9 }, // a hole
        { "{\"a\":" T("F32", "2", "0", "8") ",\"b\":" T("F32", "2", "4", "12") "}", 12 },
        { "{\"a\":" T("F32", "2", "0", "8") ",\"b\":" T("F32", "2", "0", "8") "}", 8 },
        { "{\"a\":" T("F32", "1", "0", "4") ",\"a\":" T("F32", "1", "4", "8") "}", 8 },
        { "{\"a\":" T("F33", "1", "0", "4") "}", 4 },
        { "{\"a\":" T("F32", "-1", "0", "4") "}", 4 },
        { "{\"a\":" T("F32", "1.0", "0", "4") "}", 4 },
        { "{\"a\":" T("F32", "4294967296,4294967296,1", "0", "0") "}", 0 },
        { "{\"a\":" T("F32", "4611686018427387904,4", "0", "0") "}", 0 },
        { "{\"a\":" T("F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 4 },
        { "{\"a\":" T("F32", "1", "0", "18446744073709551620") "}", 4 },
        { "{\"a\":" T("F32", "1", "-4", "0") "}", 4 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4 },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4 },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4 },
        { "{\"a\":7}", 0 },
        { "{\"a\\u0000b\":" T("F32", "1", "0", "4") "}", 4 },
        { "{\"__metadata__\":{\"k\":1}}", 0 },
        { "{\"__metadata__\":[]}", 0 },
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_int_equal(parse_header(good[i].header, good[i].data_bytes), ERR_OK);
    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const enum err e = parse_header(bad[i].header, bad[i].data_bytes);
        if (e != ERR_INPUT)
            restore_stderr(kept);
        assert_int_equal(e, ERR_INPUT);
    }
    restore_stderr(kept);
}

static void a_deeply_nested_header_is_refused(void **state)
{
    (void) state;
    struct buffer b = { 0 };
    buffer_add_number(&b, 1000000, 8);
    for (int i = 0; i < 1000000; i++)
        buffer_add_text(&b, "[");
    struct safetensors *s;
    assert_int_equal(safetensors_parse(&s, NULL, b.data, b.bytes), ERR_INPUT);
    const uint64_t lengths[] = { 1000001, UINT64_MAX, UINT64_MAX - 7, 1ull << 40 };
    for (size_t i = 0; i < 4; i++) {
        memcpy(b.data, &lengths[i], 8);
        assert_int_equal(safetensors_parse(&s, NULL, b.data, b.bytes), ERR_INPUT);
    }
    buffer_free(&b);
}

// Whatever a damaged file is taken for, no view may leave it.
static void check_views(const struct safetensors *s, const struct buffer *b)
{
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor_view t = safetensors_view(s, i);
        assert_true((const uint8_t *) t.data >= b->data && t.bytes <= b->bytes &&
                    (size_t) ((const uint8_t *) t.data - b->data) <= b->bytes - t.bytes);
        assert_int_equal(t.bytes, tensor_elements(&t) * dtype_bytes(t.dtype));
    }
}

static void damage_never_leads_outside(void **state)
{
    (void) state;
    const char *header = "{\"__metadata__\":{\"k\":\"v\"},\"b\":" T(
        "F16", "3", "8", "14") ",\"a\":" T("F32", "1,2", "0", "8") "}";
    struct buffer b = { 0 };
    buffer_add_number(&b, strlen(header), 8);
    buffer_add_text(&b, header);
    buffer_add_text(&b, "12345678901234");
    struct safetensors *s;
    unsigned refused = 0;
    for (size_t i = 0; i < b.bytes; i++)
        for (unsigned flip = 1; flip < 256; flip++) {
            b.data[i] ^= (uint8_t) flip;
            const enum err e = safetensors_parse(&s, NULL, b.data, b.bytes);
            if (!e)
                check_views(s, &b);
            refused += e != ERR_OK;
            assert_true(e == ERR_OK || e == ERR_INPUT);
            safetensors_close(&s);
            b.data[i] ^= (uint8_t) flip;
        }
    assert_true(refused > b.bytes); // most of it is structure
    for (size_t i = 0; i < b.bytes; i++)
        assert_int_equal(safetensors_parse(&s, NULL, b.data, i), ERR_INPUT);
    buffer_free(&b);
}

static void the_golden_file_opens(void **state)
{
    (void) state;
    struct safetensors *s;
    struct tensor_view t;
    assert_int_equal(safetensors_open(&s, "tests/golden/tiny-a/golden.safetensors"), ERR_OK);
    assert_true(safetensors_find(s, "vis.frames", &t));
    assert_int_equal(t.rank, 4);
    assert_int_equal(t.dtype, DTYPE_F32);
    safetensors_close(&s);
    assert_int_equal(safetensors_open(&s, "tests/golden/no-such.safetensors"), ERR_MISSING);
    assert_int_equal(safetensors_open(&s, "tests/golden/tiny-a/manifest.json"), ERR_INPUT);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(weights_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(unsound_headers_are_refused),
        cmocka_unit_test(a_deeply_nested_header_is_refused),
        cmocka_unit_test(damage_never_leads_outside),
        cmocka_unit_test(the_golden_file_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
