#include "coordinator/schedule/weight.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The owner is what comes before the last '=': its length. 0: it is none.
static size_t parse(const char *text, double *weight)
{
    const char *sign = strrchr(text, '=');
    char *end;
    if (!sign || sign == text)
        return 0;
    *weight = strtod(sign + 1, &end);
    // A NaN is neither at least nor at most anything.
    const bool number =
        end > sign + 1 && *end == 0 && *weight >= WEIGHT_LEAST && *weight <= WEIGHT_MOST;
    return number ? (size_t) (sign - text) : 0;
}

bool weight_check(const char *text, char *why, size_t room)
{
    double weight;
    if (parse(text, &weight))
        return true;
    snprintf(why, room, "not OWNER=WEIGHT with a weight from %g to %g, such as archive=3",
             WEIGHT_LEAST, WEIGHT_MOST);
    return false;
}

double weight_of(const char *const *list, const char *owner)
{
    double found = 1;
    for (; list && *list; list++) {
        double weight;
        const size_t n = parse(*list, &weight);
        if (n && n == strlen(owner) && !strncmp(*list, owner, n))
            found = weight;
    }
    return found;
}
