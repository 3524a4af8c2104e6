#include "common/base/array.h"

#include <stdlib.h>

enum err array_grow(void **items, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return ERR_OK;
    const size_t wanted = *room ? 2 * *room : 16;
    void *more = realloc(*items, wanted * bytes);
    if (!more)
        return ERR_NOMEM;
    *items = more;
    *room = wanted;
    return ERR_OK;
}
