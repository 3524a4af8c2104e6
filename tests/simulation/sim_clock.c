// Time, chance and the network.
#include "tests/simulation/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t draw(struct sim *s)
{
    uint64_t z = (s->random += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double sim_unit(struct sim *s)
{
    return (double) (draw(s) >> 11) * 0x1p-53;
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
    return draw(s) % n;
}

bool sim_chance(struct sim *s, unsigned per_thousand)
{
    return sim_below(s, 1000) < per_thousand;
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at < b->at || (a->at <= b->at && a->order < b->order);
}

static void push(struct sim *s, struct sim_event e)
{
    if (s->event_count == s->event_room) {
        s->event_room = s->event_room ? 2 * s->event_room : 256;
        s->events = realloc(s->events, s->event_room * sizeof(*s->events));
        if (!s->events)
            abort();
    }
    size_t i = s->event_count++;
    e.order = s->ordered++;
    for (; i > 0 && is_before(&e, &s->events[(i - 1) / 2]); i = (i - 1) / 2)
        s->events[i] = s->events[(i - 1) / 2];
    s->events[i] = e;
}

bool sim_next(struct sim *s, struct sim_event *out)
{
    if (s->event_count == 0)
        return false;
    *out = s->events[0];
    const struct sim_event last = s->events[--s->event_count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->event_count; i = child) {
        child +=
            child + 1 < s->event_count && is_before(&s->events[child + 1], &s->events[child]);
        if (is_before(&last, &s->events[child]))
            break;
        s->events[i] = s->events[child];
    }
    s->events[i] = last;
    s->now = out->at;
    return true;
}

void sim_at(struct sim *s, double after_s, enum sim_kind kind, uint64_t what, uint32_t segment)
{
    push(s, (struct sim_event){ .at = s->now + after_s,
                                .kind = kind,
                                .what = what,
                                .segment = segment });
}

static uint32_t keep_message(struct sim *s, const struct sim_message *m)
{
    if (s->free_count == 0) {
        const uint32_t before = s->message_room;
        s->message_room = before ? 2 * before : 64;
        s->messages = realloc(s->messages, s->message_room * sizeof(*s->messages));
        s->free_messages =
            realloc(s->free_messages, s->message_room * sizeof(*s->free_messages));
        if (!s->messages || !s->free_messages)
            abort();
        for (uint32_t i = s->message_room; i-- > before;)
            s->free_messages[s->free_count++] = i;
    }
    const uint32_t i = s->free_messages[--s->free_count];
    s->messages[i] = *m;
    return i;
}

struct sim_message sim_receive(struct sim *s, uint32_t message)
{
    s->free_messages[s->free_count++] = message;
    return s->messages[message];
}

void sim_send_later(struct sim *s, double after_s, enum sim_kind kind,
                    const struct sim_message *m)
{
    push(s, (struct sim_event){ .at = s->now + after_s,
                                .kind = kind,
                                .what = m->worker,
                                .message = keep_message(s, m) });
}

void sim_send(struct sim *s, enum sim_kind kind, const struct sim_message *m)
{
    const bool storm = s->now < s->storm_s;
    const unsigned copies =
        (storm && sim_chance(s, s->lose) ? 0 : 1) + (storm && sim_chance(s, s->twice) ? 1 : 0);
    for (unsigned i = 0; i < copies; i++)
        sim_send_later(s, 0.01 + (storm ? s->late_s : 0.05) * sim_unit(s) * sim_unit(s), kind,
                       m);
}

void sim_clock_finish(struct sim *s)
{
    free(s->events);
    free(s->messages);
    free(s->free_messages);
}

void sim_trace(struct sim *s, const char *format, ...)
{
    if (!s->trace)
        return;
    va_list args;
    va_start(args, format);
    printf("%9.3f  ", s->now);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

void sim_wrong(struct sim *s, const char *format, ...)
{
    if (s->is_wrong)
        return; // what follows from it does not matter
    s->is_wrong = true;
    va_list args;
    va_start(args, format);
    printf("seed %llu, at %.3f s: ", (unsigned long long) s->seed, s->now);
    vprintf(format, args);
    printf("\n`simulation --seed %llu` plays it again, with all that led to it\n",
           (unsigned long long) s->seed);
    va_end(args);
}
