// fuzz: the one function a fuzzing program defines. libFuzzer calls it with what
// it makes up, replay.c with what is kept in the corpus.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Must return 0, free what it allocates, and neither crash nor keep anything in
// between.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
