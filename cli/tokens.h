// tokens: the tokens of a composed film kept in a directory: plan.json and one
// small safetensors file a segment, named as the parts are. `render` makes sound
// of them again without the decoder.
#pragma once

#include "common/base/err.h"
#include "common/timeline/plan.h"

ERR_CHECKED enum err tokens_keep(const struct plan *p, const char *parts,
                                 const char *directory);

// The tokens of one segment, [K][columns] for the plan's columns. ERR_MISSING,
// ERR_INPUT (other shape, another number of codebooks); logs. The caller frees *out.
ERR_CHECKED enum err tokens_read(int32_t **out, const char *directory, const struct plan *p,
                                 uint32_t segment, uint32_t codebooks);
