// config_json: a model's configuration as JSON text, one flat object:
// {"vit.width": 1024, ..., "codec.ratios": [8, 5, 4, 4]}.
#pragma once

#include "common/base/err.h"
#include "worker/model/config.h"

// The caller frees the text. NULL when out of memory.
char *config_json_write(const struct model_config *c);

// Read and check. Every field must be there; others are ignored. ERR_INPUT
// logs the first thing wrong, `path` being the file the text came from.
ERR_CHECKED enum err config_json_read(struct model_config *out, const char *text,
                                      const char *path);
