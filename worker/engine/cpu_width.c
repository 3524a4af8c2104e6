#include "worker/engine/cpu_width.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define VARIABLE "LP_NATIVE_VECTOR_WIDTH"
#define ZEN_5 0x1a

static bool asked;     // by us, not by the user
static bool withdrawn; // for good

#if defined(__x86_64__)
// As CPUID gives it: AMD64 Architecture Programmer's Manual, volume 3, appendix E.3.2.
static unsigned family(void)
{
    unsigned a = 0, b, c, d;
    (void) __get_cpuid(1, &a, &b, &c, &d);
    return (a >> 8 & 15) + (a >> 20 & 255);
}
#endif

// Measured on Intel's and on AMD's of the fifth generation. The fourth halves such vectors.
static bool processor_suits(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    return (__builtin_cpu_is("intel") || (__builtin_cpu_is("amd") && family() >= ZEN_5)) &&
           __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
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
