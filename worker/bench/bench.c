#include "worker/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "worker/engine/profile.h"
#include "worker/model/codec.h"
#include "worker/model/decoder.h"
#include "worker/model/visual.h"
#include "worker/ops/matmul.h"

#define POSITION_SHARE 0.5 // of the window: where a step costs what it costs on average
#define CODEC_SECONDS 5
#define CODEC_TRIES 3

struct run {
    const struct bench_params *p;
    struct bench_result *r;
    const struct model_config *config;
    bool f16;
};

static void say(const struct run *b, const char *stage)
{
    if (b->p->say)
        b->p->say(b->p->user, stage);
}

// What the kernels of a stage took since profile_clear().
static void print_kernels(struct run *b, const char *stage)
{
    uint32_t count;
    const struct profile_row *rows = profile_rows(b->p->device, &count);
    if (count == 0)
        return;
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += rows[i].seconds;
    printf("%s: %.4g ms in kernels\n", stage, sum * 1e3);
    for (uint32_t i = 0; i < count; i++)
        printf("  %-24s %6llu x %9.4g ms %8.4g ms %5.1f %% %8.4g GFLOP/s  %.4g MFLOP\n",
               rows[i].kernel, (unsigned long long) rows[i].dispatches,
               1e3 * rows[i].seconds / (double) rows[i].dispatches, 1e3 * rows[i].seconds,
               100 * rows[i].seconds / sum,
               rows[i].flops * (double) rows[i].dispatches / rows[i].seconds / 1e9,
               rows[i].flops / 1e6);
    profile_clear(b->p->device);
}

// A stage's first run against one that finds everything ready.
static void add_start(struct run *b, double first_s, double usual_s)
{
    if (first_s > usual_s)
        b->r->kernels_s += first_s - usual_s;
}

// One matmul recorded `repeat` times in a row over different weights, so that
// no cache holds them.
struct matmul_case {
    uint32_t m, n, k;
    bool f16;
    uint32_t matrices;
};

static enum err load_matrices(struct device *d, struct arena *a, const struct matmul_case *c,
                              struct matrix *out)
{
    float *w = malloc((size_t) c->n * c->k * sizeof(*w));
    if (!w)
        return ERR_NOMEM;
    for (size_t i = 0; i < (size_t) c->n * c->k; i++)
        w[i] = (float) (i % 251) * 1e-3f - 0.125f;
    enum err e = ERR_OK;
    for (uint32_t i = 0; !e && i < c->matrices; i++)
        e = matrix_load(&out[i], d, a, &(struct matrix_source){ .data = w, .row_stride = c->k },
                        c->n, c->k, c->f16);
    free(w);
    return e;
}

static enum err time_matmul(struct device *d, const struct matmul_case *c,
                            struct bench_operation *out)
{
    struct arena *a = NULL;
    struct stream *s = NULL;
    struct matrix w[16];
    struct span x, y;
    enum err e = arena_create(&a, d, MEMORY_DEVICE, "matmul measurement");
    if (!e)
        e = stream_create(&s, d);
    if (!e)
        e = load_matrices(d, a, c, w);
    if (!e)
        e = arena_alloc_texels(a, (uint64_t) c->m * c->k * 4, &x);
    if (!e)
        e = arena_alloc_texels(a, (uint64_t) c->m * c->n * 4, &y);
    if (!e)
        e = span_zero(d, x);
    double best = 1e30;
    if (!e)
        for (uint32_t i = 0; i < c->matrices; i++)
            op_matmul(s, &(struct matmul){ .w = &w[i], .x = x, .y = y, .rows = c->m });
    for (int i = 0; !e && i < 5; i++) {
        const double start = clock_seconds();
        e = stream_submit(s, 1);
        if (!e)
            e = stream_wait(s);
        const double took = clock_seconds() - start;
        if (i > 0 && took < best)
            best = took;
    }
    best /= c->matrices;
    *out = (struct bench_operation){
        .seconds = best,
        .bytes_per_s = (double) c->n * c->k * (c->f16 ? 2 : 4) / best,
        .flops_per_s = 2.0 * c->m * c->n * c->k / best,
    };
    stream_destroy(&s);
    arena_destroy(&a);
    return e;
}

static enum err measure_operations(struct run *b)
{
    struct device *d = b->p->device;
    say(b, "linear layers");
    enum err e =
        time_matmul(d, &(struct matmul_case){ 2, 4096, 1024, false, 8 }, &b->r->matvec_f32);
    if (!e)
        e = time_matmul(d, &(struct matmul_case){ 2, 4096, 1024, true, 16 }, &b->r->matvec_f16);
    if (!e)
        e = time_matmul(d, &(struct matmul_case){ 577, 4096, 1024, false, 2 }, &b->r->gemm_f32);
    if (!e)
        e = time_matmul(d, &(struct matmul_case){ 577, 4096, 1024, true, 2 }, &b->r->gemm_f16);
    return e;
}

// Multiply-adds of the visual encoder for one frame, counted as two each.
static double frame_flops(const struct model_config *c)
{
    const uint32_t side = c->vit.image / c->vit.patch;
    const double n = (double) side * side + 1;
    const double w = c->vit.width, q = c->qformer.queries;
    double sum = n * 3.0 * c->vit.patch * c->vit.patch * w;
    sum += c->vit.layers * (n * w * (4 * w + 2.0 * c->vit.hidden) + 2 * n * n * w);
    for (uint32_t i = 0; i < c->qformer.layers; i++) {
        sum += q * w * (5 * w + 2.0 * c->qformer.hidden) + 2 * q * q * w;
        if (c->qformer.cross[i])
            sum += 2 * n * w * w + 3 * q * w * w + 2 * q * n * w;
    }
    return 2 * sum;
}

static enum err measure_visual(struct run *b)
{
    const uint32_t frames = b->p->quick ? 1 : 2;
    const uint64_t pixels = 3ull * b->config->vit.image * b->config->vit.image * frames;
    uint8_t *rgb = malloc(pixels);
    float *condition = malloc((size_t) frames * b->config->lm.dim * sizeof(*condition));
    struct visual *v = NULL;
    say(b, "visual encoder");
    const double start = clock_seconds();
    enum err e = rgb && condition ? ERR_OK : ERR_NOMEM;
    if (!e) {
        for (uint64_t i = 0; i < pixels; i++)
            rgb[i] = (uint8_t) (i * 2654435761u >> 24);
        e = visual_open(&v, b->p->device, b->p->tensors,
                        &(struct visual_params){ .max_frames = frames });
    }
    b->r->visual_load_s = clock_seconds() - start;
    const double cold = clock_seconds();
    if (!e)
        e = visual_run(v, rgb, 1, condition); // kernels are compiled here
    profile_clear(b->p->device);
    const double warm = clock_seconds();
    if (!e)
        e = visual_run(v, rgb, frames, condition);
    b->r->frame_s = (clock_seconds() - warm) / frames;
    add_start(b, warm - cold, b->r->frame_s);
    print_kernels(b, "visual encoder");
    b->r->frame_flops = frame_flops(b->config);
    visual_close(&v);
    free(rgb);
    free(condition);
    return e;
}

// Bytes that one step must read: every weight once, the cache of every row.
static double step_bytes(const struct run *b, uint32_t rows)
{
    const struct lm_config *c = &b->config->lm;
    const double w = c->dim, size = b->f16 ? 2 : 4;
    // Q, K, V and output; query and output of the cross-attention; the MLP.
    const double layer = w * (4 * w + 2 * w + 2.0 * c->hidden);
    const double weights = c->layers * layer + (double) c->codebooks * c->card * w;
    const double cache = 2.0 * c->layers * w * b->r->position;
    return size * (weights + rows * cache);
}

static enum err time_step(struct run *b, uint32_t i, uint32_t columns)
{
    const uint32_t rows = b->r->rows[i];
    const uint32_t slots = rows > 1 ? rows / 2 : 1;
    const uint32_t repeats = b->p->quick ? 4 : 8;
    const struct decoder_params params = { slots, columns, 30 };
    struct decoder *d = NULL;
    float *condition = calloc(30ull * b->config->lm.dim, sizeof(*condition));
    int32_t *prompt =
        calloc((size_t) b->r->position * b->config->lm.codebooks, sizeof(*prompt));
    const double start = clock_seconds();
    enum err e = condition && prompt ? decoder_open(&d, b->p->device, b->p->tensors, &params)
                                     : ERR_NOMEM;
    b->r->decoder_load_s = clock_seconds() - start;
    for (uint32_t s = 0; !e && s < slots; s++) {
        uint32_t slot;
        e = decoder_join(d,
                         &(struct sequence){ .condition = condition,
                                             .frames = 30,
                                             .columns = columns,
                                             .seed = s,
                                             .prompt = prompt,
                                             .prompt_columns = b->r->position,
                                             .guidance = rows > 1 ? 3.0f : 1.0f,
                                             .sampling = { 1.0f, 250, 0 } },
                         &slot);
        if (!e)
            decoder_assume_prompt(d, slot);
    }
    const double cold = clock_seconds();
    if (!e)
        e = decoder_advance(d, 1); // records, and compiles what is not
    profile_clear(b->p->device);
    const double warm = clock_seconds();
    if (!e)
        e = decoder_advance(d, repeats);
    if (!e) {
        b->r->step_s[i] = (clock_seconds() - warm) / repeats;
        b->r->step_bytes[i] = step_bytes(b, rows);
        if (rows == 2)
            add_start(b, warm - cold, b->r->step_s[i]);
        print_kernels(b, "decoder, the last step");
    }
    decoder_close(&d);
    free(condition);
    free(prompt);
    return e;
}

static enum err measure_decoder(struct run *b)
{
    static const uint32_t all[BENCH_BATCHES] = { 1, 2, 8, 16, 32 };
    const uint32_t window = codec_columns(&b->config->codec, b->config->lm.max_duration_s);
    b->r->position = (uint32_t) (window * POSITION_SHARE);
    if (b->r->position > 750)
        b->r->position = 750;
    for (uint32_t i = 0; i < BENCH_BATCHES; i++) {
        b->r->rows[i] = all[i];
        if (b->p->quick && all[i] != 2 && all[i] != 16)
            continue;
        char stage[48];
        snprintf(stage, sizeof(stage), "decoder step, %u rows", all[i]);
        say(b, stage);
        const enum err e = time_step(b, i, b->r->position + 16);
        if (e == ERR_DEVICE_MEM)
            continue; // said so; the others still count
        if (e)
            return e;
    }
    return ERR_OK;
}

// Multiply-adds of one second of decoding, counted as two each.
static double codec_flops(const struct codec_config *c)
{
    double rate = codec_frame_rate(c), channels = (double) c->filters * (1u << c->ratio_count);
    double sum = rate * c->dimension * c->kernel * channels +
                 c->lstm_layers * rate * 8 * channels * channels;
    for (uint32_t i = 0; i < c->ratio_count; i++) {
        sum += rate * c->ratios[i] * 2 * channels * channels / 2; // kernel 2 x stride
        rate *= c->ratios[i];
        channels /= 2;
        sum += rate * channels * channels / c->compress * (c->residual_kernel + 1);
    }
    sum += rate * channels * c->last_kernel;
    return 2 * sum;
}

static enum err measure_codec(struct run *b)
{
    const struct codec_config *c = &b->config->codec;
    const uint32_t columns = codec_columns(c, CODEC_SECONDS);
    int32_t *tokens = calloc((size_t) columns * c->codebooks, sizeof(*tokens));
    float *pcm = malloc((size_t) columns * codec_hop(c) * sizeof(*pcm));
    struct codec *codec = NULL;
    say(b, "codec");
    const double start = clock_seconds();
    enum err e = tokens && pcm
                     ? codec_open(&codec, &(struct codec_params){ .device = b->p->device,
                                                                  .source = b->p->tensors,
                                                                  .decode = true })
                     : ERR_NOMEM;
    b->r->codec_load_s = clock_seconds() - start;
    double cold = start;
    if (!e) {
        for (size_t i = 0; i < (size_t) columns * c->codebooks; i++)
            tokens[i] = (int32_t) (i * 2654435761u % c->bins);
        cold = clock_seconds();
        e = codec_decode(codec, &(struct codec_piece){ tokens, columns, pcm }, 1);
    }
    const double first_s = clock_seconds() - cold;
    double best_s = 1e30;
    for (int i = 0; !e && i < CODEC_TRIES; i++) {
        profile_clear(b->p->device);
        const double warm = clock_seconds();
        e = codec_decode(codec, &(struct codec_piece){ tokens, columns, pcm }, 1);
        const double took = clock_seconds() - warm;
        best_s = took < best_s ? took : best_s;
    }
    b->r->codec_s = best_s / CODEC_SECONDS;
    b->r->codec_flops = codec_flops(c);
    add_start(b, first_s, best_s);
    print_kernels(b, "codec, five seconds");
    codec_close(&codec);
    free(tokens);
    free(pcm);
    return e;
}

// The window as its parts add up: all its frames, all its steps, all its sound.
static void add_up(struct run *b)
{
    struct bench_result *r = b->r;
    const double seconds =
        b->config->lm.max_duration_s < 30 ? b->config->lm.max_duration_s : 30;
    const double steps =
        codec_columns(&b->config->codec, seconds) + b->config->lm.codebooks - 1;
    r->segment_music_s = seconds;
    r->segment_s = seconds * b->config->frames_per_s * r->frame_s + steps * r->step_s[1] +
                   seconds * r->codec_s;
}

enum err bench_run(struct bench_result *out, const struct bench_params *p)
{
    *out = (struct bench_result){ 0 };
    struct run b = { .p = p, .r = out, .config = p->tensors->config };
    struct tensor_view v;
    b.f16 = !p->tensors->find(p->tensors, "transformer.layers.0.linear1.weight", &v) &&
            v.dtype == DTYPE_F16;
    say(&b, "floors");
    enum err e = bench_floor_measure(&out->floor, p->device);
    if (!e && p->kernels)
        e = profile_start(p->device);
    const double start = clock_seconds();
    if (!e)
        e = matmul_tune(p->device);
    add_start(&b, clock_seconds() - start, 0);
    if (!e)
        e = measure_operations(&b);
    if (!e)
        e = measure_codec(&b);
    if (!e)
        e = measure_decoder(&b);
    if (!e)
        e = measure_visual(&b);
    add_up(&b);
    out->device_peak_bytes = device_memory_peak(p->device);
    return e;
}

static void print_operation_json(const char *name, const struct bench_operation *o,
                                 const char *end)
{
    printf("\"%s\": {\"seconds\": %.9g, \"bytes_per_s\": %.9g, \"flops_per_s\": %.9g}%s", name,
           o->seconds, o->bytes_per_s, o->flops_per_s, end);
}

static void print_json(const struct bench_result *r, const struct device_facts *device,
                       const char *model)
{
    printf("{\"device\": \"%s\", \"driver\": \"%s\", \"model\": \"%s\", ", device->name,
           device->driver, model);
    printf(
        "\"floor\": {\"copy_bytes_per_s\": %.9g, \"read_bytes_per_s\": %.9g, \"flops_per_s\": %.9g}, ",
        r->floor.copy_bytes_per_s, r->floor.read_bytes_per_s, r->floor.flops_per_s);
    printf("\"operations\": {");
    print_operation_json("matvec_f32", &r->matvec_f32, ", ");
    print_operation_json("matvec_f16", &r->matvec_f16, ", ");
    print_operation_json("gemm_f32", &r->gemm_f32, ", ");
    print_operation_json("gemm_f16", &r->gemm_f16, "}, ");
    printf(
        "\"stages\": {\"visual\": {\"load_s\": %.9g, \"frame_s\": %.9g, \"flops\": %.9g}, \"decoder\": {"
        "\"load_s\": %.9g, \"position\": %u",
        r->visual_load_s, r->frame_s, r->frame_flops, r->decoder_load_s, r->position);
    for (uint32_t i = 0; i < BENCH_BATCHES; i++)
        if (r->step_s[i] > 0)
            printf(", \"%u\": {\"step_s\": %.9g, \"bytes\": %.9g}", r->rows[i], r->step_s[i],
                   r->step_bytes[i]);
    printf("}, \"codec\": {\"load_s\": %.9g, \"second_s\": %.9g, \"flops\": %.9g}}, ",
           r->codec_load_s, r->codec_s, r->codec_flops);
    printf(
        "\"kernels_s\": %.9g, \"segment_s\": %.9g, \"segment_music_s\": %.9g, \"device_peak_bytes\": %llu}\n",
        r->kernels_s, r->segment_s, r->segment_music_s,
        (unsigned long long) r->device_peak_bytes);
}

static void print_row(const char *name, double seconds, double rate, double floor,
                      const char *unit)
{
    printf("  %-34s %10.4g ms  %9.4g %s  %5.1f %% of the floor\n", name, seconds * 1e3,
           rate / 1e9, unit, 100 * rate / floor);
}

static void print_table(const struct bench_result *r, const struct device_facts *device,
                        const char *model)
{
    const struct bench_floor *f = &r->floor;
    printf("%s (%s), model %s\n\nfloors, measured now\n", device->name, device->driver, model);
    printf("  read %.4g GB/s, copy %.4g GB/s, multiply-add %.4g GFLOP/s\n\noperations\n",
           f->read_bytes_per_s / 1e9, f->copy_bytes_per_s / 1e9, f->flops_per_s / 1e9);
    print_row("mat-vec 4096x1024, batch 2, f32", r->matvec_f32.seconds,
              r->matvec_f32.bytes_per_s, f->read_bytes_per_s, "GB/s   ");
    print_row("mat-vec 4096x1024, batch 2, f16", r->matvec_f16.seconds,
              r->matvec_f16.bytes_per_s, f->read_bytes_per_s, "GB/s   ");
    print_row("GEMM 577x1024x4096, f32", r->gemm_f32.seconds, r->gemm_f32.flops_per_s,
              f->flops_per_s, "GFLOP/s");
    print_row("GEMM 577x1024x4096, f16", r->gemm_f16.seconds, r->gemm_f16.flops_per_s,
              f->flops_per_s, "GFLOP/s");
    printf("\nstages\n");
    print_row("visual encoder, one frame", r->frame_s, r->frame_flops / r->frame_s,
              f->flops_per_s, "GFLOP/s");
    for (uint32_t i = 0; i < BENCH_BATCHES; i++) {
        if (r->step_s[i] <= 0)
            continue;
        char name[48];
        snprintf(name, sizeof(name), "decoder step, batch %u, position %u", r->rows[i],
                 r->position);
        print_row(name, r->step_s[i], r->step_bytes[i] / r->step_s[i], f->read_bytes_per_s,
                  "GB/s   ");
    }
    print_row("codec, one second of sound", r->codec_s, r->codec_flops / r->codec_s,
              f->flops_per_s, "GFLOP/s");
    printf(
        "\n  loading: visual %.2f s, decoder %.2f s, codec %.2f s; device memory at most %.0f MiB\n",
        r->visual_load_s, r->decoder_load_s, r->codec_load_s,
        (double) r->device_peak_bytes / 0x1p20);
    printf(
        "  kernels of a guided segment ready in %.2f s (less once the driver has them in its cache)\n",
        r->kernels_s);
    printf("  one guided window of %.0f s: %.1f s, %.3f seconds of music a second\n",
           r->segment_music_s, r->segment_s, r->segment_music_s / r->segment_s);
}

void bench_print(const struct bench_result *r, const struct device_facts *device,
                 const char *model, bool json)
{
    if (json)
        print_json(r, device, model);
    else
        print_table(r, device, model);
}
