#include "coordinator/fleet/fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUSPECT_BEATS 3
#define REST_LEASES 10
#define REST_MOST_S 3600.0
// Who has been gone for so long is forgotten when somebody new comes: where workers come and
// go, each may have a name of its own.
#define FORGET_S 86400.0

const char *worker_state_name(enum worker_state s)
{
    static const char *const names[WORKER_STATES] = {
        [WORKER_JOINING] = "JOINING", [WORKER_READY] = "READY",     [WORKER_QUIET] = "QUIET",
        [WORKER_RESTING] = "RESTING", [WORKER_SUSPECT] = "SUSPECT", [WORKER_LOST] = "LOST",
        [WORKER_OFFLINE] = "OFFLINE",
    };
    return names[s];
}

void fleet_init(struct fleet *f, double beat_s, double lease_s)
{
    *f = (struct fleet){ .beat_s = beat_s, .lease_s = lease_s };
}

void fleet_finish(struct fleet *f)
{
    free(f->workers);
    id_map_finish(&f->incarnations);
    *f = (struct fleet){ 0 };
}

bool fleet_is_gone(const struct fleet_worker *w)
{
    return w->state == WORKER_LOST || w->state == WORKER_OFFLINE;
}

int64_t fleet_find(const struct fleet *f, uint64_t incarnation)
{
    return id_map_find(&f->incarnations, incarnation);
}

int64_t fleet_find_name(const struct fleet *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++)
        if (!strcmp(f->workers[i].name, name))
            return (int64_t) i;
    return -1;
}

static bool is_forgotten(const struct fleet_worker *w, double now)
{
    return fleet_is_gone(w) && !w->drained && !w->quarantined && w->held == 0 &&
           now - w->heard_s > FORGET_S;
}

static enum err make_place(struct fleet *f, const char *name, double now, size_t *place)
{
    for (*place = 0; *place < f->count && !is_forgotten(&f->workers[*place], now);)
        ++*place;
    if (*place == f->room) {
        const size_t room = f->room ? 2 * f->room : 16;
        struct fleet_worker *more = realloc(f->workers, room * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        f->workers = more;
        f->room = room;
    }
    f->count += *place == f->count;
    f->workers[*place] = (struct fleet_worker){ .state = WORKER_OFFLINE };
    snprintf(f->workers[*place].name, FLEET_NAME_BYTES, "%s", name);
    return ERR_OK;
}

enum err fleet_know(struct fleet *f, const char *name, bool drained, bool quarantined)
{
    size_t place;
    const int64_t known = fleet_find_name(f, name);
    const enum err e = known < 0 ? make_place(f, name, 0, &place) : ERR_OK;
    if (e)
        return e;
    if (known >= 0)
        place = (size_t) known;
    fleet_drain(f, place, drained);
    fleet_quarantine(f, place, quarantined);
    return ERR_OK;
}

bool fleet_is_replaced(const struct fleet *f, uint64_t incarnation)
{
    for (size_t i = 0; incarnation && i < f->count; i++)
        if (f->workers[i].replaced == incarnation)
            return true;
    return false;
}

static void forget_incarnation(struct fleet *f, size_t place)
{
    const uint64_t incarnation = f->workers[place].incarnation;
    if (id_map_find(&f->incarnations, incarnation) == (int64_t) place)
        id_map_remove(&f->incarnations, incarnation);
}

enum err fleet_join(struct fleet *f, const struct fleet_hello *h, double now, size_t *place)
{
    const int64_t known = fleet_find_name(f, h->name);
    if (known >= 0) {
        *place = (size_t) known;
    } else {
        const enum err e = make_place(f, h->name, now, place);
        if (e)
            return e;
    }
    const enum err e = id_map_reserve(&f->incarnations, f->incarnations.count + 1);
    if (e)
        return e;
    struct fleet_worker *w = &f->workers[*place];
    if (w->incarnation != h->incarnation)
        w->replaced = w->incarnation;
    forget_incarnation(f, *place);
    w->incarnation = h->incarnation;
    id_map_put(&f->incarnations, w->incarnation, *place);
    w->state = w->drained ? WORKER_QUIET : WORKER_JOINING;
    w->hangs = 0;
    w->slots = h->slots;
    w->memory = h->memory;
    w->rate = h->rate;
    w->heard_s = now;
    w->want = 0;
    w->progress = 0;
    snprintf(w->device, sizeof(w->device), "%s", h->device);
    snprintf(w->vendor, sizeof(w->vendor), "%s", h->vendor);
    snprintf(w->driver, sizeof(w->driver), "%s", h->driver);
    snprintf(w->software, sizeof(w->software), "%s", h->software);
    snprintf(w->model, sizeof(w->model), "%s", h->model);
    snprintf(w->has, sizeof(w->has), "%s", h->has ? h->has : "");
    return ERR_OK;
}

static void leave(struct fleet *f, size_t place, enum worker_state to)
{
    f->workers[place].state = to;
    f->workers[place].want = 0;
    forget_incarnation(f, place);
}

static void take_up(struct fleet_worker *w)
{
    w->state = w->drained ? WORKER_QUIET : WORKER_READY;
}

static void heard(struct fleet_worker *w, double now)
{
    w->heard_s = now;
    if (w->state == WORKER_SUSPECT || w->state == WORKER_JOINING ||
        (w->state == WORKER_RESTING && now >= w->rests_s))
        take_up(w);
}

bool fleet_beat(struct fleet *f, size_t place, uint64_t progress, double rate, double now)
{
    struct fleet_worker *w = &f->workers[place];
    const bool moved = progress > w->progress;
    heard(w, now);
    w->progress = progress;
    if (rate > 0)
        w->rate = rate;
    return moved;
}

void fleet_pull(struct fleet *f, size_t place, uint32_t want, double now)
{
    heard(&f->workers[place], now);
    f->workers[place].want = want;
}

void fleet_goodbye(struct fleet *f, size_t place)
{
    leave(f, place, WORKER_OFFLINE);
}

// Who is heard of meanwhile only makes it later.
int64_t fleet_tick(struct fleet *f, double now)
{
    double oldest = now;
    if (now - f->silent_s <= fmin(f->lease_s, SUSPECT_BEATS * f->beat_s))
        return -1;
    for (size_t i = 0; i < f->count; i++) {
        struct fleet_worker *w = &f->workers[i];
        const double silent = now - w->heard_s;
        if (fleet_is_gone(w))
            continue;
        if (silent > f->lease_s) {
            leave(f, i, WORKER_LOST);
            return (int64_t) i;
        }
        if (silent > SUSPECT_BEATS * f->beat_s &&
            (w->state == WORKER_READY || w->state == WORKER_QUIET))
            w->state = WORKER_SUSPECT;
        oldest = fmin(oldest, w->heard_s);
    }
    f->silent_s = oldest;
    return -1;
}

bool fleet_trouble(struct fleet *f, size_t place, double granted_s, double now)
{
    struct fleet_worker *w = &f->workers[place];
    w->failed++;
    if (granted_s < w->troubled_s)
        return false;
    w->troubled_s = now;
    w->troubles++;
    if (w->quarantined || w->troubles < FLEET_MOST_TROUBLES)
        return false;
    w->quarantined = true;
    return true;
}

void fleet_success(struct fleet *f, size_t place)
{
    struct fleet_worker *w = &f->workers[place];
    w->troubles = w->hangs = 0;
    w->done++;
    if (w->state == WORKER_RESTING)
        take_up(w);
}

bool fleet_hung(struct fleet *f, size_t place, double granted_s, double now)
{
    struct fleet_worker *w = &f->workers[place];
    if (granted_s < w->hung_s)
        return false;
    w->hung_s = now;
    w->hangs++;
    if (w->state != WORKER_READY || w->hangs < FLEET_MOST_TROUBLES)
        return false;
    w->state = WORKER_RESTING;
    w->rests_s = now + fmin(REST_MOST_S, ldexp(REST_LEASES * f->lease_s,
                                               (int) (w->hangs - FLEET_MOST_TROUBLES)));
    return true;
}

void fleet_drain(struct fleet *f, size_t place, bool drain)
{
    struct fleet_worker *w = &f->workers[place];
    w->drained = drain;
    if (w->state == WORKER_READY || w->state == WORKER_QUIET)
        w->state = drain ? WORKER_QUIET : WORKER_READY;
}

void fleet_quarantine(struct fleet *f, size_t place, bool quarantined)
{
    struct fleet_worker *w = &f->workers[place];
    w->quarantined = quarantined;
    w->troubles = w->hangs = 0;
    if (w->state == WORKER_RESTING)
        take_up(w);
}

bool fleet_may_work(const struct fleet_worker *w)
{
    return w->state == WORKER_READY && !w->quarantined;
}
