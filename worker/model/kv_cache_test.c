// Tests of the cache's groups: how slots are spread over bindings must not show.
#include "worker/model/kv_cache.h"

#include "worker/ops/ops_fixture.h"

#define SLOTS 5
#define HEADS 2
#define WIDTH 8
#define INNER (HEADS * WIDTH)
#define POSITIONS 70

static const struct kv_cache_params sizes = {
    .layers = 2,
    .slots = SLOTS,
    .branches = 2,
    .heads = HEADS,
    .width = WIDTH,
    .positions = POSITIONS,
};

// Append the same noise to `layer` of every slot and branch; what its last
// position attends to, [SLOTS * 2][INNER].
static float *attended(struct ops_fixture *f, const struct kv_cache *c, uint32_t layer)
{
    enum { ROWS = SLOTS * 2 * POSITIONS, QUERIES = SLOTS * 2 };
    struct decode_row rows[ROWS], queries[QUERIES];
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] =
            (struct decode_row){ i / (2 * POSITIONS), i / POSITIONS % 2, i % POSITIONS, 0 };
    for (uint32_t i = 0; i < QUERIES; i++)
        queries[i] = (struct decode_row){ SLOTS - 1 - i / 2, i % 2, DECODE_AT_STEP, 0 };
    struct slot_state slots[SLOTS] = { 0 };
    for (uint32_t i = 0; i < SLOTS; i++)
        slots[i].position[0] = POSITIONS - 1 - i;
    f->noise = 7;
    float *noise = noise_array(f, ROWS * 3 * INNER, 1);
    const struct span source = span_of_floats(f, noise, ROWS * 3 * INNER);
    const struct span state = span_with(f, slots, sizeof(slots));
    const struct span y = span_of_floats(f, NULL, QUERIES * INNER);
    kv_cache_append(c, f->stream, layer,
                    &(struct kv_append){
                        .rows = span_with(f, rows, sizeof(rows)),
                        .slots = state,
                        .source = source,
                        .k_offset = INNER,
                        .v_offset = 2 * INNER,
                        .stride = 3 * INNER,
                        .row_count = ROWS,
                    });
    kv_cache_attend(c, f->stream, layer,
                    &(struct attention_step){
                        .rows = span_with(f, queries, sizeof(queries)),
                        .slots = state,
                        .q = source,
                        .y = y,
                        .q_stride = 3 * INNER,
                        .y_stride = INNER,
                        .row_count = QUERIES,
                        .scale = 0.5f,
                    });
    assert_int_equal(stream_run(f->stream), ERR_OK);
    free(noise);
    return floats_of_span(f, y, QUERIES * INNER);
}

static void groups_do_not_show(void **state)
{
    struct ops_fixture *f = *state;
    const uint64_t slot = 2 * kv_row_bytes(false, HEADS, WIDTH, 2);
    float *want = NULL;
    for (uint32_t together = SLOTS; together >= 1; together--) {
        struct kv_cache_params p = sizes;
        p.most_bytes = together * slot;
        struct kv_cache c;
        assert_int_equal(kv_cache_init(&c, f->device, f->arena, &p), ERR_OK);
        assert_int_equal(c.groups, (SLOTS + together - 1) / together);
        for (uint32_t layer = 0; layer < sizes.layers; layer++) {
            float *got = attended(f, &c, layer);
            if (want)
                assert_memory_equal(got, want, SLOTS * 2 * INNER * sizeof(*want));
            else
                want = got;
            if (got != want)
                free(got);
        }
        kv_cache_finish(&c);
    }
    free(want);
}

static void a_slot_too_large_is_refused(void **state)
{
    struct ops_fixture *f = *state;
    struct kv_cache_params p = sizes;
    p.most_bytes = 2 * kv_row_bytes(false, HEADS, WIDTH, 2) - 1;
    struct kv_cache c;
    assert_int_equal(kv_cache_init(&c, f->device, f->arena, &p), ERR_DEVICE_MEM);
    assert_null(c.blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_do_not_show),
        cmocka_unit_test(a_slot_too_large_is_refused),
    };
    return cmocka_run_group_tests(tests, ops_setup, ops_teardown);
}
