// cpu_width: how wide the vectors of Mesa's driver for the CPU are.
//
// lavapipe takes vectors of 256 bits unless LP_NATIVE_VECTOR_WIDTH says otherwise, and reads that when it is
// loaded. With 512 an Intel processor with AVX-512 takes models of the published sizes little more than half the
// time, an AMD one of the fifth generation three quarters (docs/performance.md). Of the versions tried, 22.3
// computes rightly with 512 and 25.0 wrongly: only 22.3 gets it, and who has set the variable has what they set.
#pragma once

#include <stdbool.h>

// Before the first Vulkan instance: asks for 512 bits where the processor suits and nobody has chosen. It sets an
// environment variable: no other thread may read the environment meanwhile.
void cpu_width_ask(void);

// Does a device whose driver calls itself that (device_facts) compute with a width that cpu_width_ask() asked for and
// that is not for its version? Then cpu_width_withdraw(), destroy the instance, whereupon the loader unloads the
// driver, and make another.
bool cpu_width_is_wrong(const char *driver);

// For good: cpu_width_ask() does nothing from then on. As little for threads as that.
void cpu_width_withdraw(void);
