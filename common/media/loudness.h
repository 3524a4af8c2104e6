// loudness: integrated loudness and true peak, ITU-R BS.1770 / EBU R 128, by
// libebur128. One thread per meter.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct loudness {
    double integrated_lufs; // -HUGE_VAL for silence: nothing above the gate of -70 LUFS
    double true_peak_dbtp;  // -HUGE_VAL for digital silence
    bool short_signal;      // under one 400 ms block, see loudness_meter_read()
    uint64_t samples;       // per channel
};

struct loudness_meter;

// `channels` 1 or 2. `dual_mono` (with one channel) counts it as two equal
// ones: mono music delivered as stereo. On failure *out is NULL; logs.
ERR_CHECKED enum err loudness_meter_create(struct loudness_meter **out, uint32_t sample_rate,
                                           uint32_t channels, bool dual_mono);
void loudness_meter_destroy(struct loudness_meter **m);

// `frames` samples per channel, interleaved.
ERR_CHECKED enum err loudness_meter_add(struct loudness_meter *m, const float *samples,
                                        size_t frames);

// What was added so far. BS.1770 gives a signal under 400 ms no loudness; such
// a one is measured as if it were repeated to one second.
ERR_CHECKED enum err loudness_meter_read(struct loudness_meter *m, struct loudness *out);
