#include "worker/engine/cpu_width.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLE "LP_NATIVE_VECTOR_WIDTH"

static bool asked;     // by us, not by the user
static bool withdrawn; // for good

// Measured on Intel's. AMD's of the fourth generation halve such vectors.
static bool processor_suits(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_is("intel") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

void cpu_width_ask(void)
{
    if (!withdrawn && !getenv(VARIABLE) && processor_suits())
        asked = setenv(VARIABLE, "512", 0) == 0;
}

bool cpu_width_is_wrong(const char *driver)
{
    return asked && !strncmp(driver, "llvmpipe ", 9) &&
           strncmp(driver, "llvmpipe Mesa 22.3.", 19) != 0;
}

void cpu_width_withdraw(void)
{
    unsetenv(VARIABLE);
    asked = false;
    withdrawn = true;
}
