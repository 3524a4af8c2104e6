// job_print: jobs of a farm as people and programs read them.
#pragma once

#include <jansson.h>

#include "common/wire/wire.h"

json_t *job_json(const struct wire_job *j); // a new reference
void job_print_heading(void);
void job_print_line(const struct wire_job *j); // of a table
void job_print(const struct wire_job *j);      // all that is known
json_t *json_text(const char *text);           // a string, U+FFFD for what is no UTF-8
const char *plain(char *out, size_t room, const char *text); // fit for a terminal
#define TIME_TEXT_BYTES 40
// Unix time, as the clock here shows it.
const char *time_text(char out[TIME_TEXT_BYTES], int64_t ms);
const char *span_text(char out[TIME_TEXT_BYTES], int64_t ms); // "1:02:03"; "-" where it is < 0
void json_print(json_t *j);                                   // takes over the reference
