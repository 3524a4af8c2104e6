// fold_fixture: what the engine's tests share: a device and the kernel `fold`
// (shaders/fold.comp). For tests only.
//
// Environment: UNDERSCORE_TEST_VALIDATION=1 turns the validation layers on; any
// message of theirs then fails the test that ends.
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shaders/fold.h"
#include "worker/engine/internal.h"

#include "fold_buffer.spv.h"
#include "fold_texels.spv.h"

static const struct kernel fold_kernel = {
    .name = "fold",
    .code = fold_buffer_spv,
    .code_bytes = sizeof(fold_buffer_spv),
    .bindings = 2,
    .push_bytes = sizeof(struct fold_push),
    .full_subgroups = true,
};

static const struct kernel fold_texels_kernel = {
    .name = "fold",
    .code = fold_texels_spv,
    .code_bytes = sizeof(fold_texels_spv),
    .bindings = 2,
    .texels = 1,
    .push_bytes = sizeof(struct fold_push),
    .full_subgroups = true,
};

struct fold_fixture {
    struct device *device;
    struct arena *arena;
    struct stream *stream;
};

static inline bool validation_wanted(void)
{
    const char *v = getenv("UNDERSCORE_TEST_VALIDATION");
    return v && *v == '1';
}

static inline int fold_setup(void **state)
{
    struct fold_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    const struct device_params params = { .validation = validation_wanted() };
    assert_int_equal(device_open(&f->device, &params), ERR_OK);
    assert_int_equal(arena_create(&f->arena, f->device, MEMORY_DEVICE, "test"), ERR_OK);
    assert_int_equal(stream_create(&f->stream, f->device), ERR_OK);
    *state = f;
    return 0;
}

static inline int fold_teardown(void **state)
{
    struct fold_fixture *f = *state;
    stream_destroy(&f->stream);
    arena_destroy(&f->arena);
    const uint32_t messages = device_validation_messages(f->device);
    device_close(&f->device);
    free(f);
    return messages ? -1 : 0;
}

// y = times * y + x + plus over `count` words.
static inline void fold(struct stream *s, struct span x, struct span y, uint32_t count,
                        uint32_t times, uint32_t plus)
{
    const struct fold_push push = { count, times, plus };
    const uint32_t lanes = device_facts(stream_device(s))->subgroup;
    stream_dispatch(s, x.view ? &fold_texels_kernel : &fold_kernel,
                    &(struct dispatch){
                        .bind = { x, y },
                        .push = &push,
                        .constants = { lanes },
                        .constant_count = 1,
                        .groups = { (count + lanes - 1) / lanes, 1, 1 },
                        .flops = 2.0 * count,
                    });
}

static inline struct span words(struct fold_fixture *f, uint32_t count, uint32_t value)
{
    struct span s;
    assert_int_equal(arena_alloc(f->arena, 4ull * count, &s), ERR_OK);
    uint32_t *v = malloc(4ull * count);
    assert_non_null(v);
    for (uint32_t i = 0; i < count; i++)
        v[i] = value;
    assert_int_equal(span_upload(f->device, s, 0, v, 4ull * count), ERR_OK);
    free(v);
    return s;
}

static inline uint32_t word_at(struct fold_fixture *f, struct span s, uint32_t i)
{
    uint32_t v;
    assert_int_equal(span_download(f->device, s, 4ull * i, &v, sizeof(v)), ERR_OK);
    return v;
}
