// Tests of device: choosing, describing, opening.
#include <fcntl.h>
#include <unistd.h>

#include "worker/engine/fold_fixture.h"

static const struct device_facts machine[] = {
    { .index = 0,
      .name = "llvmpipe (LLVM 15.0.6, 256 bits)",
      .kind = DEVICE_CPU,
      .usable = true,
      .uuid = "6d657361-3232-2e33-2e36-000000000000" },
    { .index = 1,
      .name = "Intel(R) UHD Graphics 770",
      .kind = DEVICE_INTEGRATED,
      .usable = true,
      .uuid = "8680a046-0c00-0000-0002-000000000000" },
    { .index = 2,
      .name = "NVIDIA GeForce GTX 480",
      .kind = DEVICE_DISCRETE,
      .usable = false,
      .uuid = "12345678-0000-0000-0000-000000000001" },
    { .index = 3,
      .name = "NVIDIA GeForce RTX 4060",
      .kind = DEVICE_DISCRETE,
      .usable = true,
      .uuid = "12345678-0000-0000-0000-000000000002" },
    { .index = 4,
      .name = "Virtio-GPU Venus",
      .kind = DEVICE_VIRTUAL,
      .usable = true,
      .uuid = "abcdef01-0000-0000-0000-000000000003" },
};

// The index chosen among the first `count` devices, or -1.
static int chosen(uint32_t count, const char *select)
{
    const struct device_facts *f = device_choose(machine, count, select);
    return f ? (int) f->index : -1;
}

static void the_best_usable_device_is_taken(void **state)
{
    (void) state;
    assert_int_equal(chosen(5, NULL), 3);
    assert_int_equal(chosen(3, NULL), 1);
    assert_int_equal(chosen(1, NULL), 0);
    assert_int_equal(chosen(0, NULL), -1);
}

static void a_device_is_named_by_index_uuid_or_name(void **state)
{
    (void) state;
    assert_int_equal(chosen(5, "0"), 0);
    assert_int_equal(chosen(5, "4"), 4);
    assert_int_equal(chosen(5, "5"), -1);
    assert_int_equal(chosen(5, "llvmPIPE"), 0);
    assert_int_equal(chosen(5, "uhd"), 1);
    assert_int_equal(chosen(5, "nvidia"), 3); // of the two, the one that can be used
    assert_int_equal(chosen(5, "4060"), 3);
    assert_int_equal(chosen(5, "480"), -1); // there, but not usable
    assert_int_equal(chosen(5, "12345678"), 3);
    assert_int_equal(chosen(5, "ABCDEF01-0000-0000-0000-000000000003"), 4);
    assert_int_equal(chosen(5, "abcdef"), -1); // too short for a UUID
    assert_int_equal(chosen(5, ""), -1);
}

// Runs open() with standard error caught; the caller frees the text.
static char *messages_of(enum err (*open_one)(void), enum err *result)
{
    char name[] = "/tmp/underscore-device-XXXXXX";
    const int file = mkstemp(name), kept = dup(STDERR_FILENO);
    assert_true(file >= 0 && kept >= 0);
    assert_true(dup2(file, STDERR_FILENO) >= 0);
    *result = open_one();
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    char *text = calloc(1, 65536);
    assert_non_null(text);
    assert_true(pread(file, text, 65535, 0) >= 0);
    close(file);
    unlink(name);
    return text;
}

static uint32_t lines_of(const char *text)
{
    uint32_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static enum err open_default(void)
{
    struct device *d = NULL;
    const enum err e = device_open(&d, &(struct device_params){ 0 });
    assert_true(e || d);
    device_close(&d);
    assert_null(d);
    return e;
}

static enum err open_unheard_of(void)
{
    struct device *d = NULL;
    const enum err e = device_open(&d, &(struct device_params){ .select = "Voodoo 2" });
    assert_null(d);
    return e;
}

static enum err list_devices(void)
{
    struct device_facts *all;
    uint32_t n;
    const enum err e = device_list(&all, &n);
    assert_true(e == ERR_OK || (!all && n == 0));
    free(all);
    return e;
}

static void one_helpful_line(enum err (*open_one)(void), const char *word)
{
    enum err e;
    char *text = messages_of(open_one, &e);
    assert_int_equal(e, ERR_UNAVAILABLE);
    assert_int_equal(lines_of(text), 1);
    assert_non_null(strstr(text, word));
    free(text);
}

static void a_name_nobody_has_is_one_line(void **state)
{
    (void) state;
    one_helpful_line(open_unheard_of, "Voodoo 2");
}

static enum err lose_the_device(void)
{
    const struct device d = { .facts = { .name = "GeForce 256" } };
    return vk_failed(&d, "decoder step: waiting", VK_ERROR_DEVICE_LOST);
}

static enum err fill_the_device(void)
{
    const struct device d = { .facts = { .name = "GeForce 256" } };
    return vk_failed(&d, "vkCreateDevice", VK_ERROR_OUT_OF_DEVICE_MEMORY);
}

static enum err meet_the_unknown(void)
{
    return vk_failed(NULL, "vkCreateInstance", VK_ERROR_UNKNOWN);
}

static void one_line_with(enum err (*fail)(void), enum err want, const char *const *words)
{
    enum err e;
    char *text = messages_of(fail, &e);
    assert_int_equal(e, want);
    assert_int_equal(lines_of(text), 1);
    for (; *words; words++)
        assert_non_null(strstr(text, *words));
    free(text);
}

static void a_driver_s_failure_names_device_and_work(void **state)
{
    (void) state;
    one_line_with(
        lose_the_device, ERR_DEVICE,
        (const char *const[]){ "GeForce 256", "decoder step", "lost", "may help", NULL });
    one_line_with(fill_the_device, ERR_DEVICE_MEM,
                  (const char *const[]){ "GeForce 256", "out of device memory", NULL });
    one_line_with(meet_the_unknown, ERR_DEVICE,
                  (const char *const[]){ "vkCreateInstance", "-13", NULL });
}

// What the loader reads in place of the machine's list of drivers.
static void set_drivers(const char *files)
{
    setenv("VK_ICD_FILENAMES", files, 1);
    setenv("VK_DRIVER_FILES", files, 1);
}

static void a_machine_without_driver_is_one_line(void **state)
{
    (void) state;
    const char *icd = getenv("VK_ICD_FILENAMES"), *driver = getenv("VK_DRIVER_FILES");
    char *kept_icd = icd ? strdup(icd) : NULL, *kept_driver = driver ? strdup(driver) : NULL;
    set_drivers("/dev/null");
    one_helpful_line(open_default, "mesa-vulkan-drivers");
    one_helpful_line(list_devices, "mesa-vulkan-drivers");
    kept_icd ? setenv("VK_ICD_FILENAMES", kept_icd, 1) : unsetenv("VK_ICD_FILENAMES");
    kept_driver ? setenv("VK_DRIVER_FILES", kept_driver, 1) : unsetenv("VK_DRIVER_FILES");
    free(kept_icd);
    free(kept_driver);
}

static void the_facts_make_sense(void **state)
{
    (void) state;
    struct device_facts *all;
    uint32_t n;
    assert_int_equal(device_list(&all, &n), ERR_OK);
    assert_true(n > 0); // the tests need a device; Mesa's CPU driver is one
    for (uint32_t i = 0; i < n; i++) {
        const struct device_facts *f = &all[i];
        assert_int_equal(f->index, i);
        assert_true(f->name[0] && f->driver[0]);
        assert_int_equal(strlen(f->uuid), 36);
        if (!f->usable)
            continue;
        assert_true(f->memory > 0 && f->budget <= f->memory);
        assert_true(f->subgroup >= 1 && f->subgroup_min <= f->subgroup &&
                    f->subgroup <= f->subgroup_max);
        assert_true(f->max_storage_range >= 1u << 27); // the specification's least
        assert_true(f->storage_alignment <= 256 && f->texel_alignment <= 256);
    }
    free(all);
}

// Devices that are not here, by the limits they report.
static void a_device_that_lacks_something_is_not_usable(void **state)
{
    (void) state;
    const struct device_facts able = {
        .api_major = 1,
        .api_minor = 1,
        .subgroup = 32,
        .subgroup_min = 32,
        .subgroup_max = 32,
        .subgroup_arithmetic = true,
        .subgroup_shuffle = true,
        .max_stage_buffers = 6,
    };
    struct device_facts f = able;
    facts_settle(&f, true);
    assert_true(f.usable && f.subgroup == 32);
    f = able, facts_settle(&f, false);
    assert_false(f.usable);
    f = able, f.api_minor = 0, facts_settle(&f, true);
    assert_false(f.usable);
    // Vulkan 1.1 asks for the BASIC operations only.
    f = able, f.subgroup_arithmetic = false, facts_settle(&f, true);
    assert_false(f.usable);
    f = able, f.subgroup_shuffle = false, facts_settle(&f, true);
    assert_false(f.usable);
    f = able, f.max_stage_buffers = 4, facts_settle(&f, true); // the specification's least
    assert_false(f.usable);
}

static void subgroups_of_128_are_made_64_where_that_can_be_asked_for(void **state)
{
    (void) state;
    struct device_facts f = {
        .api_major = 1,
        .api_minor = 3,
        .subgroup = 128,
        .subgroup_min = 64,
        .subgroup_max = 128,
        .subgroup_arithmetic = true,
        .subgroup_shuffle = true,
        .max_stage_buffers = 16,
    };
    facts_settle(&f, true);
    assert_true(f.usable);
    assert_int_equal(f.subgroup, 64);
    f.subgroup = f.subgroup_min = 128;
    facts_settle(&f, true);
    assert_false(f.usable);
}

static void a_device_opens_by_its_own_uuid(void **state)
{
    (void) state;
    struct device *d;
    assert_int_equal(
        device_open(&d, &(struct device_params){ .validation = validation_wanted() }), ERR_OK);
    char uuid[37];
    memcpy(uuid, device_facts(d)->uuid, sizeof(uuid));
    const uint32_t index = device_facts(d)->index;
    device_close(&d);
    assert_int_equal(device_open(&d, &(struct device_params){ .select = uuid }), ERR_OK);
    assert_int_equal(device_facts(d)->index, index);
    assert_non_null(strstr(device_cache_key(d), uuid));
    assert_null(device_cache_dir(d));
    device_close(&d);
    device_close(&d); // NULL inside is fine
}

static void the_memory_limit_is_what_the_caller_says(void **state)
{
    (void) state;
    struct device *d;
    assert_int_equal(device_open(&d, &(struct device_params){ .memory_limit = 5u << 20 }),
                     ERR_OK);
    assert_int_equal(device_memory_left(d), 5u << 20);
    assert_int_equal(device_memory_used(d), 0);
    device_close(&d);
    assert_int_equal(device_open(&d, &(struct device_params){ 0 }), ERR_OK);
    assert_int_equal(device_memory_left(d), device_facts(d)->budget);
    device_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_usable_device_is_taken),
        cmocka_unit_test(a_device_is_named_by_index_uuid_or_name),
        cmocka_unit_test(a_name_nobody_has_is_one_line),
        cmocka_unit_test(a_machine_without_driver_is_one_line),
        cmocka_unit_test(a_driver_s_failure_names_device_and_work),
        cmocka_unit_test(the_facts_make_sense),
        cmocka_unit_test(a_device_that_lacks_something_is_not_usable),
        cmocka_unit_test(subgroups_of_128_are_made_64_where_that_can_be_asked_for),
        cmocka_unit_test(a_device_opens_by_its_own_uuid),
        cmocka_unit_test(the_memory_limit_is_what_the_caller_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
