// bench: the time of every stage of a model beside the floor of its device, all
// measured in one run. The engine alone: no films, no files but the model.
#pragma once

#include <stdbool.h>

#include "worker/bench/floor.h"
#include "worker/model/tensors.h"

#define BENCH_BATCHES 5

// Times in seconds, rates per second. A rate of our own beside its floor's is
// what counts; absolute figures drift with the machine.
struct bench_operation {
    double seconds, bytes_per_s, flops_per_s;
};

struct bench_result {
    struct bench_floor floor;
    // Mat-vec: 4096x1024, batch 2; GEMM: 577x1024x4096.
    struct bench_operation matvec_f32, matvec_f16, gemm_f32, gemm_f16;
    // What the kernels of a guided segment add to the first run of each stage:
    // compiled, or taken from the driver's cache. The choice between forms included.
    double kernels_s;
    double visual_load_s, decoder_load_s, codec_load_s;
    double frame_s, frame_flops;      // visual encoder, one frame
    uint32_t rows[BENCH_BATCHES];     // rows of a decoder step: two for a guided segment
    double step_s[BENCH_BATCHES];     // at `position`; 0: did not fit
    double step_bytes[BENCH_BATCHES]; // weights and cache read in one
    uint32_t position;
    double codec_s; // a second of sound
    double codec_flops;
    double segment_s;       // a whole window: frames, all steps, sound, made up of the above
    double segment_music_s; // its length
    uint64_t device_peak_bytes;
};

struct bench_params {
    struct device *device;
    struct tensor_source *tensors;
    bool quick; // batches of 2 and 16 rows only, fewer repetitions
    // Print each stage's kernels; the stages are slower for it.
    bool kernels;
    void (*say)(void *user, const char *stage); // told what is measured next; may be NULL
    void *user;
};

ERR_CHECKED enum err bench_run(struct bench_result *out, const struct bench_params *p);

// To standard output: a table, or one JSON object.
void bench_print(const struct bench_result *r, const struct device_facts *device,
                 const char *model, bool json);
