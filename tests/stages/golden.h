// golden: the golden data of tests/golden/tiny-a and a fixture with its model on
// a device, for the tests of the model's stages. For tests only; run from the
// source folder, as ctest does.
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
#include <jansson.h>

#include "common/safetensors/safetensors.h"
#include "worker/engine/device.h"
#include "worker/model/probe.h"
#include "worker/weights/import.h"

#define GOLDEN "tests/golden/tiny-a/"

struct golden {
    struct probe probe; // first: compares what it sees with the golden tensor
    struct device *device;
    struct model_import *model, *model_f16;
    struct safetensors *tensors;
    json_t *manifest;
    bool loose;        // half-precision weights: `loose_atol` is the tolerance
    unsigned compared; // tensors so far
};

static inline struct tensor_view golden_tensor(const struct golden *g, const char *name)
{
    struct tensor_view t;
    if (!safetensors_find(g->tensors, name, &t))
        fail_msg("no golden tensor %s", name);
    return t;
}

// A golden tensor as floats; the caller frees it.
static inline float *golden_floats(const struct golden *g, const char *name)
{
    const struct tensor_view t = golden_tensor(g, name);
    const uint64_t n = tensor_elements(&t);
    float *f = malloc(n * sizeof(*f));
    assert_non_null(f);
    tensor_to_f32(&t, 0, n, f);
    return f;
}

static inline double golden_tolerance(const struct golden *g, const char *name,
                                      const char *kind)
{
    const json_t *t = json_object_get(
        json_object_get(json_object_get(g->manifest, "tensors"), name), "tolerance");
    return json_is_object(t) ? json_number_value(json_object_get(t, kind)) : 0; // "exact"
}

// Compare with the golden tensor, or fail the test. The largest error, in units
// of the tolerance, is printed when UNDERSCORE_TEST_VERBOSE is set.
static inline void golden_compare(struct golden *g, const char *name, const float *data,
                                  uint32_t rank, const uint64_t *shape)
{
    const struct tensor_view t = golden_tensor(g, name);
    assert_int_equal(rank, t.rank);
    for (uint32_t i = 0; i < rank; i++)
        if (shape[i] != t.shape[i])
            fail_msg("%s: extent %u is %llu, not %llu", name, i, (unsigned long long) shape[i],
                     (unsigned long long) t.shape[i]);
    const double atol = golden_tolerance(g, name, g->loose ? "loose_atol" : "atol");
    const double rtol = golden_tolerance(g, name, "rtol");
    double worst = 0;
    for (uint64_t i = 0; i < tensor_elements(&t); i++) {
        const double want = (double) tensor_at(&t, i), error = fabs((double) data[i] - want);
        if (!(error <= atol + rtol * fabs(want)))
            fail_msg("%s: element %llu is %.9g, not %.9g", name, (unsigned long long) i,
                     (double) data[i], want);
        worst = fmax(worst, atol > 0 ? error / atol : 0);
    }
    if (getenv("UNDERSCORE_TEST_VERBOSE"))
        printf("%-32s %.3f of the tolerance\n", name, worst);
    g->compared++;
}

static inline enum err golden_see(struct probe *self, const char *name, const float *data,
                                  uint32_t rank, const uint64_t *shape)
{
    golden_compare((struct golden *) self, name, data, rank, shape);
    return ERR_OK;
}

static inline int golden_setup(void **state)
{
    struct golden *g = calloc(1, sizeof(*g));
    assert_non_null(g);
    g->probe.see = golden_see;
    const char *validation = getenv("UNDERSCORE_TEST_VALIDATION");
    const struct device_params params = { .validation = validation && *validation == '1' };
    assert_int_equal(device_open(&g->device, &params), ERR_OK);
    const char *codec = GOLDEN "compression_state_dict.bin";
    assert_int_equal(model_import_open(&g->model, GOLDEN "state_dict.bin", codec), ERR_OK);
    assert_int_equal(model_import_open(&g->model_f16, GOLDEN "state_dict_fp16.bin", codec),
                     ERR_OK);
    assert_int_equal(safetensors_open(&g->tensors, GOLDEN "golden.safetensors"), ERR_OK);
    g->manifest = json_load_file(GOLDEN "manifest.json", 0, NULL);
    assert_non_null(g->manifest);
    *state = g;
    return 0;
}

static inline int golden_teardown(void **state)
{
    struct golden *g = *state;
    json_decref(g->manifest);
    safetensors_close(&g->tensors);
    model_import_close(&g->model_f16);
    model_import_close(&g->model);
    const uint32_t messages = device_validation_messages(g->device);
    device_close(&g->device);
    free(g);
    return messages ? -1 : 0;
}
