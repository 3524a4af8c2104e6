// ops_fixture: what every test of an operation needs: a device, spans filled
// with noise, a comparison with a reference in double. For tests only.
//
// Environment: UNDERSCORE_TEST_VALIDATION=1 turns the validation layers on; any
// message of theirs then fails the test program.
#pragma once

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/engine/stream.h"

struct ops_fixture {
    struct device *device;
    struct arena *arena;
    struct stream *stream;
    uint32_t noise; // state of noise()
};

static inline int ops_setup(void **state)
{
    struct ops_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    const char *validation = getenv("UNDERSCORE_TEST_VALIDATION");
    const struct device_params params = { .validation = validation && *validation == '1' };
    assert_int_equal(device_open(&f->device, &params), ERR_OK);
    assert_int_equal(arena_create(&f->arena, f->device, MEMORY_DEVICE, "test"), ERR_OK);
    assert_int_equal(stream_create(&f->stream, f->device), ERR_OK);
    f->noise = 1;
    *state = f;
    return 0;
}

static inline int ops_teardown(void **state)
{
    struct ops_fixture *f = *state;
    stream_destroy(&f->stream);
    arena_destroy(&f->arena);
    const uint32_t messages = device_validation_messages(f->device);
    device_close(&f->device);
    free(f);
    return messages ? -1 : 0;
}

// Uniform in [-1, 1).
static inline float noise(struct ops_fixture *f)
{
    f->noise = f->noise * 1664525u + 1013904223u; // Numerical Recipes' LCG
    return (float) (f->noise >> 8) * 0x1p-23f - 1.0f;
}

// n floats of noise times `scale`; the caller frees.
static inline float *noise_array(struct ops_fixture *f, size_t n, float scale)
{
    float *v = malloc((n ? n : 1) * sizeof(*v));
    assert_non_null(v);
    for (size_t i = 0; i < n; i++)
        v[i] = noise(f) * scale;
    return v;
}

static inline struct span span_with(struct ops_fixture *f, const void *data, size_t bytes)
{
    struct span s;
    assert_int_equal(arena_alloc_texels(f->arena, bytes, &s), ERR_OK);
    assert_int_equal(span_zero(f->device, s), ERR_OK);
    if (data)
        assert_int_equal(span_upload(f->device, s, 0, data, bytes), ERR_OK);
    return s;
}

static inline struct span span_of_floats(struct ops_fixture *f, const float *data, size_t n)
{
    return span_with(f, data, n * sizeof(float));
}

static inline float *floats_of_span(struct ops_fixture *f, struct span s, size_t n)
{
    float *v = malloc((n ? n : 1) * sizeof(*v));
    assert_non_null(v);
    assert_int_equal(span_download(f->device, s, 0, v, n * sizeof(float)), ERR_OK);
    return v;
}

// |got - want| <= atol + rtol |want| for each, a NaN failing.
static inline void assert_close(const float *got, const double *want, size_t n, double atol,
                                double rtol)
{
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double) got[i] - want[i]);
        if (!(error <= atol + rtol * fabs(want[i])))
            fail_msg("element %zu: got %.9g, want %.9g", i, (double) got[i], want[i]);
    }
}
