// Tests of the choices a device remembers.
#include "worker/engine/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// Close the device and remove its cache.
static void close_and_remove(struct device *d, const char *folder)
{
    char choices[256], pipelines[256];
    snprintf(choices, sizeof(choices), "%s/choices-%s.txt", folder, device_cache_key(d));
    snprintf(pipelines, sizeof(pipelines), "%s/pipelines-%s.bin", folder, device_cache_key(d));
    device_close(&d);
    assert_int_equal(unlink(choices), 0);
    unlink(pipelines); // not every driver has something to keep
    assert_int_equal(rmdir(folder), 0);
}

static struct device *open_with(const char *cache)
{
    struct device *d;
    assert_int_equal(device_open(&d, &(struct device_params){ .cache_dir = cache }), ERR_OK);
    return d;
}

static void what_was_chosen_outlasts_the_device(void **state)
{
    (void) state;
    char folder[] = "/tmp/choice_test.XXXXXX";
    assert_non_null(mkdtemp(folder));
    struct device *d = open_with(folder);
    uint32_t value = 99;
    assert_false(device_choice(d, "matmul", &value));
    assert_int_equal(value, 99);
    device_choose_form(d, "matmul", 2);
    device_choose_form(d, "attention", 7);
    device_choose_form(d, "matmul", 3);
    device_close(&d);

    d = open_with(folder);
    assert_true(device_choice(d, "matmul", &value));
    assert_int_equal(value, 3);
    assert_true(device_choice(d, "attention", &value));
    assert_int_equal(value, 7);
    close_and_remove(d, folder);
}

static void a_damaged_file_is_read_as_far_as_it_goes(void **state)
{
    (void) state;
    char folder[] = "/tmp/choice_test.XXXXXX", path[256];
    assert_non_null(mkdtemp(folder));
    struct device *d = open_with(folder);
    snprintf(path, sizeof(path), "%s/choices-%s.txt", folder, device_cache_key(d));
    device_close(&d);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("good 5\nno-value\n", f);
    for (int i = 0; i < 500; i++)
        fputs("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", f);
    fputs("\nlast 6", f);
    fclose(f);
    d = open_with(folder);
    uint32_t value;
    assert_true(device_choice(d, "good", &value));
    assert_int_equal(value, 5);
    assert_false(device_choice(d, "no-value", &value));
    close_and_remove(d, folder);
}

static void without_a_folder_it_lasts_as_long_as_the_device(void **state)
{
    (void) state;
    struct device *d = open_with(NULL);
    uint32_t value;
    device_choose_form(d, "matmul", 1);
    assert_true(device_choice(d, "matmul", &value));
    for (uint32_t i = 0; i < 2 * CHOICE_MOST; i++) {
        char name[CHOICE_NAME_BYTES + 8];
        snprintf(name, sizeof(name), "name-%u", i);
        device_choose_form(d, name, i); // more than there is room for: the rest is forgotten
    }
    assert_true(device_choice(d, "matmul", &value));
    assert_int_equal(value, 1);
    device_close(&d);
}

// As long as the device, too; and it is tried no more.
static void a_folder_that_cannot_be_made(void **state)
{
    (void) state;
    char file[] = "/tmp/choice_test.XXXXXX", folder[64];
    const int fd = mkstemp(file);
    assert_true(fd >= 0);
    close(fd);
    snprintf(folder, sizeof(folder), "%s/cache", file);
    struct device *d = open_with(folder);
    assert_string_equal(device_cache_dir(d), folder);
    device_choose_form(d, "matmul", 1);
    assert_null(device_cache_dir(d));
    device_choose_form(d, "matmul", 2);
    uint32_t value;
    assert_true(device_choice(d, "matmul", &value));
    assert_int_equal(value, 2);
    device_close(&d);
    assert_int_equal(unlink(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_chosen_outlasts_the_device),
        cmocka_unit_test(a_damaged_file_is_read_as_far_as_it_goes),
        cmocka_unit_test(without_a_folder_it_lasts_as_long_as_the_device),
        cmocka_unit_test(a_folder_that_cannot_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
