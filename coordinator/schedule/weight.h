// weight: how much of the GPUs' time an owner gets beside others: "archive=3" has three times
// what an owner has of whom nothing is said. Pure; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define WEIGHT_LEAST 0.001
#define WEIGHT_MOST 1000.0

// Is that one? false: why not, in words that follow what was written.
bool weight_check(const char *text, char *why, size_t room);

// What a list, which ends with NULL and may be NULL, says of an owner: the last that names it; 1
// when none does.
double weight_of(const char *const *list, const char *owner);
