// choice: which form of an operation measured best on this device.
//
// A choice has a short name without blanks and a small value that its operation
// gives meaning to. It lasts as long as the device and, with a cache folder,
// until the device or its driver changes. Nothing here blocks for long.
// One thread, that of the device.
#pragma once

#include "worker/engine/device.h"

#define CHOICE_NAME_BYTES 32 // with the terminating zero
#define CHOICE_MOST 16

// False when nobody has chosen yet.
bool device_choice(const struct device *d, const char *name, uint32_t *out);

// Remember, on disk too where there is a cache folder. Not being able to write
// costs another measurement at the next start and is no error.
void device_choose_form(struct device *d, const char *name, uint32_t value);
