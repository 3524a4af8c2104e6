// import: the published files of a model as one model file.
#pragma once

#include <stdatomic.h>

#include "common/base/err.h"
#include "worker/weights/model_file.h"

struct model_import;

// Map and check both files: their configuration is one this program computes,
// their tensors are all there and no others. `lm_path` is the published
// state_dict.bin; `codec_path` is compression_state_dict.bin or the
// model.safetensors of facebook/encodec_32khz. On success the caller owns
// *out. ERR_INPUT and ERR_MISSING log one line that names what is wrong.
ERR_CHECKED enum err model_import_open(struct model_import **out, const char *lm_path,
                                       const char *codec_path);
void model_import_close(struct model_import **m); // NULL inside is fine

// Canonical tensors, weight norm folded; a view is valid until the next call.
// For model_file_write(). Owned by `m`.
struct tensor_source *model_import_tensors(struct model_import *m);
