#include "stage/main/stage_report.h"

#include <jansson.h>
#include <stdio.h>

static const char *outcome_of(const struct stage_result *r)
{
    return r->error ? "error" : r->was_there ? "already there" : "staged";
}

static double megabytes_a_second(const struct stage_result *r)
{
    return r->seconds > 0 ? (double) r->bytes / 1e6 / r->seconds : 0;
}

void stage_report_print(const struct stage_result *results, int count)
{
    for (int i = 0; i < count; i++) {
        const struct stage_result *r = &results[i];
        printf("%-24s %9.2f s %9.1f MB/s  %s", r->node, r->seconds,
               r->error ? 0 : megabytes_a_second(r), outcome_of(r));
        if (r->error)
            printf(": %s", r->why);
        if (r->workers)
            printf(", %u worker%s started", r->workers, r->workers == 1 ? "" : "s");
        putchar('\n');
    }
}

void stage_report_print_json(const char *model, const char *sha256,
                             const struct stage_result *results, int count)
{
    json_t *nodes = json_array();
    for (int i = 0; i < count; i++) {
        const struct stage_result *r = &results[i];
        json_t *node = json_pack(
            "{s:s, s:s, s:f, s:I, s:f, s:i}", "node", r->node, "outcome", outcome_of(r),
            "seconds", r->seconds, "bytes", (json_int_t) r->bytes, "mb_per_s",
            r->error ? 0 : megabytes_a_second(r), "workers", (int) r->workers);
        if (r->error)
            json_object_set_new(node, "error", json_string(r->why));
        json_array_append_new(nodes, node);
    }
    json_t *all =
        json_pack("{s:s, s:s, s:o}", "model", model, "sha256", sha256, "nodes", nodes);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
