// composer: segments of film in, tokens and sound out.
//
// One model on one device. Segments are pulled from the caller, run side by
// side in the decoder (they join and leave its batch at any step), and handed
// back when whole. What a segment becomes depends on it and the model alone, not
// on what ran beside it.
//
// When the whole model does not fit into the device's memory, its stages take
// turns there: pictures of several segments first, then the music.
//
// One thread, the device's. composer_run() blocks; the hooks are called from it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/engine/device.h"
#include "worker/model/tensors.h"

struct composer;

// Segments side by side unless told otherwise. A step reads the weights once for
// all of them; on a CPU the arithmetic catches up sooner.
#define COMPOSER_BATCH_GPU 32
#define COMPOSER_BATCH_CPU 8

struct composer_params {
    struct device *device;         // outlives the composer
    struct tensor_source *tensors; // likewise; used from this thread only
    double temperature;            // <= 0: the most likely token always
    uint32_t top_k;                // 0: all
    double top_p;                  // > 0: wins over top_k
    double guidance;
    uint32_t batch;       // segments side by side at most; 0: COMPOSER_BATCH_*
    uint32_t parallel;    // segments that can ever run side by side (cues); 0: unknown
    uint32_t max_columns; // of the longest segment
    uint32_t max_frames;  // likewise
};

// How tokens are drawn.
struct composer_sampling {
    double temperature; // <= 0: the most likely token always
    uint32_t top_k;     // 0: all
    double top_p;       // > 0: wins over top_k
    double guidance;
};

// One segment to compose. Pointers stay valid until the next call of take().
struct composer_segment {
    uint64_t id;           // the caller's own
    const uint8_t *frames; // [frame_count][R][R][3], as preprocess_rgb() leaves them
    uint32_t frame_count;  // >= 1
    uint32_t columns;      // to have in the end, the prompt included
    uint32_t prompt_columns;
    const int32_t *prompt; // [K][prompt_columns]
    uint64_t seed;
    const struct composer_sampling *sampling; // NULL: the composer's own
};

// One segment composed. Pointers stay valid during deliver() only.
struct composed {
    uint64_t id;
    uint32_t codebooks, columns;
    const int32_t *tokens; // [K][columns]
    const float *pcm;
    uint64_t samples; // columns * hop
};

struct composer_hooks {
    // The next segment that can be composed now. *got false: none now; there may
    // be one after the next deliver().
    enum err (*take)(void *user, struct composer_segment *out, bool *got);
    enum err (*deliver)(void *user, const struct composed *c);
    // Columns composed since the last call, prompts not counted. May be NULL.
    void (*progress)(void *user, uint64_t columns);
    // Asked often; true ends the run with ERR_STOP. May be NULL.
    bool (*cancelled)(void *user);
    // Asked as often of each segment under way; once true, it is dropped and not spoken of
    // again. May be NULL.
    bool (*unwanted)(void *user, uint64_t id);
    void *user;
};

// Where the time went, in seconds, and how it was done.
struct composer_timings {
    double load_s, visual_s, decoder_s, codec_s;
    uint64_t frames, columns, samples; // columns: composed, prompts not counted
    uint32_t batch;                    // slots the decoder had
    bool turns;                        // the stages took turns in memory
    uint64_t device_peak_bytes;
};

// Decides how the memory is used and, the first time on a device, which forms of
// the operations are fastest there; loads nothing yet. ERR_DEVICE_MEM when not even
// one segment fits: logs what would be needed.
ERR_CHECKED enum err composer_open(struct composer **out, const struct composer_params *p);
void composer_close(struct composer **c); // NULL inside is fine

// Until take() has nothing and nothing is under way. On ERR_STOP and other
// failures what was delivered stays delivered; the rest is dropped.
ERR_CHECKED enum err composer_run(struct composer *c, const struct composer_hooks *hooks);

// Tokens to sound alone, for kept tokens: [K][columns] -> columns * hop samples.
ERR_CHECKED enum err composer_render(struct composer *c, const int32_t *tokens,
                                     uint32_t columns, float *pcm);

struct composer_timings composer_timings(const struct composer *c);
