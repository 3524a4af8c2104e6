// stage_report: what became of the model on each node, as it is gathered and printed.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct stage_result {
    char node[128];
    int32_t error; // enum err
    bool was_there;
    uint64_t bytes;
    double seconds;
    uint32_t workers; // started
    char why[512];    // of an error, one line
};

// One line a node; or one JSON object.
void stage_report_print(const struct stage_result *results, int count);
void stage_report_print_json(const char *model, const char *sha256,
                             const struct stage_result *results, int count);
