#include "common/base/id_map.h"

#include <stdlib.h>

// Numbers that are counted up would all lie beside one another: spread them.
static size_t home_of(const struct id_map *m, uint64_t id)
{
    id ^= id >> 32;
    id *= 0x9e3779b97f4a7c15u;
    return (size_t) (id >> 32) & (m->room - 1);
}

// Where it is, or the free slot where it would have to be.
static size_t seek(const struct id_map *m, uint64_t id)
{
    size_t i = home_of(m, id);
    while (m->slots[i].place && m->slots[i].id != id)
        i = (i + 1) & (m->room - 1);
    return i;
}

enum err id_map_reserve(struct id_map *m, size_t count)
{
    if (2 * count <= m->room)
        return ERR_OK;
    struct id_map more = { .count = m->count, .room = 16 };
    while (more.room < 2 * count)
        more.room *= 2;
    more.slots = calloc(more.room, sizeof(*more.slots));
    if (!more.slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < m->room; i++)
        if (m->slots[i].place)
            more.slots[seek(&more, m->slots[i].id)] = m->slots[i];
    free(m->slots);
    *m = more;
    return ERR_OK;
}

void id_map_put(struct id_map *m, uint64_t id, size_t place)
{
    struct id_slot *s = &m->slots[seek(m, id)];
    m->count += s->place == 0;
    *s = (struct id_slot){ id, place + 1 };
}

// What comes behind it closes up, as far as each may go back to its home.
void id_map_remove(struct id_map *m, uint64_t id)
{
    size_t gap = m->room ? seek(m, id) : 0;
    if (!m->room || !m->slots[gap].place)
        return;
    const size_t mask = m->room - 1;
    for (size_t i = (gap + 1) & mask; m->slots[i].place; i = (i + 1) & mask)
        if (((i - home_of(m, m->slots[i].id)) & mask) >= ((i - gap) & mask)) {
            m->slots[gap] = m->slots[i];
            gap = i;
        }
    m->slots[gap].place = 0;
    m->count--;
}

int64_t id_map_find(const struct id_map *m, uint64_t id)
{
    return m->room ? (int64_t) m->slots[seek(m, id)].place - 1 : -1;
}

void id_map_finish(struct id_map *m)
{
    free(m->slots);
    *m = (struct id_map){ 0 };
}
