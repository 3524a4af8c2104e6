// torch_file: a file that torch.save wrote: a zip archive with a pickle and
// the storages its tensors point into.
#pragma once

#include <stdint.h>

#include "common/base/err.h"
#include "worker/weights/pickle.h"

struct torch_file;

// Read bytes the caller keeps alive; `name` is for messages. The caller owns
// *out. ERR_INPUT, ERR_NOMEM; logs one line.
ERR_CHECKED enum err torch_file_open(struct torch_file **out, const char *name,
                                     const void *data, uint64_t bytes);
void torch_file_close(struct torch_file **f); // NULL inside is fine

// What was saved.
const struct pickle_value *torch_file_root(const struct torch_file *f);

// A PICKLE_TENSOR of this file as contiguous data: in place where it is that
// already, else a copy, valid until the next call. ERR_INPUT when its storage
// is missing or too short, ERR_NOMEM; logs.
ERR_CHECKED enum err torch_file_tensor(struct torch_file *f, const struct pickle_value *tensor,
                                       struct tensor_view *out);
