// node_print: workers of a farm as people and programs read them.
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "common/wire/wire.h"

json_t *node_json(const struct wire_node *n); // new references
json_t *work_json(const struct wire_work *w);
// Its states as text, such as "READY, QUARANTINED".
const char *node_state(const struct wire_node *n, char *out, size_t room);
void node_print_heading(void);
void node_print_line(const struct wire_node *n); // of a table
void node_print(const struct wire_node *n);      // all that is known
