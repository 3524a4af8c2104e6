// Tests of kernel: pipelines by constants, and their cache on disk.
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/engine/fold_fixture.h"

static void pipelines_differ_by_kernel_and_constants(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t lanes = device_facts(f->device)->subgroup;
    struct pipeline *p;
    assert_int_equal(pipeline_get(f->device, &fold_kernel, (uint32_t[]){ lanes }, 1, &p),
                     ERR_OK);
    const VkPipeline first = p->handle;
    assert_int_equal(pipeline_get(f->device, &fold_kernel, (uint32_t[]){ 2 * lanes }, 1, &p),
                     ERR_OK);
    assert_true(p->handle != first);
    assert_int_equal(pipeline_get(f->device, &fold_texels_kernel, (uint32_t[]){ lanes }, 1, &p),
                     ERR_OK);
    assert_true(p->handle != first);
    assert_int_equal(f->device->pipeline_count, 3);
    assert_int_equal(kernel_prepare(f->device, &fold_kernel, (uint32_t[]){ lanes }, 1), ERR_OK);
    assert_int_equal(pipeline_get(f->device, &fold_kernel, (uint32_t[]){ lanes }, 1, &p),
                     ERR_OK);
    assert_true(p->handle == first);
    assert_int_equal(f->device->pipeline_count, 3); // the fourth and fifth were there
}

// Pipelines move when there are many: what uses one may not keep its address.
static void a_hundred_pipelines_are_kept(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t lanes = device_facts(f->device)->subgroup;
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(
                kernel_prepare(f->device, &fold_kernel, (uint32_t[]){ lanes, i }, 2), ERR_OK);
    assert_int_equal(f->device->pipeline_count, 100);
}

static void several_are_made_side_by_side_and_each_once(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t lanes = device_facts(f->device)->subgroup;
    uint32_t constants[40][2];
    struct pipeline_want wants[40];
    for (uint32_t i = 0; i < 40; i++) {
        constants[i][0] = lanes;
        constants[i][1] = i / 2;
        wants[i] = (struct pipeline_want){ &fold_kernel, constants[i], 2 };
    }
    assert_int_equal(pipelines_make(f->device, wants, 2), ERR_OK);
    const VkPipeline first = f->device->pipelines[0].handle;
    assert_int_equal(pipelines_make(f->device, wants, 40), ERR_OK);
    assert_int_equal(f->device->pipeline_count, 20);
    assert_true(f->device->pipelines[0].handle == first);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(f->device->pipelines[i].constants[1], i);
        for (uint32_t k = 0; k < i; k++)
            assert_true(f->device->pipelines[i].handle != f->device->pipelines[k].handle);
    }
    constants[1][1] = 99;
    wants[2].constant_count = KERNEL_MAX_CONSTANTS + 1;
    assert_int_equal(pipelines_make(f->device, wants, 40), ERR_BUG);
    assert_int_equal(f->device->pipeline_count, 20); // 99 was not made, and is not known either
    assert_int_equal(pipelines_make(f->device, wants, 2), ERR_OK);
    assert_int_equal(f->device->pipeline_count, 21);
}

static void too_many_constants_are_refused(void **state)
{
    struct fold_fixture *f = *state;
    const uint32_t constants[KERNEL_MAX_CONSTANTS + 1] = { 8 };
    assert_int_equal(
        kernel_prepare(f->device, &fold_kernel, constants, KERNEL_MAX_CONSTANTS + 1), ERR_BUG);
}

// The cache: a folder of its own for each test.
struct cache {
    char directory[128];
    char file[400]; // the one in it, after a run
    struct stat status;
};

static int cache_setup(void **state)
{
    struct cache *c = calloc(1, sizeof(*c));
    assert_non_null(c);
    snprintf(c->directory, sizeof(c->directory), "/tmp/underscore-kernel-XXXXXX");
    assert_non_null(mkdtemp(c->directory));
    *state = c;
    return 0;
}

// The only file in the folder; false when there is none. More fail the test.
static bool cache_look(struct cache *c)
{
    DIR *d = opendir(c->directory);
    assert_non_null(d);
    uint32_t n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            snprintf(c->file, sizeof(c->file), "%s/%s", c->directory, e->d_name);
            n++;
        }
    closedir(d);
    assert_true(n <= 1);
    if (n)
        assert_int_equal(stat(c->file, &c->status), 0);
    return n == 1;
}

static int cache_teardown(void **state)
{
    struct cache *c = *state;
    if (cache_look(c))
        unlink(c->file);
    const int left = rmdir(c->directory);
    free(c);
    return left;
}

// One process's life: open, compile, run, close. True when what was computed is right.
static bool run_with_cache(const char *directory)
{
    struct fold_fixture f = { 0 };
    assert_int_equal(device_open(&f.device, &(struct device_params){ .cache_dir = directory }),
                     ERR_OK);
    assert_int_equal(arena_create(&f.arena, f.device, MEMORY_DEVICE, "test"), ERR_OK);
    assert_int_equal(stream_create(&f.stream, f.device), ERR_OK);
    struct span x = words(&f, 1, 30), y = words(&f, 1, 6);
    fold(f.stream, x, y, 1, 2, 0);
    assert_int_equal(stream_run(f.stream), ERR_OK);
    const uint32_t v = word_at(&f, y, 0);
    stream_destroy(&f.stream);
    arena_destroy(&f.arena);
    device_close(&f.device);
    return v == 42;
}

static void the_cache_is_written_once(void **state)
{
    struct cache *c = *state;
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    const ino_t first = c->status.st_ino;
    assert_true(c->status.st_size > 24);
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    assert_int_equal(c->status.st_ino, first); // nothing new to say: not written again
}

static void the_cache_is_named_by_device_and_driver(void **state)
{
    struct cache *c = *state;
    struct device *d;
    assert_int_equal(device_open(&d, &(struct device_params){ .cache_dir = c->directory }),
                     ERR_OK);
    char want[400];
    snprintf(want, sizeof(want), "%s/pipelines-%s.bin", c->directory, device_cache_key(d));
    assert_non_null(strstr(device_cache_key(d), device_facts(d)->uuid));
    device_close(&d);
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    assert_string_equal(c->file, want);
}

static uint8_t *contents(const struct cache *c, size_t *n)
{
    *n = (size_t) c->status.st_size;
    uint8_t *p = malloc(*n);
    FILE *f = fopen(c->file, "rb");
    assert_true(p && f && fread(p, 1, *n, f) == *n);
    fclose(f);
    return p;
}

static void replace(const struct cache *c, const uint8_t *p, size_t n)
{
    FILE *f = fopen(c->file, "wb");
    assert_true(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

static void assert_written_anew(struct cache *c, const uint8_t *good, size_t n)
{
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    size_t now_bytes;
    uint8_t *now = contents(c, &now_bytes);
    assert_int_equal(now_bytes, n);
    assert_memory_equal(now, good, 8);
    assert_true(now[n - 1] == good[n - 1]);
    free(now);
}

static void a_damaged_cache_is_made_anew(void **state)
{
    struct cache *c = *state;
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    size_t n;
    uint8_t *good = contents(c, &n);

    uint8_t *bad = malloc(n);
    assert_non_null(bad);
    memcpy(bad, good, n);
    bad[n - 1] ^= 1; // in the driver's data
    replace(c, bad, n);
    assert_written_anew(c, good, n);
    memcpy(bad, good, n);
    bad[0] ^= 1; // another format
    replace(c, bad, n);
    assert_written_anew(c, good, n);
    replace(c, good, n - 1); // cut
    assert_written_anew(c, good, n);
    replace(c, good, 5);
    assert_written_anew(c, good, n);
    replace(c, good, 0);
    assert_written_anew(c, good, n);
    free(bad);
    free(good);
}

// A file of ours whose data the driver has no use for: sound, but worthless.
static void a_stranger_s_cache_is_replaced(void **state)
{
    struct cache *c = *state;
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    const ino_t first = c->status.st_ino;
    uint8_t stranger[24 + 4096] = "uscpipe1";
    const uint64_t bytes = 4096;
    uint64_t sum = bytes;
    for (size_t i = 0; i < bytes; i++)
        sum *= 0x100000001b3u; // FNV-1a of zeros
    memcpy(stranger + 8, &bytes, 8);
    memcpy(stranger + 16, &sum, 8);
    replace(c, stranger, sizeof(stranger));
    assert_true(run_with_cache(c->directory));
    assert_true(cache_look(c));
    // A driver whose cache is empty has nothing to replace it by.
    if (c->status.st_ino == first) {
        struct device *d;
        assert_int_equal(device_open(&d, &(struct device_params){ 0 }), ERR_OK);
        size_t empty = 0;
        assert_int_equal(vkGetPipelineCacheData(d->handle, d->pipeline_cache, &empty, NULL),
                         VK_SUCCESS);
        assert_true(empty <= 32);
        device_close(&d);
    }
}

static void a_folder_is_made_for_the_cache(void **state)
{
    struct cache *c = *state;
    char deeper[sizeof(c->directory)];
    snprintf(deeper, sizeof(deeper), "%.100s/a", c->directory);
    assert_true(run_with_cache(deeper));
    struct cache inner = { 0 };
    snprintf(inner.directory, sizeof(inner.directory), "%s", deeper);
    assert_true(cache_look(&inner));
    assert_int_equal(unlink(inner.file), 0);
    assert_int_equal(rmdir(deeper), 0);
}

static void a_cache_that_cannot_be_written_does_no_harm(void **state)
{
    (void) state;
    assert_true(run_with_cache("/dev/null/cache"));
    assert_true(run_with_cache("/proc/self/cache"));
}

#define KERNEL_TEST(name) cmocka_unit_test_setup_teardown(name, fold_setup, fold_teardown)
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, cache_setup, cache_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        KERNEL_TEST(pipelines_differ_by_kernel_and_constants),
        KERNEL_TEST(a_hundred_pipelines_are_kept),
        KERNEL_TEST(several_are_made_side_by_side_and_each_once),
        KERNEL_TEST(too_many_constants_are_refused),
        CACHE_TEST(the_cache_is_written_once),
        CACHE_TEST(the_cache_is_named_by_device_and_driver),
        CACHE_TEST(a_damaged_cache_is_made_anew),
        CACHE_TEST(a_stranger_s_cache_is_replaced),
        CACHE_TEST(a_folder_is_made_for_the_cache),
        cmocka_unit_test(a_cache_that_cannot_be_written_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
