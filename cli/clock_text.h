// clock_text: a place in a film as people read it.
#pragma once

#include <stdint.h>

#define CLOCK_TEXT_BYTES 32

// "0:08.3", "1:02:03.4": to the tenth of a second below. Returns `out`.
char *clock_text(char out[CLOCK_TEXT_BYTES], int64_t ms);
