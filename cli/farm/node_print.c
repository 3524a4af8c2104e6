#include "cli/farm/node_print.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/farm/job_print.h"

json_t *node_json(const struct wire_node *n)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:b, s:b}",
        "name", json_text(n->name), "device", json_text(n->device), "vendor",
        json_text(n->vendor), "driver", json_text(n->driver), "software",
        json_text(n->software), "model", n->model, "state", n->state, "memory",
        (json_int_t) n->memory, "slots", (json_int_t) n->slots, "held", (json_int_t) n->held,
        "rate", n->rate, "done", (json_int_t) n->done, "failed", (json_int_t) n->failed,
        "troubles", (json_int_t) n->troubles, "drained", n->drained, "quarantined",
        n->quarantined);
}

json_t *work_json(const struct wire_work *w)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "job", (json_int_t) w->job,
                     "segment", (json_int_t) w->segment, "cue", (json_int_t) w->cue, "attempt",
                     (json_int_t) w->attempt, "film", json_text(w->film), "audio_ms",
                     (json_int_t) w->audio_ms, "for_ms", (json_int_t) w->for_ms);
}

const char *node_state(const struct wire_node *n, char *out, size_t room)
{
    snprintf(out, room, "%s%s%s", n->state, n->drained ? ", DRAINED" : "",
             n->quarantined ? ", QUARANTINED" : "");
    return out;
}

void node_print_heading(void)
{
    printf("%-20s %-20s %11s %8s %6s %6s  %s\n", "name", "state", "held/slots", "rate", "done",
           "failed", "device");
}

void node_print_line(const struct wire_node *n)
{
    char state[WIRE_NAME_BYTES + 32], name[WIRE_NAME_BYTES], device[WIRE_NAME_BYTES];
    printf("%-20s %-20s %5" PRIu32 "/%-5" PRIu32 " %8.2f %6" PRIu64 " %6" PRIu64 "  %s\n",
           plain(name, sizeof(name), n->name), node_state(n, state, sizeof(state)), n->held,
           n->slots, n->rate, n->done, n->failed, plain(device, sizeof(device), n->device));
}

void node_print(const struct wire_node *n)
{
    char state[WIRE_NAME_BYTES + 32], text[6 * WIRE_NAME_BYTES], clean[6 * WIRE_NAME_BYTES];
    printf("%-10s %s\n%-10s %s\n", "name", plain(clean, sizeof(clean), n->name), "state",
           node_state(n, state, sizeof(state)));
    snprintf(text, sizeof(text), "%s (%s, %s)", n->device, n->vendor, n->driver);
    printf("%-10s %s, %.1f GiB\n", "device", plain(clean, sizeof(clean), text),
           (double) n->memory / 0x1p30);
    printf("%-10s underscore-worker %s, model %.12s\n", "software",
           plain(clean, sizeof(clean), n->software), n->model);
    printf("%-10s %.2f s of music a second\n", "rate", n->rate);
    printf("%-10s %" PRIu32 " of %" PRIu32 " held\n", "segments", n->held, n->slots);
    printf("%-10s %" PRIu64 " done, %" PRIu64 " failed, %" PRIu32 " of those in a row\n",
           "so far", n->done, n->failed, n->troubles);
}
