#include "coordinator/children/patience.h"

#include <math.h>

bool patience_fail(struct patience *p, enum err why, double now)
{
    p->failures += why != ERR_FULL;
    const double wait_s =
        why == ERR_FULL ? PATIENCE_FIRST_S : ldexp(PATIENCE_FIRST_S, (int) p->failures - 1);
    p->not_before_s = now + fmin(PATIENCE_MOST_S, wait_s);
    return p->failures < PATIENCE_TRIES;
}
