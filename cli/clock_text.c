#include "cli/clock_text.h"

#include <stdio.h>

char *clock_text(char out[CLOCK_TEXT_BYTES], int64_t ms)
{
    const long long tenths = ms / 100, hours = tenths / 36000, minutes = tenths / 600 % 60;
    const int seconds = (int) (tenths / 10 % 60), tenth = (int) (tenths % 10);
    if (hours > 0)
        snprintf(out, CLOCK_TEXT_BYTES, "%lld:%02lld:%02d.%d", hours, minutes, seconds, tenth);
    else
        snprintf(out, CLOCK_TEXT_BYTES, "%lld:%02d.%d", minutes, seconds, tenth);
    return out;
}
