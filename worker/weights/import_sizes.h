// import_sizes: a model's configuration from its published files. Sizes come
// from the tensors; what tensors do not tell (heads, padding, delays) from
// xp.cfg, which must agree with the tensors where it repeats them. A setting
// this program does not compute with is refused by its name.
#pragma once

#include "common/base/err.h"
#include "worker/model/tensors.h"
#include "worker/weights/xp_cfg.h"

struct import_sources {
    // Canonical names, but for the codec's convolutions with their weight norm
    // not yet folded: only shapes are looked at.
    struct tensor_source *tensors;
    const char *lm_path, *codec_path; // for messages
    const struct xp_cfg *lm;
    const struct xp_cfg *codec; // NULL: the codec's file has none (Hugging Face's)
};

// ERR_INPUT logs one line.
ERR_CHECKED enum err import_sizes(struct model_config *out, const struct import_sources *s);
