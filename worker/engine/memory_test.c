// Tests of memory: arenas, their budget, and how bytes get in and out.
#include <unistd.h>

#include "worker/engine/fold_fixture.h"

#define MIB (1ull << 20)

static struct device *device_with(uint64_t memory_limit)
{
    struct device *d;
    const struct device_params params = { .memory_limit = memory_limit,
                                          .validation = validation_wanted() };
    assert_int_equal(device_open(&d, &params), ERR_OK);
    return d;
}

static void close_clean(struct device **d)
{
    assert_int_equal(device_validation_messages(*d), 0);
    device_close(d);
}

static struct arena *arena_of(struct device *d, enum memory_kind kind)
{
    struct arena *a;
    assert_int_equal(arena_create(&a, d, kind, "test"), ERR_OK);
    return a;
}

static void spans_are_aligned_and_apart(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    const struct device_facts *f = device_facts(d);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    static const uint64_t sizes[] = { 1, 3, 4, 255, 256, 257, 65536, 1000003, 1, 70 * MIB, 5 };
    struct span spans[sizeof(sizes) / sizeof(*sizes)];
    const size_t n = sizeof(sizes) / sizeof(*sizes);
    for (size_t i = 0; i < n; i++) {
        const bool texels = i % 2 && sizes[i] < MIB;
        assert_int_equal(texels ? arena_alloc_texels(a, sizes[i], &spans[i])
                                : arena_alloc(a, sizes[i], &spans[i]),
                         ERR_OK);
        assert_int_equal(spans[i].offset % f->storage_alignment, 0);
        assert_int_equal(spans[i].offset % f->texel_alignment, 0);
        assert_true(spans[i].bytes >= sizes[i] && spans[i].bytes % 16 == 0);
        assert_int_equal(spans[i].view != VK_NULL_HANDLE, texels);
        for (size_t k = 0; k < i; k++)
            assert_true(spans[k].buffer != spans[i].buffer ||
                        spans[k].offset + spans[k].bytes <= spans[i].offset ||
                        spans[i].offset + spans[i].bytes <= spans[k].offset);
    }
    arena_destroy(&a);
    close_clean(&d);
}

static void shared_memory_is_mapped(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    d->map_nothing = true;
    struct arena *shared = arena_of(d, MEMORY_SHARED), *own = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc(shared, 100, &s), ERR_OK);
    assert_non_null(s.host);
    assert_int_equal(arena_alloc(own, 100, &s), ERR_OK);
    assert_null(s.host);
    arena_destroy(&shared);
    arena_destroy(&own);
    close_clean(&d);
}

static void memory_is_counted_and_given_back(void **state)
{
    (void) state;
    struct device *d = device_with(256 * MIB);
    struct arena *a = arena_of(d, MEMORY_DEVICE), *b = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc(a, 100 * MIB, &s), ERR_OK);
    assert_int_equal(arena_alloc(b, 10 * MIB, &s), ERR_OK);
    assert_int_equal(device_memory_used(d), arena_bytes(a) + arena_bytes(b));
    assert_int_equal(device_memory_left(d), 256 * MIB - device_memory_used(d));
    const uint64_t most = device_memory_used(d);
    arena_destroy(&a);
    assert_null(a);
    assert_int_equal(device_memory_used(d), arena_bytes(b));
    arena_destroy(&b);
    assert_int_equal(device_memory_used(d), 0);
    assert_int_equal(device_memory_peak(d), most);
    close_clean(&d);
}

// Small spans share blocks: a thousand of them must not cost a thousand blocks.
static void small_spans_share_memory(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(arena_alloc(a, 1000, &s), ERR_OK);
    assert_true(arena_bytes(a) <= 4 * MIB);
    arena_destroy(&a);
    close_clean(&d);
}

static void the_last_byte_of_the_budget_can_be_had(void **state)
{
    (void) state;
    struct device *d = device_with(65 * MIB + 4096);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc(a, 65 * MIB, &s), ERR_OK);
    assert_int_equal(arena_alloc(a, 4096, &s), ERR_OK); // no roomy block fits: a tight one
    assert_int_equal(device_memory_left(d), 0);
    arena_destroy(&a);
    close_clean(&d);
}

// Standard error of one arena_alloc(); the caller frees.
static char *complaint_of(struct arena *a, uint64_t bytes)
{
    FILE *caught = tmpfile();
    const int kept = dup(STDERR_FILENO);
    assert_true(caught && kept >= 0 && dup2(fileno(caught), STDERR_FILENO) >= 0);
    struct span s;
    const enum err e = arena_alloc(a, bytes, &s);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    assert_int_equal(e, ERR_DEVICE_MEM);
    assert_null(s.buffer);
    char *text = calloc(1, 4096);
    assert_non_null(text);
    rewind(caught);
    assert_true(fread(text, 1, 4095, caught) > 0);
    fclose(caught);
    return text;
}

static void assert_names(const char *text, const char *const *words)
{
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); // one line
    for (; *words; words++)
        if (!strstr(text, *words))
            fail_msg("'%s' is not in: %s", *words, text);
}

static void a_full_budget_says_what_would_help(void **state)
{
    (void) state;
    struct device *d = device_with(32 * MIB);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    const char *name = device_facts(d)->name;
    char *text = complaint_of(a, 48 * MIB);
    assert_names(text, (const char *const[]){ name, "48.0 MiB of test", "32.0 MiB", "budget",
                                              "--memory", NULL });
    free(text);
    text = complaint_of(a, UINT64_MAX - 3);
    assert_names(text, (const char *const[]){ name, "no room", NULL });
    free(text);
    struct span s; // and the arena still serves what fits
    assert_int_equal(arena_alloc(a, 16 * MIB, &s), ERR_OK);
    arena_destroy(&a);
    close_clean(&d);
}

static void more_than_one_allocation_holds_is_refused(void **state)
{
    (void) state;
    struct device *d = device_with(UINT64_MAX);
    d->facts.max_allocation = 3 * MIB;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    char *text = complaint_of(a, 4 * MIB);
    assert_names(text, (const char *const[]){ "4.0 MiB", "in one piece", NULL });
    free(text);
    arena_destroy(&a);
    close_clean(&d);
}

// What the driver refuses although the budget allows it comes back as an error
// too, and nothing is counted.
static void a_driver_that_refuses_is_an_error(void **state)
{
    (void) state;
    if (validation_wanted())
        skip(); // asking for more than the heap is what the layer complains about
    struct device *d = device_with(UINT64_MAX);
    d->facts.max_allocation = UINT64_MAX;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    char *text = complaint_of(a, 1ull << 46);
    assert_names(text, (const char *const[]){ "no room", "refused", NULL });
    free(text);
    assert_int_equal(device_memory_used(d), 0);
    arena_destroy(&a);
    device_close(&d);
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (uint8_t) (seed >> 24);
    }
}

static void bytes_come_back(bool map_nothing)
{
    struct device *d = device_with(0);
    d->map_nothing = map_nothing;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    const size_t n = 2 * SPAN_WRITE_MOST + 4099; // more than two stagings
    uint8_t *data = malloc(n), *back = malloc(n);
    assert_true(data && back);
    fill(data, n, 7);
    struct span s;
    assert_int_equal(arena_alloc(a, n, &s), ERR_OK);
    const enum device_kind kind = device_facts(d)->kind;
    // A discrete one's may or may not be mapped.
    if (map_nothing || kind == DEVICE_CPU || kind == DEVICE_INTEGRATED)
        assert_int_equal(s.host != NULL, !map_nothing);
    assert_int_equal(span_upload(d, s, 0, data, n), ERR_OK);

    // Odd places and lengths, each leaving its neighbours alone.
    static const uint32_t pieces[][2] = { { 0, 1 },       { 3, 5 },  { 13, 2 },
                                          { 4097, 1031 }, { 17, 7 }, { 16, 4 } };
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        fill(data + pieces[i][0], pieces[i][1], (uint32_t) i);
        assert_int_equal(span_upload(d, s, pieces[i][0], data + pieces[i][0], pieces[i][1]),
                         ERR_OK);
    }
    assert_int_equal(span_download(d, s, 0, back, n), ERR_OK);
    assert_memory_equal(data, back, n);
    assert_int_equal(span_download(d, s, 4095, back, 6), ERR_OK);
    assert_memory_equal(data + 4095, back, 6);

    assert_int_equal(span_zero(d, s), ERR_OK);
    assert_int_equal(span_upload(d, s, n - 3, data, 3), ERR_OK);
    assert_int_equal(span_download(d, s, 0, back, n), ERR_OK);
    for (size_t i = 0; i < n - 3; i++)
        if (back[i])
            fail_msg("byte %zu is not zero", i);
    assert_memory_equal(back + n - 3, data, 3);
    free(data);
    free(back);
    arena_destroy(&a);
    close_clean(&d);
}

static void bytes_come_back_from_mapped_memory(void **state)
{
    (void) state;
    bytes_come_back(false);
}

static void bytes_come_back_through_staging(void **state)
{
    (void) state;
    bytes_come_back(true);
}

// Uploads wait in the staging buffer: a dispatch submitted later must see them,
// one submitted earlier must not.
static void staged_uploads_keep_their_place(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    d->map_nothing = true;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct stream *s;
    assert_int_equal(stream_create(&s, d), ERR_OK);
    struct span x, y;
    assert_int_equal(arena_alloc(a, 4, &x), ERR_OK);
    assert_int_equal(arena_alloc(a, 4, &y), ERR_OK);
    assert_int_equal(span_zero(d, y), ERR_OK);
    fold(s, x, y, 1, 10, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(span_upload(d, x, 0, &i, sizeof(i)), ERR_OK);
        assert_int_equal(stream_submit(s, 1), ERR_OK);
    }
    uint32_t v;
    assert_int_equal(span_download(d, y, 0, &v, sizeof(v)), ERR_OK);
    assert_int_equal(v, 123);
    stream_destroy(&s);
    arena_destroy(&a);
    close_clean(&d);
}

static void an_arena_may_go_while_uploads_to_it_wait(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    d->map_nothing = true;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc(a, 64, &s), ERR_OK);
    assert_int_equal(span_zero(d, s), ERR_OK);
    arena_destroy(&a);
    close_clean(&d);
}

static void what_is_outside_a_span_is_refused(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    uint32_t v = 0;
    void *p;
    assert_int_equal(arena_alloc(a, 0, &s), ERR_BUG);
    assert_int_equal(arena_alloc(a, 64, &s), ERR_OK);
    assert_int_equal(span_upload(d, s, s.bytes - 3, &v, 4), ERR_BUG);
    assert_int_equal(span_upload(d, s, UINT64_MAX - 1, &v, 4), ERR_BUG);
    assert_int_equal(span_download(d, s, s.bytes - 3, &v, 4), ERR_BUG);
    assert_int_equal(span_write_begin(d, s, 0, s.bytes + 1, &p), ERR_BUG);
    assert_null(p);
    struct span large; // the same limit where memory is mapped as where it is not
    assert_int_equal(arena_alloc(a, 2 * SPAN_WRITE_MOST, &large), ERR_OK);
    assert_int_equal(span_write_begin(d, large, 0, SPAN_WRITE_MOST + 1, &p), ERR_BUG);
    arena_destroy(&a);
    close_clean(&d);
}

static void a_slice_is_a_part(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc_texels(a, 1024, &s), ERR_OK);
    assert_int_equal(span_zero(d, s), ERR_OK);
    const struct span part = span_slice(s, 512, 256);
    assert_null(part.view);
    assert_int_equal(part.bytes, 256);
    const uint32_t v = 0x01020304;
    uint32_t back[2];
    assert_int_equal(span_upload(d, part, 4, &v, 4), ERR_OK);
    assert_int_equal(span_download(d, s, 512, back, 8), ERR_OK);
    assert_int_equal(back[0], 0);
    assert_int_equal(back[1], v);
    arena_destroy(&a);
    close_clean(&d);
}

// A span beyond the texel limit comes without a view, not as an error.
static void too_many_texels_give_no_view(void **state)
{
    (void) state;
    struct device *d = device_with(0);
    d->facts.max_texel_elements = 64;
    struct arena *a = arena_of(d, MEMORY_DEVICE);
    struct span s;
    assert_int_equal(arena_alloc_texels(a, 64 * 16, &s), ERR_OK);
    assert_true(s.view != VK_NULL_HANDLE);
    assert_int_equal(arena_alloc_texels(a, 64 * 16 + 1, &s), ERR_OK);
    assert_true(s.view == VK_NULL_HANDLE && s.bytes > 64 * 16);
    arena_destroy(&a);
    close_clean(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_aligned_and_apart),
        cmocka_unit_test(shared_memory_is_mapped),
        cmocka_unit_test(memory_is_counted_and_given_back),
        cmocka_unit_test(small_spans_share_memory),
        cmocka_unit_test(the_last_byte_of_the_budget_can_be_had),
        cmocka_unit_test(a_full_budget_says_what_would_help),
        cmocka_unit_test(more_than_one_allocation_holds_is_refused),
        cmocka_unit_test(a_driver_that_refuses_is_an_error),
        cmocka_unit_test(bytes_come_back_from_mapped_memory),
        cmocka_unit_test(bytes_come_back_through_staging),
        cmocka_unit_test(staged_uploads_keep_their_place),
        cmocka_unit_test(an_arena_may_go_while_uploads_to_it_wait),
        cmocka_unit_test(what_is_outside_a_span_is_refused),
        cmocka_unit_test(a_slice_is_a_part),
        cmocka_unit_test(too_many_texels_give_no_view),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
