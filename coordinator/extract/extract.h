// extract: what child processes get out of a film for the coordinator: its plan, and
// the pictures of its segments. Each runs in a process of its own (children.h) over the
// folder of one job (spool.h) and leaves files there, whole or not at all.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "common/media/track_writer.h"
#include "common/wire/wire.h"

// The request that the folder holds. ERR_MISSING, ERR_INPUT; logs.
ERR_CHECKED enum err extract_request(struct wire_submit *out, const char *folder);

// What it says of the delivery; the texts stay the request's.
struct delivery extract_delivery(const struct wire_submit *request);

// Is the film still the one that was planned? ERR_INPUT when not, ERR_MISSING, ERR_IO; logs.
ERR_CHECKED enum err extract_check_film(const char *folder, const char *film);

// Probe, find the cuts, plan: plan.json and identity. ERR_USAGE, too, for a film or settings that
// cannot be delivered.
ERR_CHECKED enum err extract_plan(const char *folder, uint32_t sample_rate, uint32_t hop,
                                  uint32_t max_duration_ms);

// The pictures of `count` segments: frames/N for each.
ERR_CHECKED enum err extract_frames(const char *folder, double frames_per_s, uint32_t side,
                                    const uint32_t *segments, uint32_t count);
