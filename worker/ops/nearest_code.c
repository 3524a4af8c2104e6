#include "worker/ops/nearest_code.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "nearest_code_any.spv.h"
#include "nearest_code_images.spv.h"
#include "shaders/nearest_code.h"

#define KERNEL(variant, image_bindings)                                             \
    {                                                                               \
        .name = "nearest_code_" #variant, .code = nearest_code_##variant##_spv,     \
        .code_bytes = sizeof(nearest_code_##variant##_spv), .bindings = 4,          \
        .images = (image_bindings), .push_bytes = sizeof(struct nearest_code_push), \
        .full_subgroups = true                                                      \
    }

static const struct kernel any = KERNEL(any, 0), images = KERNEL(images, 3);

static uint32_t quads(uint32_t n)
{
    return (n + 3) / 4;
}

uint64_t codes_bytes(uint32_t bins, uint32_t width)
{
    return 16ull * quads(bins) * width;
}

enum err codes_load(struct codes *out, struct device *d, struct arena *a, const float *embed,
                    uint32_t bins, uint32_t width)
{
    *out = (struct codes){ .bins = bins, .width = width };
    const size_t stride = 4 * (size_t) quads(bins);
    float *across = calloc(stride, width * sizeof(*across));
    if (!across) {
        log_error("out of memory for a codebook of %u codes", bins);
        return ERR_NOMEM;
    }
    for (size_t c = 0; c < bins; c++)
        for (size_t i = 0; i < width; i++)
            across[i * stride + c] = embed[c * width + i];
    enum err e = arena_alloc_texels(a, codes_bytes(bins, width), &out->span);
    if (!e)
        e = span_upload(d, out->span, 0, across, codes_bytes(bins, width));
    free(across);
    return e;
}

// The most times that an invocation may go round its loops: lavapipe 22.3 stops
// silently after 65,535.
#define MOST_ITERATIONS 50000u

// How many codes, in fours, one dispatch compares.
static uint32_t quads_at_once(uint32_t width, uint32_t lanes)
{
    const uint32_t passes = MOST_ITERATIONS / (width + 5);
    return lanes * (passes ? passes : 1);
}

void op_nearest_code(struct stream *s, const struct nearest_code *n)
{
    const struct device_facts *facts = device_facts(stream_device(s));
    const bool texels = n->x.view && n->codes->span.view && n->codes->width % 4 == 0;
    const struct kernel *k = facts->kind == DEVICE_CPU && texels ? &images : &any;
    const uint32_t lanes = facts->subgroup;
    const uint32_t end = quads(n->codes->bins);
    const uint32_t step = quads_at_once(n->codes->width, lanes);
    for (uint32_t first = 0; first < end; first += step) {
        const bool last = end - first <= step;
        const struct nearest_code_push push = {
            .width = n->codes->width,
            .bins = n->codes->bins,
            .bin_quads = end,
            .first_quad = first,
            .end_quad = last ? end : first + step,
            .first_row = n->first_row,
            .flags = (first ? NEAREST_CODE_GO_ON : 0u) | (last ? NEAREST_CODE_LAST : 0u),
        };
        stream_dispatch(s, k,
                        &(struct dispatch){
                            .bind = { n->x, n->codes->span, n->best, n->y },
                            .push = &push,
                            .constants = { lanes },
                            .constant_count = 1,
                            .groups = { n->rows, 1, 1 },
                            .flops = 12.0 * n->rows * (push.end_quad - first) * n->codes->width,
                        });
    }
}
