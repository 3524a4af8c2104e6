// xp_cfg: the configuration that a checkpoint carries: YAML as OmegaConf
// writes it, with interpolations ("${encodec.causal}") still in it. They are
// resolved when asked for; loops are refused, as are YAML aliases.
//
// Paths are dotted: "transformer_lm.dim". Every getter leaves *out alone when
// the path is absent or null, and returns ERR_INPUT with one logged line when
// the value is of another kind.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"

struct xp_cfg;

// `name` is for messages. The caller owns *out. ERR_INPUT, ERR_NOMEM; logs.
ERR_CHECKED enum err xp_cfg_parse(struct xp_cfg **out, const char *name, const char *text);
void xp_cfg_free(struct xp_cfg **c); // NULL inside is fine

ERR_CHECKED enum err xp_cfg_u32(const struct xp_cfg *c, const char *path, uint32_t *out);
ERR_CHECKED enum err xp_cfg_real(const struct xp_cfg *c, const char *path, double *out);
ERR_CHECKED enum err xp_cfg_bool(const struct xp_cfg *c, const char *path, bool *out);

// A list of at most `room` numbers; *count becomes their number.
ERR_CHECKED enum err xp_cfg_u32_list(const struct xp_cfg *c, const char *path, uint32_t *out,
                                     uint32_t room, uint32_t *count);

// Any value as text, cut to `bytes`: a scalar as written, a list with commas
// between its scalars, a map as "{}". "null" for null. False when absent.
ERR_CHECKED enum err xp_cfg_text(const struct xp_cfg *c, const char *path, char *out,
                                 uint32_t bytes, bool *present);
