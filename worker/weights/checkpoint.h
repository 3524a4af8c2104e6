// checkpoint: a published file as named tensors and its configuration,
// whichever way it was saved: a torch.save archive of {'best_state': tensors,
// 'xp.cfg': text}, or a safetensors file.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/model/tensors.h"

struct checkpoint;

// Map and read `path`. The caller owns *out; views live until
// checkpoint_close(). ERR_MISSING, ERR_INPUT, ERR_NOMEM; logs one line.
ERR_CHECKED enum err checkpoint_open(struct checkpoint **out, const char *path);
void checkpoint_close(struct checkpoint **c); // NULL inside is fine

const char *checkpoint_path(const struct checkpoint *c);

// The text of xp.cfg, or NULL.
const char *checkpoint_config(const struct checkpoint *c);

// The name of another model that this file merely points at, or NULL.
const char *checkpoint_pretrained(const struct checkpoint *c);

// Tensors sorted by name.
uint32_t checkpoint_count(const struct checkpoint *c);
const char *checkpoint_name(const struct checkpoint *c, uint32_t i);

// Whether checkpoint_find() was ever asked for it.
bool checkpoint_used(const struct checkpoint *c, uint32_t i);

// The data is contiguous and valid until the next call. ERR_MISSING without
// logging when there is no such tensor; ERR_INPUT, ERR_NOMEM.
ERR_CHECKED enum err checkpoint_find(struct checkpoint *c, const char *name,
                                     struct tensor_view *out);
