// job_print: jobs of a farm as people and programs read them.
#pragma once

#include <jansson.h>

#include "common/wire/wire.h"

json_t *job_json(const struct wire_job *j); // a new reference
void job_print_heading(void);
void job_print_line(const struct wire_job *j); // of a table
void job_print(const struct wire_job *j);      // all that is known
void json_print(json_t *j); // takes over the reference
