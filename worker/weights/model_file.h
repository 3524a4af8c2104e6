// model_file: a model as this program keeps it, one safetensors file with the
// canonical tensors (worker/model/tensors.h) and, in __metadata__:
//   underscore.format    "1"
//   underscore.config    every size, as JSON
//   underscore.license   the licence text given to import; may be absent
//   underscore.software  the version that wrote it
#pragma once

#include <stdatomic.h>

#include "common/base/err.h"
#include "common/base/file.h"
#include "worker/model/tensors.h"

struct model_file;

// Map `path` and check all of it: the configuration, and that each tensor it
// calls for is there in its shape. ERR_INPUT and ERR_MISSING log one line. The
// caller owns *out; views live until model_file_close(). One thread per file.
ERR_CHECKED enum err model_file_open(struct model_file **out, const char *path);
void model_file_close(struct model_file **m); // NULL inside is fine

// Owned by `m`.
struct tensor_source *model_file_tensors(struct model_file *m);
const struct model_config *model_file_config(const struct model_file *m);
const struct file_map *model_file_map(const struct model_file *m); // the whole file
const char *model_file_license(const struct model_file *m);        // "" when none was given
const char *model_file_software(const struct model_file *m);       // "" when unknown

// How matrices are stored. Vectors and codebooks are always F32.
enum model_precision { PRECISION_AS_SOURCE, PRECISION_F32, PRECISION_F16 };

struct model_file_write_params {
    struct tensor_source *source; // its `config` is written too
    enum model_precision precision;
    const char *license;     // may be NULL
    const atomic_bool *stop; // may be NULL; once true, nothing is written: ERR_STOP
};

// Write a model, whole or not at all. Logs.
ERR_CHECKED enum err model_file_write(const char *path,
                                      const struct model_file_write_params *p);
