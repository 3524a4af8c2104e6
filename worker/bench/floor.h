// floor: what this device can do at best, measured now: bytes read and copied a
// second, multiply-adds a second. Everything `bench` reports is a share of these.
#pragma once

#include "worker/engine/device.h"

struct bench_floor {
    double copy_bytes_per_s; // vkCmdCopyBuffer, read and written bytes counted
    double read_bytes_per_s; // the best of a shader that reads and, on a CPU, plain threads
    double flops_per_s;      // mul + add of f32 counted as two
};

// Takes about a second. 256 MiB of device memory.
ERR_CHECKED enum err bench_floor_measure(struct bench_floor *out, struct device *d);
