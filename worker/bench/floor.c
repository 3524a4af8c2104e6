#include "worker/bench/floor.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_floor_multiply.spv.h"
#include "bench_floor_read.spv.h"
#include "common/base/clock.h"
#include "shaders/bench_floor.h"
#include "worker/engine/stream.h"

#define READ_BYTES (256u << 20) // well beyond any cache
#define ROUNDS_READ 64
#define ROUNDS_MULTIPLY 8192
#define TRIES 5
#define OUT_BYTES (4u << 20) // a word for every invocation of the largest dispatch
#define MAX_THREADS 64

static const struct kernel read_kernel = {
    .name = "bench_floor_read",
    .code = bench_floor_read_spv,
    .code_bytes = sizeof(bench_floor_read_spv),
    .bindings = 2,
    .texels = 1,
    .push_bytes = sizeof(struct bench_floor_push),
    .full_subgroups = true,
};
static const struct kernel multiply_kernel = {
    .name = "bench_floor_multiply",
    .code = bench_floor_multiply_spv,
    .code_bytes = sizeof(bench_floor_multiply_spv),
    .bindings = 2,
    .texels = 1,
    .push_bytes = sizeof(struct bench_floor_push),
    .full_subgroups = true,
};

struct bench {
    struct device *device;
    struct stream *stream;
    struct arena *arena;
    struct span data, out;
};

// Seconds of the best of several runs of what is recorded.
static enum err best_time(struct stream *s, double *out)
{
    *out = 1e30;
    for (int i = 0; i < TRIES; i++) {
        const double start = clock_seconds();
        enum err e = stream_submit(s, 1);
        if (!e)
            e = stream_wait(s);
        if (e)
            return e;
        const double took = clock_seconds() - start;
        if (took < *out && i > 0) // the first one warms up
            *out = took;
    }
    return ERR_OK;
}

static enum err measure_read(struct bench *b, double *out)
{
    const uint32_t texels = READ_BYTES / 16, invocations = texels / ROUNDS_READ;
    const uint32_t lanes = device_facts(b->device)->subgroup;
    const struct bench_floor_push push = { ROUNDS_READ, invocations };
    stream_reset(b->stream);
    const uint32_t groups = invocations / lanes;
    const uint32_t most = device_facts(b->device)->max_groups[0];
    stream_dispatch(b->stream, &read_kernel,
                    &(struct dispatch){ .bind = { b->data, b->out },
                                        .push = &push,
                                        .constants = { lanes },
                                        .constant_count = 1,
                                        .groups = { groups < most ? groups : most, 1, 1 } });
    double seconds;
    const enum err e = best_time(b->stream, &seconds);
    *out = (double) (groups < most ? groups : most) * lanes * ROUNDS_READ * 16 / seconds;
    return e;
}

static enum err measure_multiply(struct bench *b, double *out)
{
    const uint32_t lanes = device_facts(b->device)->subgroup;
    const uint32_t groups = device_facts(b->device)->kind == DEVICE_CPU ? 256 : 16384;
    const struct bench_floor_push push = { .rounds = ROUNDS_MULTIPLY };
    stream_reset(b->stream);
    stream_dispatch(b->stream, &multiply_kernel,
                    &(struct dispatch){ .bind = { b->data, b->out },
                                        .push = &push,
                                        .constants = { lanes },
                                        .constant_count = 1,
                                        .groups = { groups, 1, 1 } });
    double seconds;
    const enum err e = best_time(b->stream, &seconds);
    *out = 2.0 * groups * lanes * ROUNDS_MULTIPLY * BENCH_CHAINS / seconds;
    return e;
}

static enum err measure_copy(struct bench *b, double *out)
{
    stream_reset(b->stream);
    stream_copy(b->stream, span_slice(b->data, 0, READ_BYTES / 2),
                span_slice(b->data, READ_BYTES / 2, READ_BYTES / 2));
    double seconds;
    const enum err e = best_time(b->stream, &seconds);
    *out = READ_BYTES / seconds;
    return e;
}

struct reader {
    const uint64_t *from;
    size_t words;
    uint64_t sum;
};

static void *read_words(void *argument)
{
    struct reader *r = argument;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i + 32 <= r->words; i += 32)
        for (size_t j = 0; j < 32; j += 4) {
            a ^= r->from[i + j];
            b ^= r->from[i + j + 1];
            c ^= r->from[i + j + 2];
            d ^= r->from[i + j + 3];
        }
    r->sum = a ^ b ^ c ^ d;
    return NULL;
}

// Where the device is the CPU, its memory can be read without it too: the
// honest floor, since nothing the driver does can beat it.
static void measure_threads(struct bench *b, double *out)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t n = cores < 1 ? 1 : cores > MAX_THREADS ? MAX_THREADS : (size_t) cores;
    struct reader readers[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    for (int t = 0; t < TRIES; t++) {
        const double start = clock_seconds();
        size_t started = 0;
        for (; started < n; started++) {
            readers[started] = (struct reader){ (const uint64_t *) (const void *) b->data.host +
                                                    READ_BYTES / 8 / n * started,
                                                READ_BYTES / 8 / n, 0 };
            if (pthread_create(&threads[started], NULL, read_words, &readers[started]))
                break;
        }
        for (size_t i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        const double rate =
            (double) READ_BYTES / (double) n * (double) started / (clock_seconds() - start);
        if (rate > *out)
            *out = rate;
    }
}

enum err bench_floor_measure(struct bench_floor *out, struct device *d)
{
    struct bench b = { .device = d };
    enum err e = stream_create(&b.stream, d);
    if (!e)
        e = arena_create(&b.arena, d, MEMORY_DEVICE, "bandwidth measurement");
    if (!e)
        e = arena_alloc_texels(b.arena, READ_BYTES, &b.data);
    if (!e)
        e = arena_alloc(b.arena, OUT_BYTES, &b.out);
    if (!e)
        e = span_zero(d, b.data);
    if (!e)
        e = measure_read(&b, &out->read_bytes_per_s);
    if (!e)
        e = measure_copy(&b, &out->copy_bytes_per_s);
    if (!e)
        e = measure_multiply(&b, &out->flops_per_s);
    if (!e && device_facts(d)->kind == DEVICE_CPU && b.data.host)
        measure_threads(&b, &out->read_bytes_per_s);
    stream_destroy(&b.stream);
    arena_destroy(&b.arena);
    return e;
}
